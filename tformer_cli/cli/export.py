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
    """Write a run in another library's format: of Hugging Face, or for Vision Transformers of timm.

    The folder loads with `from_pretrained` of `AutoTokenizer`, or `AutoImageProcessor`, and of the `AutoModelFor...` of
    the run's task (translation: Seq2SeqLM, gpt: CausalLM, bert: MaskedLM, texts with labels: SequenceClassification,
    tags: TokenClassification, answers: QuestionAnswering, pictures: ImageClassification); or with
    `timm.create_model("local-dir:FOLDER", pretrained=True)`. What has no counterpart there is refused by name.
    """
    from tformer_cli.cli.output import note

    if to not in FORMATS:
        raise ConfigError(f"--to: {to!r} is not one of {', '.join(FORMATS)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RunError(f"{output} is there already", "choose another --output")
    from tformer_cli.interop.huggingface import export_run

    export_run(run, output, to)
    note(f"written: {output}")
