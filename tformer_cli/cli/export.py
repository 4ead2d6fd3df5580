"""`tformer export`: a trained run for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tformer_cli.errors import ConfigError, RunError

FORMATS = ("huggingface", "timm")


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or a checkpoint in one.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    to: Annotated[str, typer.Option("--to", help=f"Format: {', '.join(FORMATS)}.")] = "huggingface",
) -> None:
    """Write a run in another library's format, as `AutoModelForSeq2SeqLM.from_pretrained` loads it."""
    from tformer_cli.cli.output import note

    if to not in FORMATS:
        raise ConfigError(f"--to: {to!r} is not one of {', '.join(FORMATS)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RunError(f"{output} is there already", "choose another --output")
    from tformer_cli.interop.huggingface import export_run

    export_run(run, output, to)
    note(f"written: {output}")
