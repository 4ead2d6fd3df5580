"""`tformer evaluate`: a trained run's scores."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tformer_cli.cli.choices import DEVICES, PRECISIONS, one_of, run_folders
from tformer_cli.errors import ConfigError, RunError

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
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="fp32 or bf16.  [default: as the run was scored in training]",
            show_default=False,
            autocompletion=one_of(*PRECISIONS),
        ),
    ] = "",
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            help="best, latest, or a name in the run's checkpoints.",
            show_default=False,
            autocompletion=one_of("best", "latest"),
        ),
    ] = "",
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            metavar="FILE",
            help="Also write every prediction, with its input and the right answer: .csv, .tsv, .jsonl or .parquet.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Score a trained run on a split of its data, or on other data; the result is also saved in the run."""
    from tformer_cli.cli.output import note, note_repeated

    check_split(split)
    note_repeated(overrides or [])
    kind = "" if predictions is None else _table_kind(predictions)
    from tformer_cli.cli.asked import DEVICE_NAME, PRECISION_NAME, named_as_options, precision_setting
    from tformer_cli.train.evaluate import evaluate_run

    settings = [*(overrides or []), *precision_setting(precision)]
    with named_as_options(({} if device == "auto" else DEVICE_NAME) | (PRECISION_NAME if precision else {})):
        report = evaluate_run(
            run, split, overrides=settings, checkpoint=checkpoint, device=device, predictions=bool(kind),
            check=partial(_check, split=split, settings=overrides or [], predictions=predictions),
        )  # fmt: skip
    try:  # before the scores, since the reader of standard output may end first
        if predictions is not None:
            _write_table(report.evaluation.predictions, predictions, kind)
    finally:
        show(report, as_json=as_json)
    if predictions is not None:
        note(f"{len(report.evaluation.predictions):,} predictions in {predictions}")
    if report.failed:
        raise typer.Exit(1)


def _table_kind(path: Path) -> str:
    """Return the format of a table of predictions, which is checked before slow work starts.

    Raises:
        TformerError: if its ending names no format, or it cannot be written.
    """
    from tformer_cli.cli.answers import check_place
    from tformer_cli.data.core.table_files import writable_kind

    kind = writable_kind(path, "--predictions")
    check_place(path)
    return kind


def _check(task: Any, split: str, settings: Sequence[str], *, predictions: Path | None) -> None:
    """Refuse search settings, and a table of predictions, that do not apply to a run, or would replace its data.

    Raises:
        ConfigError: if one does not apply; names the first.
        RunError: if the table would replace this data.
    """
    from tformer_cli.cli.asked import check_decode, check_trained, decode_settings

    check_trained(settings)
    check_decode(task, decode_settings(settings))
    if predictions is None:
        return
    if not task.evaluator.scores_examples:
        cause = f"--predictions means nothing for a run of {task.config.task}"
        raise ConfigError(cause, "it is scored as a whole, without a prediction for each example; leave it out")
    for data in (task.config.data.path, task.data.split(split).origin):
        if data and predictions.exists() and os.path.exists(data) and predictions.samefile(data):
            raise RunError(f"--predictions {predictions}: it is the run's data", "name another file")


def _write_table(rows: list[dict[str, Any]], path: Path, kind: str) -> None:
    from tformer_cli.data.core.table_files import encoded_rows
    from tformer_cli.runs.writing import output_file

    with output_file(path) as file:
        for part in encoded_rows(rows, kind):
            file.write(part)


def check_split(split: str) -> None:
    """Refuse an unknown split.

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
    if any(evaluation.signatures.values()):
        table(("metric", "value", "signature"), rows)
    else:
        table(("metric", "value"), [row[:2] for row in rows])
    for title, header, table_rows in evaluation.tables:
        result("\n")
        table(header, table_rows, title=title)
    for line in evaluation.notes:
        note(line)
    note(report.unsaved or f"saved in {', '.join(map(str, [report.path, *report.pictures]))}")
