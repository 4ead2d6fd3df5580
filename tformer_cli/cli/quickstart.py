"""`tformer quickstart`: from nothing to a translation, on data that comes with tformer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RECIPE = "quickstart/translation"
SENTENCES = (
    "the cat sees the dog .",
    "I did not read the book yesterday .",
    "she is eating two apples at school .",
)


def quickstart(
    minutes: Annotated[
        float, typer.Option("--minutes", help="Training time.  [default: the recipe's]", show_default=False)
    ] = None,
    run: Annotated[
        Path,
        typer.Option(
            "--run",
            help="Folder of the run.  [default: runs/quickstart/translation/NUMBER]",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")] = False,
) -> None:
    """Train a small English-Japanese model on built-in data, translate, score, and say what to do next."""
    from tformer_cli.cli.evaluate import show
    from tformer_cli.cli.output import note, result
    from tformer_cli.cli.train import check_run, new_run
    from tformer_cli.config.compose import compose

    config = compose(RECIPE, [] if minutes is None else ["trainer.steps=0", f"trainer.minutes={minutes}"])
    run = run or new_run(RECIPE)
    check_run(run, resume=False)
    from tformer_cli.train.launch import launch

    launch(config, run, resume=False, initial=None, processes=1, quiet=quiet)
    from tformer_cli.train.evaluate import evaluate_run
    from tformer_cli.train.restore import open_run

    opened = open_run(run)
    note("\nsome translations:", quiet=quiet)
    for sentence, answer in zip(
        SENTENCES, opened.task.predict(opened.model, SENTENCES, opened.config.decode), strict=True
    ):
        result(f"{sentence} -> {answer.text}\n")
    note("\nscores on combinations that training has not seen:", quiet=quiet)
    show(evaluate_run(run, "test", overrides=[], checkpoint="", device="auto"))
    note(next_steps(run), quiet=quiet)


def next_steps(run: Path) -> str:
    """What someone who has seen the quickstart can type next."""
    return f"""
what next:
  echo "the cat sees the dog ." | tformer translate {run}
  tformer pretrain translation/files data.path=FOLDER data.source_language=en data.target_language=de    your
  own data tformer recipes                       all recipes tensorboard --logdir {run}            its
  curves"""
