"""The commands `tformer pretrain` and `tformer finetune`."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tformer_cli.cli.choices import recipe_names, run_folders
from tformer_cli.cli.options import QUIET
from tformer_cli.cli.run_folders import check_run, has_checkpoints, holds_run, last_run, new_run, undo_start
from tformer_cli.errors import ConfigError, RunError

if TYPE_CHECKING:
    from tformer_cli.cli.start import Start
    from tformer_cli.config.schema import Experiment

RECIPE = typer.Argument(
    metavar="RECIPE",
    help="Name of a recipe (see `tformer recipes`), or path of a YAML file.",
    autocompletion=recipe_names,
)
OVERRIDES = typer.Argument(
    None,
    metavar="[KEY=VALUE]...",
    help="Settings, such as optim.lr=0.001, and options of groups, such as model=transformer_base.",
)
RUN = typer.Option(
    None,
    "--run",
    "--run-folder",  # torchrun takes the --run of a script for its own --run-path
    metavar="FOLDER",
    help="Folder of the run.  [default: runs/RECIPE/NUMBER]",
    show_default=False,
)
RESUME = typer.Option(False, "--resume", help="Continue the run of --run from its newest checkpoint.")
PROCESSES = typer.Option(1, "--processes", min=1, help="Number of training processes on this machine.")
DRY_RUN = typer.Option(False, "--dry-run", help="Print the complete configuration as YAML without training.")
MULTIRUN = typer.Option(False, "--multirun", "-m", help="Train a run for each combination of KEY=A,B values.")
LIMITS = ("steps", "epochs", "minutes")
JOBS = typer.Option(1, "--jobs", "-j", min=1, help="With -m: number of parallel runs.")


def pretrain(
    recipe: str = RECIPE,
    overrides: list[str] = OVERRIDES,
    run: Path = RUN,
    resume: bool = RESUME,
    processes: int = PROCESSES,
    dry_run: bool = DRY_RUN,
    quiet: bool = QUIET,
    multirun: bool = MULTIRUN,
    jobs: int = JOBS,
) -> None:
    """Train a recipe from random weights."""
    _train("pretrain", recipe, overrides or [], run, resume, None, processes, dry_run, quiet, multirun, jobs)


def finetune(
    initial: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Run or checkpoint to start from, or hf:FOLDER or hf:ID for a model of Hugging Face or timm.",
            autocompletion=run_folders,
        ),
    ],
    recipe: str = RECIPE,
    overrides: list[str] = OVERRIDES,
    run: Path = RUN,
    resume: bool = RESUME,
    processes: int = PROCESSES,
    dry_run: bool = DRY_RUN,
    quiet: bool = QUIET,
    multirun: bool = MULTIRUN,
    jobs: int = JOBS,
) -> None:
    """Train a recipe from the weights of another run, with its tokenizer."""
    _train("finetune", recipe, overrides or [], run, resume, initial, processes, dry_run, quiet, multirun, jobs)


def _train(
    verb: str,
    recipe: str,
    overrides: list[str],
    run: Path | None,
    resume: bool,
    initial: str | None,
    processes: int,
    dry_run: bool,
    quiet: bool,
    multirun: bool,
    jobs: int,
) -> None:
    from tformer_cli.cli.output import note, note_repeated, result
    from tformer_cli.cli.start import Start
    from tformer_cli.config.compose import VOCABULARY_SIZE, as_resumed, to_yaml
    from tformer_cli.config.overrides import keys
    from tformer_cli.config.recipes import default_name

    if jobs > 1 and not multirun:
        raise ConfigError("--jobs has no effect without -m", "add -m, or train one run with --processes N")
    note_repeated(overrides, quiet=quiet)
    start = Start.find(initial) if initial is not None else None
    if multirun:
        from tformer_cli.cli.sweep import sweep

        options = [
            *(["--from", initial] if initial else []),
            *(["--processes", str(processes)] if processes > 1 else []),
        ]
        check = functools.partial(check_start, start=start)
        sweep(verb, recipe, overrides, options, run, check, resume=resume, dry_run=dry_run, quiet=quiet, jobs=jobs)
        return
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):  # torchrun restarts the ranks after a failure
        resume, run = True, run or last_run(default_name(recipe))
    saved = run / "config.yaml" if resume and run is not None else None
    config = _composed(recipe, overrides, start, resumed=saved is not None and saved.is_file(), quiet=quiet)
    if saved is not None:
        config = as_resumed(config, saved, overrides)
    if dry_run:
        result(to_yaml(config))
        check_start(config, start)
        note(summary(config, run), quiet=quiet)
        return
    if run is None:
        if resume:
            raise RunError(
                "--resume needs to know which run", f"add --run {last_run(default_name(recipe)) or 'FOLDER'}"
            )
        run = new_run(default_name(recipe))
    fit = VOCABULARY_SIZE not in keys(overrides, type(config))
    _launch(config, run, start, resume=resume, processes=processes, quiet=quiet, fit_vocabulary=fit)


def check_start(config: Experiment, start: Start | None) -> None:
    """Check what a run needs, without reading its data.

    Raises:
        TformerError: if a package, a file or another run is missing or unsuitable.
    """
    from tformer_cli import tasks
    from tformer_cli.config.paths import check_paths

    task = tasks.build(config)
    if start is not None:
        start.load(task.data)
    task.require()
    check_paths(config)


def _composed(recipe: str, overrides: list[str], start: Start | None, *, resumed: bool, quiet: bool) -> Experiment:
    """Compose the configuration of a run, sized to its data or adapted to the model that it starts from."""
    from tformer_cli.cli.output import note
    from tformer_cli.config.compose import compose
    from tformer_cli.config.effect import without_effect
    from tformer_cli.config.overrides import parse

    config = compose(recipe, overrides, complete=start is None, resumed=resumed)
    if start is not None:
        adapted = start.adapt(config, overrides)
        if not resumed:
            for error in without_effect(adapted, parse(overrides, type(adapted)).values).values():
                raise error
        return adapted
    from tformer_cli.tasks.sizing import sizes, suggested

    if sizes(config):
        check_start(config, None)  # before the pairs are counted
    data, settings = suggested(config, overrides)
    if settings:
        note(f"chosen for {data}: {' '.join(settings)}; settings of the command line take precedence", quiet=quiet)
        config = compose(recipe, [*settings, *overrides, "size=given"], resumed=resumed)  # now complete, like a recipe
    return config


def _launch(
    config: Experiment,
    run: Path,
    start: Start | None,
    *,
    resume: bool,
    processes: int,
    quiet: bool,
    fit_vocabulary: bool,
) -> None:
    """Train in a run folder; if the start fails before training, the folder is removed."""
    if first_rank():
        check_run(run, resume)
        if not holds_run(run):
            raise RunError(f"{run} contains no run to resume", "choose another folder with --run")
    from tformer_cli.train.launch import launch

    created = [folder for folder in (run, *run.parents) if not folder.exists()]
    try:
        begins = start is not None and first_rank() and not has_checkpoints(run)
        checkpoint = start.checkpoint(config, run) if start is not None and begins else None
        launch(
            config,
            run,
            resume=resume,
            initial=checkpoint,
            processes=processes,
            quiet=quiet,
            fit_vocabulary=fit_vocabulary,
        )
    except BaseException:
        if first_rank():
            undo_start(run, created)
        raise


def first_rank() -> bool:
    """Return whether this process chooses and checks the run folder; with torchrun, the first process does."""
    return int(os.environ.get("RANK", "0")) == 0


def summary(config: Experiment, run: Path | None) -> str:
    """Return a line that describes the data and the training of a configuration."""
    from tformer_cli.config.values import flatten

    flat = flatten(config)
    limits = [f"{flat[f'trainer.{name}']:,.7g} {name}" for name in LIMITS if flat[f"trainer.{name}"]]
    languages = (
        f" {flat['data.source_language']}-{flat['data.target_language']}" if "data.source_language" in flat else ""
    )
    data = f"{flat.get('data.path', '')}{languages} ({flat.get('data.source', '')})"
    length = " or ".join(limits)
    folder = run or f"a new folder of runs/{flat['recipe']}"
    return f"would train {flat['recipe']} on {data} for {length} in {folder}"
