"""The command line: a file for each command, which imports heavy libraries only when it runs.

`tformer --help` and completion must be fast. Modules of this package therefore import only typer at module level, and
torch, Hydra, rich and most of tformer inside of functions. The console script calls `main.main`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from tformer_cli.cli import (
    cache,
    compare,
    completion,
    distill,
    doctor,
    evaluate,
    export,
    inspect,
    quickstart,
    recipes,
    runs,
    settings,
    tokenize,
    train,
    translate,
)

app = typer.Typer(
    name="tformer",
    help="Train, evaluate and use Transformers.",
    epilog="Start with `tformer quickstart`; `tformer COMMAND --help` describes a command.",
    add_completion=False,  # completion.py also completes after `=`
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(requested: bool) -> None:
    if requested:
        from tformer_cli import __version__

        typer.echo(f"tformer {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("quickstart", short_help="Train and evaluate small models on built-in data.")(quickstart.quickstart)
app.add_typer(recipes.app, name="recipes", short_help="List the recipes; `show NAME` prints one.")
app.command("settings", short_help="List all settings with defaults and descriptions.")(settings.settings)
app.command("pretrain", short_help="Train a recipe from random weights.")(train.pretrain)
app.command("finetune", short_help="Train a recipe from another run's weights.")(train.finetune)
app.command("translate", short_help="Translate text with a trained run.")(translate.translate)
app.command("predict", short_help="Predict with a trained run of any task.")(translate.predict)
app.command("distill", short_help="Write a trained run's translations as training data.")(distill.distill)
app.command("evaluate", short_help="Evaluate a trained run.")(evaluate.evaluate)
app.command("compare", short_help="Compare trained runs on the same data.")(compare.compare)
app.command("inspect", short_help="Draw figures that look inside a trained model.")(inspect.inspect)
app.add_typer(tokenize.app, name="tokenize", short_help="Train, use and inspect tokenizers.")
app.command("export", cls=export.ExportCommand, short_help="Export a run to the format of another library.")(
    export.export
)
app.command("runs", short_help="List trained runs.")(runs.runs)
app.command("doctor", short_help="Show versions, device and speed of this machine.")(doctor.doctor)
app.command("cache", short_help="Show the cache; --prune removes old entries.")(cache.cache)
app.command("completion", short_help="Print the completion script of a shell.")(completion.completion)
app.command("complete", hidden=True)(completion.complete)
