"""The command `tformer quickstart`, which trains, evaluates and uses small models on built-in data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tformer_cli.cli.choices import one_of
from tformer_cli.errors import ConfigError, install_command
from tformer_cli.tasks.demos import COMPARISONS, DEMOS, USER_DATA_COMMAND, Demo

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment


FAMILIES = typer.Argument(
    None,
    metavar="[FAMILY]...",
    help=f"{', '.join(DEMOS)}; none: all of these. {', '.join(COMPARISONS)}: a comparison of several models.",
    autocompletion=one_of(*DEMOS, *COMPARISONS),
    show_default=False,
)
MINUTES = typer.Option(
    None,
    "--minutes",
    help="Training time for each family, including evaluations, but without reading data and the final evaluation.  "
    "[default: the recipe's steps, but at most a minute]",
    show_default=False,
)
FULL = typer.Option(False, "--full", help="Train all steps of the recipes, without a limit of minutes.")
RUN = typer.Option(
    None,
    "--run",
    help="Folder of the run, or of the runs if there are several.  [default: runs/quickstart/FAMILY/NUMBER]",
    show_default=False,
)
QUIET = typer.Option(False, "--quiet", "-q", help="Print only results and errors.")


def quickstart(
    families: list[str] = FAMILIES,
    minutes: float = MINUTES,
    full: bool = FULL,
    run: Path = RUN,
    quiet: bool = QUIET,
) -> None:
    """Train small models on built-in data, show predictions and scores, and suggest next commands.

    Training stops after the steps of the recipe or after at most a minute, whichever is first. The output compares the
    scores with those that were measured for all steps of the recipe.
    """
    from tformer_cli.cli.output import note
    from tformer_cli.cli.quickstart_comparison import comparison_configs, show_comparison
    from tformer_cli.config.compose import compose

    if full and minutes is not None:
        raise ConfigError("--full and --minutes both set the length of training", "give one of them")
    chosen = _chosen_families(families, quiet)
    if full and (names := [name for name in chosen if name in COMPARISONS]):
        raise ConfigError(f"--full: the models of {names[0]} train for the same minutes", "--minutes 5")
    compared = {
        name: comparison_configs(name, COMPARISONS[name], _length(name, minutes, full))
        for name in chosen
        if name in COMPARISONS
    }
    configs = {
        name: compose(f"quickstart/{name}", _length(name, minutes, full)) for name in chosen if name not in compared
    }
    runs = _run_folders(chosen, run)
    inputs = {}
    for number, name in enumerate(chosen, start=1):
        counter = f"[{number}/{len(chosen)}] " if len(chosen) > 1 else ""
        note(f"\n{counter}{name}: {(COMPARISONS if name in compared else DEMOS)[name].about}", quiet=quiet)
        if name in compared:
            show_comparison(COMPARISONS[name], compared[name], runs[name], quiet)
            continue
        inputs[name] = _show(DEMOS[name], configs[name], runs[name], quiet)
        note(_budget(name, configs[name], runs[name]), quiet=quiet)
    note(next_steps(runs, inputs, full), quiet=quiet)


def _run_folders(chosen: list[str], run: Path | None) -> dict[str, Path]:
    """Return the run folder of each family or comparison, and check that each can be used.

    Args:
        chosen: names of families and comparisons.
        run: folder that the user gave; None: none.

    Raises:
        RunError: if a folder is a file or holds something.
    """
    from tformer_cli.cli.run_folders import check_run, new_run

    runs = {name: run / name if run and len(chosen) > 1 else run for name in chosen}
    folders = {name: path or new_run(f"quickstart/{name}") for name, path in runs.items()}
    for folder in folders.values():
        check_run(folder, resume=False)
    return folders


def _chosen_families(families: list[str] | None, quiet: bool) -> list[str]:
    """Return the families to train without duplicates, and print which ones are skipped since a package is missing.

    Args:
        families: names that the user gave; None or empty: all families whose packages are installed.
        quiet: whether nothing is printed.

    Raises:
        ConfigError: if a family does not exist or its packages are not installed.
    """
    from tformer_cli.cli.output import note

    for family in families or []:
        if family not in DEMOS | COMPARISONS:
            names = ", ".join(DEMOS | COMPARISONS)
            raise ConfigError(f"quickstart has no family {family!r}", f"choose one of {names}")
        if family in DEMOS and not DEMOS[family].possible:
            raise ConfigError(f"{family} needs {DEMOS[family].needs}, which is not installed", install_command("demo"))
    for family, demo in DEMOS.items():
        if not families and not demo.possible:
            note(f"{family} is skipped: it needs {demo.needs} ({install_command('demo')})", quiet=quiet)
    return list(dict.fromkeys(families or (family for family, demo in DEMOS.items() if demo.possible)))


def _length(family: str, minutes: float | None, full: bool) -> list[str]:
    """Return the settings that limit a run: the minutes of the demonstration and the recipe's steps, or only `minutes`.

    The models of a comparison are limited by their recipe. With less than a minute, evaluations decode few examples.

    Args:
        family: name of a demonstration or a comparison.
        minutes: training time; None: the user gave none.
        full: whether all steps of the recipe are trained.

    Raises:
        ConfigError: if `minutes` is not positive.
    """
    if full:
        return []
    if minutes is None:
        return [f"trainer.minutes={DEMOS[family].minutes}"] if family in DEMOS else []
    if not minutes > 0:
        raise ConfigError(f"--minutes: {minutes:g} is not positive", "give more than 0, as --minutes 1")
    short = ["trainer.evaluate_limit=20"] if minutes < 1 else []
    return ["trainer.steps=0", f"trainer.minutes={minutes}", *short]


def _show(demo: Demo, config: Experiment, run: Path, quiet: bool) -> str:
    """Train and evaluate one family, show predictions, and return one of their inputs."""
    from tformer_cli.cli.evaluate import show
    from tformer_cli.cli.output import note, result
    from tformer_cli.train.launch import launch
    from tformer_cli.trained.evaluate import evaluate_run
    from tformer_cli.trained.opening import open_run

    launch(config, run, resume=False, initial=None, processes=1, quiet=quiet)
    note(f"\n{demo.heading}", quiet=quiet)
    lines, example = demo.examples(open_run(run))
    result("".join(f"{line}\n" for line in lines))
    note("\nscores on the test split:", quiet=quiet)
    show(evaluate_run(run, "test", overrides=[], checkpoint="", device="auto"))
    return example


def _budget(family: str, config: Experiment, run: Path) -> str:
    """Return the limit of a run, and the expected results of all steps from the header of its recipe."""
    from tformer_cli.cli.summary import summarise
    from tformer_cli.config.compose import compose
    from tformer_cli.config.recipes import recipes
    from tformer_cli.train.budget import Budget

    recipe = f"quickstart/{family}"
    header = next(info.header for info in recipes() if info.name == recipe)
    limit = Budget.of(config.trainer, batches=0).describe()
    steps = compose(recipe, []).trainer.steps
    return (
        f"\nthis run: {summarise(run).step or 0:,} steps; its limit was {limit}\n"
        f"all {steps:,} steps of the recipe: {header['expected']}\n"
        f"  in {header['time']}, on {header['hardware']}; measured {header['measured']}"
    )


def next_steps(runs: dict[str, Path], inputs: dict[str, str], full: bool) -> str:
    """Return a text with commands to try next.

    Args:
        runs: run folder of each family.
        inputs: an input for each family that was demonstrated.
        full: whether the runs trained all steps of their recipes.
    """
    commands = [
        (DEMOS[family].command.replace("RUN", str(runs[family])).replace("INPUT", example), f"use the {family} run")
        for family, example in inputs.items()
    ]
    if inputs and not full:
        chosen = "" if len(inputs) == len(DEMOS) else "".join(f" {family}" for family in inputs)
        commands.append((f"tformer quickstart{chosen} --full", "train all steps of the recipes"))
    commands += [
        (f"tensorboard --logdir {next(iter(runs.values()))}", "show the curves"),
        ("tformer recipes", "list all recipes"),
        (USER_DATA_COMMAND, "train on your own data"),
    ]
    return "\nnext commands:\n" + "\n".join(f"  {command}    # {purpose}" for command, purpose in commands)
