"""`tformer export`: a trained run for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tformer_cli.cli.choices import one_of, run_folders
from tformer_cli.errors import ConfigError, RunError

FORMATS = ("huggingface", "timm")


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or a checkpoint in one.", autocompletion=run_folders)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    to: Annotated[
        str, typer.Option("--to", help=f"Format: {' or '.join(FORMATS)}.", autocompletion=one_of(*FORMATS))
    ] = "huggingface",
) -> None:
    """Export a run to the format of Hugging Face, or of timm for Vision Transformers.

    Hugging Face loads the folder by `from_pretrained` of `AutoTokenizer` or `AutoImageProcessor` and of
    `AutoModelFor...`. The classes are Seq2SeqLM (translation), CausalLM (gpt), MaskedLM (bert), SequenceClassification
    (texts with labels), TokenClassification (tags), QuestionAnswering and ImageClassification. timm loads it by
    `timm.create_model("local-dir:FOLDER", pretrained=True)`. Settings without a counterpart are refused by name.
    """
    from tformer_cli.cli.output import note

    if to not in FORMATS:
        raise ConfigError(f"--to: {to!r} is not one of {', '.join(FORMATS)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RunError(f"{output} is there already", "choose another --output")
    from tformer_cli.interop.huggingface import export_run

    export_run(run, output, to)
    note(f"written: {output}")
