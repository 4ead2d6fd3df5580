"""The command `tformer recipes`, which lists and prints recipes."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from tformer_cli.cli.choices import recipe_names

app = typer.Typer(
    help="List the recipes that come with tformer; `recipes show NAME` prints one.", rich_markup_mode=None
)


@app.callback(invoke_without_command=True)
def _list(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each recipe.")] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from tformer_cli.cli.output import result, table
    from tformer_cli.config.recipes import recipes

    if as_json:
        for info in recipes():
            record = {"recipe": info.name, "description": info.description, **info.header}
            result(json.dumps(record, ensure_ascii=False) + "\n")
        return
    shown = _short if sys.stdout.isatty() else str
    rows = [(info.name, shown(info.description), shown(info.header.get("expected", ""))) for info in recipes()]
    table(("recipe", "description", "expected"), rows, unwrapped=("recipe",))


def _short(text: str, limit: int = 72) -> str:
    """Return the first clause of a recipe's description, truncated at a word."""
    open_brackets = 0
    for index, character in enumerate(text):
        open_brackets += (character == "(") - (character == ")")
        ends = character in ";:" or (character == "." and not text[:index].endswith("et al"))
        if ends and not open_brackets and text[index + 1 : index + 2] in ("", " "):
            text = text[:index]
            break
    return text if len(text) <= limit else text[: limit - 3].rpartition(" ")[0].rstrip(",") + " ..."


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name or path of a recipe.", autocompletion=recipe_names)],
) -> None:
    """Print the file of a recipe; a changed copy can be trained with `tformer pretrain ./FILE.yaml`."""
    from tformer_cli.cli.output import result
    from tformer_cli.config.recipes import find

    result(find(name).read_text(encoding="utf-8"))
