"""The command `tformer distill`, which writes parallel text with the outputs of a trained run as targets."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import typer

from tformer_cli.cli.choices import LONG_INPUTS, one_of
from tformer_cli.cli.options import CHECKPOINT, DEVICE, PRECISION, QUIET, RUN, check_split, split_option
from tformer_cli.errors import ConfigError, RunError

OVERRIDES = typer.Argument(
    None,
    metavar="[KEY=VALUE]...",
    help="The data, such as data.path=FOLDER, and the search, such as decode.beam=8 or decode.n_best=2.",
)
OUTPUT = typer.Option(..., "--output", "-o", metavar="FOLDER", help="Folder to write.")
SPLIT = split_option("train")
ON_LONG = typer.Option(
    "skip",
    "--on-long",
    help="Sources beyond the model's maximum length: error, cut or skip.",
    autocompletion=one_of(*LONG_INPUTS),
)


def distill(
    run: Path = RUN,
    overrides: list[str] = OVERRIDES,
    output: Path = OUTPUT,
    split: str = SPLIT,
    on_long: str = ON_LONG,
    device: str = DEVICE,
    precision: str = PRECISION,
    checkpoint: str = CHECKPOINT,
    quiet: bool = QUIET,
) -> None:
    """Write parallel text to train a student on: the sources of a split, with a trained run's outputs as targets.

    An interrupted command continues where it stopped when it is called again.
    """
    from tformer_cli.cli.arguments import machine_names, named_as_options, precision_setting
    from tformer_cli.cli.output import note, note_repeated
    from tformer_cli.predictors.inputs import OnLong

    check_split(split)
    if on_long not in OnLong.__members__:
        raise ConfigError(f"--on-long: {on_long!r} is not one of {', '.join(OnLong.__members__)}")
    note_repeated(overrides or [], quiet=quiet)
    from tformer_cli.trained.distill import distill_run

    settings = [*(overrides or []), *precision_setting(precision)]
    with named_as_options(machine_names(device, precision)):
        distilled = distill_run(
            run, output, split, overrides=settings, checkpoint=checkpoint, device=device, on_long=on_long,
            quiet=quiet, check=partial(_check, run=run, settings=overrides or []),
        )  # fmt: skip
    for line in distilled.notes:
        note(f"note: {line}", quiet=quiet)
    lines, before = distilled.progress.lines, distilled.before
    state = "was complete" if before == lines else f"continued after line {before:,}" if before else "written"
    note(f"{state}: {output}, {lines:,} line{'s'[: lines != 1]}", quiet=quiet)


def _check(task: Any, run: Path, settings: list[str]) -> None:
    """Refuse a run that does not translate, and settings that have no effect.

    Raises:
        RunError: if it does not translate.
        ConfigError: if a setting has no effect; the error names the first.
    """
    from tformer_cli.trained.applicable import check_settings

    if not task.predictor.translates:
        cause = f"{run} is a run of {task.config.task}, which does not translate"
        raise RunError(cause, "name a run with text inputs and text outputs")
    if task.config.data.autoencoder:
        raise RunError(f"{run} reproduces its input, so its outputs are not translations", "name a run that translates")
    check_settings(task, settings)
