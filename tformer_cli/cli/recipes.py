"""`tformer recipes`: what there is to train."""

from __future__ import annotations

from typing import Annotated

import typer

from tformer_cli.cli.choices import recipe_names

app = typer.Typer(
    help="List the recipes that come with tformer; `recipes show NAME` prints one whole.", rich_markup_mode=None
)


@app.callback(invoke_without_command=True)
def _list(context: typer.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    from tformer_cli.cli.output import table
    from tformer_cli.config.recipes import recipes

    rows = [(info.name, _short(info.description), _short(info.header.get("expected", ""))) for info in recipes()]
    table(("recipe", "what", "expected"), rows, unwrapped=("recipe",))


def _short(text: str, limit: int = 72) -> str:
    """Return the first clause of a recipe's description, cut at a word; `recipes show` prints all of it."""
    open_brackets = 0
    for place, character in enumerate(text):
        open_brackets += (character == "(") - (character == ")")
        ends = character in ";:" or (character == "." and not text[:place].endswith("et al"))
        if ends and not open_brackets and text[place + 1 : place + 2] in ("", " "):
            text = text[:place]
            break
    return text if len(text) <= limit else text[: limit - 3].rpartition(" ")[0].rstrip(",") + " ..."


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a recipe, or path of one.", autocompletion=recipe_names)],
) -> None:
    """Print a recipe as it is: save it, change it, train it with `tformer pretrain ./FILE.yaml`."""
    from tformer_cli.cli.output import result
    from tformer_cli.config.recipes import find

    result(find(name).read_text(encoding="utf-8"))
