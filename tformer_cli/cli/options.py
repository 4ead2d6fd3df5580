"""Arguments and options that several commands have."""

from __future__ import annotations

import difflib
from typing import Any

import typer

from tformer_cli.cli.choices import DEVICES, PRECISIONS, one_of, run_folders
from tformer_cli.config.splits import SPLITS
from tformer_cli.errors import ConfigError


def split_option(default: str) -> Any:
    """Return the option `--split` with a default."""
    return typer.Option(default, "--split", help="train, validation or test.", autocompletion=one_of(*SPLITS))


def check_split(split: str) -> None:
    """Refuse an unknown split.

    Raises:
        ConfigError: if it is not train, validation or test.
    """
    if split not in SPLITS:
        similar = difflib.get_close_matches(split, SPLITS, 1, 0.4) or (["validation"] if split == "dev" else [])
        hint = f"did you mean {similar[0]}?" if similar else "data.test=FILE evaluates other data"
        raise ConfigError(f"--split: {split!r} is not one of {', '.join(SPLITS)}", hint)


RUN = typer.Argument(help="Run folder, or a checkpoint in one.", autocompletion=run_folders)
SPLIT = split_option("test")
DEVICE = typer.Option("auto", "--device", help="auto, cpu, cuda or mps.", autocompletion=one_of(*DEVICES))
PRECISION = typer.Option(
    "",
    "--precision",
    help="fp32 or bf16.  [default: that of the scores in training]",
    autocompletion=one_of(*PRECISIONS),
    show_default=False,
)
CHECKPOINT = typer.Option(
    "",
    "--checkpoint",
    help="best, latest, or a name in the run's checkpoints.",
    autocompletion=one_of("best", "latest"),
    show_default=False,
)
HEADER = typer.Option(
    None,
    "--header/--no-header",
    help="CSV, TSV: whether the first line names the columns.  [default: detected, and reported]",
    show_default=False,
)
OUTPUT_FILE = typer.Option(
    None, "--output", "-o", help="File to write.  [default: standard output]", show_default=False
)
OUTPUT_FOLDER = typer.Option("--output", "-o", help="Folder to write.")
"""For `Annotated`: it has no default, since it must be given."""
QUIET = typer.Option(False, "--quiet", "-q", help="Print only errors.")
