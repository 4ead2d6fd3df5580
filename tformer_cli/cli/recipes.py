"""`tformer recipes`: what there is to train."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="List the recipes that come with tformer; `recipes show NAME` prints one.", rich_markup_mode=None
)


@app.callback(invoke_without_command=True)
def _list(context: typer.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    from tformer_cli.cli.output import table
    from tformer_cli.config.recipes import recipes

    rows = [
        (info.name, info.description, info.header.get("time", ""), info.header.get("expected", ""))
        for info in recipes()
    ]
    table(("recipe", "what", "time", "expected"), rows)


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of a recipe, or path of one.")]) -> None:
    """Print a recipe as it is: save it, change it, train it with `tformer pretrain ./FILE.yaml`."""
    from tformer_cli.cli.output import result
    from tformer_cli.config.recipes import find

    result(find(name).read_text(encoding="utf-8"))
