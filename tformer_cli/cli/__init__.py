"""The command line: a small file per verb, and nothing heavy imported before a verb runs.

`tformer --help` and the shell's completion must be quick, so this package imports typer alone at module
level; torch, Hydra, rich and the rest of tformer are imported inside the verbs. `main.main` is what the
console script calls.
"""

from __future__ import annotations

from typing import Annotated

import typer

from tformer_cli.cli import (
    cache,
    completion,
    doctor,
    evaluate,
    export,
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
    help="Train, score and use Transformers: from raw data to a result.",
    epilog="Start with `tformer quickstart`; `tformer VERB --help` says more of each.",
    add_completion=False,  # ours completes after `=` too: see completion.py
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from tformer_cli import __version__

        typer.echo(f"tformer {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


app.command("quickstart", short_help="Train, translate and score on built-in data.")(quickstart.quickstart)
app.add_typer(recipes.app, name="recipes", short_help="List what can be trained; `show NAME` prints it.")
app.command("settings", short_help="List every setting, its default and what it does.")(settings.settings)
app.command("pretrain", short_help="Train a recipe from random weights.")(train.pretrain)
app.command("finetune", short_help="Train a recipe from another run's weights.")(train.finetune)
app.command("translate", short_help="Translate text with a trained run.")(translate.translate)
app.command("predict", short_help="Answer text with a trained run of any task.")(translate.predict)
app.command("evaluate", short_help="Score a trained run.")(evaluate.evaluate)
app.add_typer(tokenize.app, name="tokenize", short_help="Train, use and inspect tokenizers.")
app.command("export", cls=export.ExportCommand, short_help="Write a run in another library's format.")(export.export)
app.command("runs", short_help="List what has been trained.")(runs.runs)
app.command("doctor", short_help="What this machine has, and how fast it is.")(doctor.doctor)
app.command("cache", short_help="What the cache holds; --prune removes what is old.")(cache.cache)
app.command("completion", short_help="Print a shell's completion script.")(completion.completion)
app.command("complete", hidden=True)(completion.complete)
