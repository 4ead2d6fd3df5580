"""The command `tformer export`, which writes a run in the format of another library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from tformer_cli.cli.choices import export_formats
from tformer_cli.cli.options import OUTPUT_FOLDER, RUN
from tformer_cli.errors import ConfigError, RunError


class ExportCommand(TyperCommand):
    """The command `export`; it looks up the formats when its parameters are used, since this imports all families."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters, with the formats in the help of `--to`."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if isinstance(parameter, TyperOption) and parameter.name == "to":
                parameter.help = f"Format: {' or '.join(export_formats())}."
        return parameters


def export(
    run: Annotated[Path, RUN],
    output: Annotated[Path, OUTPUT_FOLDER],
    to: Annotated[str, typer.Option("--to", help="Format.", autocompletion=export_formats)] = "huggingface",
) -> None:
    """Export a run to the format of another library; the formats depend on the model family.

    Hugging Face loads the folder by `from_pretrained` of `AutoTokenizer` or `AutoImageProcessor` and of
    `AutoModelFor...`. The classes are Seq2SeqLM (translation), CausalLM (running text), MaskedLM (masked tokens),
    SequenceClassification (texts with labels), TokenClassification (tags), QuestionAnswering and ImageClassification.
    timm loads the folder of an image model by `timm.create_model("local-dir:FOLDER", pretrained=True)`. Settings
    without a counterpart are refused by name.
    """
    from tformer_cli.cli.output import note

    if to not in export_formats():
        raise ConfigError(f"--to: {to!r} is not one of {', '.join(export_formats())}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RunError(f"{output} already exists", "choose another --output")
    from tformer_cli.interop.export import export_run

    export_run(run, output, to, note)
    note(f"written: {output}")
