"""`tformer quickstart`: from nothing to a translation, on data that comes with tformer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RECIPE = "quickstart/translation"
SHOWN = 5  # translations


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
    from tformer_cli.data.builtin import parallel
    from tformer_cli.train.evaluate import evaluate_run
    from tformer_cli.train.restore import open_run

    opened = open_run(run)
    pairs = parallel(config.data.path, "test", size=SHOWN, seed=config.seed)
    sources = [source for source, _ in pairs]
    note("\nsome translations, held against what the grammar says:", quiet=quiet)
    for (source, reference), answer in zip(pairs, opened.task.predict(opened.model, sources), strict=True):
        verdict = "right" if answer.text == reference else f"should be {reference}"
        result(f"{source} -> {answer.text} ({verdict})\n")
    note("\nscores on combinations that training has not seen:", quiet=quiet)
    show(evaluate_run(run, "test", overrides=[], checkpoint="", device="auto"))
    note(next_steps(run, sources[0]), quiet=quiet)


def next_steps(run: Path, sentence: str) -> str:
    """What someone who has seen the quickstart can type next."""
    commands = (
        (f'echo "{sentence}" | tformer translate {run}', "translate with it"),
        (f"tensorboard --logdir {run}", "its curves"),
        ("tformer recipes", "what else there is"),
        (
            "tformer pretrain translation/files data.path=FOLDER data.source_language=en data.target_language=de",
            "your data",
        ),
    )
    return "\nwhat next:\n" + "\n".join(f"  {command}    # {why}" for command, why in commands)
