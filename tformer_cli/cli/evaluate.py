"""`tformer evaluate`: a trained run's scores."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tformer_cli.cli.choices import DEVICES, one_of, run_folders
from tformer_cli.errors import ConfigError

SPLITS = ("train", "validation", "test")

if TYPE_CHECKING:
    from tformer_cli.train.evaluate import Report


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder, or a checkpoint in one.", autocompletion=run_folders)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Other data, as data.test=..., or another search, as decode.beam=1.",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option("--split", help="train, validation or test.", autocompletion=one_of(*SPLITS)),
    ] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda or mps.", autocompletion=one_of(*DEVICES))
    ] = "auto",
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            help="best, latest, or a name in the run's checkpoints.",
            show_default=False,
            autocompletion=one_of("best", "latest"),
        ),
    ] = "",
) -> None:
    """Score a trained run on a split of its data, or on other data; the result is also saved in the run."""
    check_split(split)
    from tformer_cli.cli.output import note_repeated
    from tformer_cli.train.evaluate import evaluate_run

    note_repeated(overrides or [])
    report = evaluate_run(run, split, overrides=overrides or [], checkpoint=checkpoint, device=device)
    show(report, as_json=as_json)
    if report.failed:
        raise typer.Exit(1)


def check_split(split: str) -> None:
    """Refuse a split that no data has.

    Raises:
        ConfigError: if it is not train, validation or test.
    """
    if split not in SPLITS:
        meant = difflib.get_close_matches(split, SPLITS, 1, 0.4) or (["validation"] if split == "dev" else [])
        hint = f"did you mean {meant[0]}?" if meant else "data.test=... names other data"
        raise ConfigError(f"--split: {split!r} is not one of {', '.join(SPLITS)}", hint)


def show(report: Report, *, as_json: bool = False) -> None:
    """Print a report: a table of scores with their signatures, then the task's own tables."""
    from tformer_cli.cli.output import note, result, table

    evaluation = report.evaluation
    if as_json:
        fields = {
            "scores": evaluation.scores,
            "signatures": evaluation.signatures,
            "path": str(report.path) if report.path else None,
        }
        fields |= {"notes": evaluation.notes} if evaluation.notes else {}
        fields |= {"pictures": [str(path) for path in report.pictures]} if report.pictures else {}
        result(json.dumps(fields, ensure_ascii=False, indent=1) + "\n")
        if report.unsaved:
            note(report.unsaved)
        return
    rows = [(name, value, evaluation.signatures.get(name, "")) for name, value in evaluation.scores.items()]
    table(("metric", "value", "signature"), rows)
    for title, header, more in evaluation.tables:
        result("\n")
        table(header, more, title=title)
    for line in evaluation.notes:
        note(line)
    note(report.unsaved or f"saved in {', '.join(map(str, [report.path, *report.pictures]))}")
