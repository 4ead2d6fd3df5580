"""The command `tformer evaluate`, which computes the scores of a trained run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tformer_cli.cli.options import CHECKPOINT, DEVICE, PRECISION, RUN, SPLIT, check_split
from tformer_cli.errors import ConfigError, RunError

if TYPE_CHECKING:
    from tformer_cli.trained.evaluate import Report

OVERRIDES = typer.Argument(
    None,
    metavar="[KEY=VALUE]...",
    help="Other data, such as data.test=FILE, or another search, such as decode.beam=1.",
)
AS_JSON = typer.Option(False, "--json", help="Print the scores as JSON.")
PREDICTIONS = typer.Option(
    None,
    "--predictions",
    metavar="FILE",
    help="Also write all predictions, with inputs and references, to a .csv, .tsv, .jsonl or .parquet file.",
    show_default=False,
)


def evaluate(
    run: Path = RUN,
    overrides: list[str] = OVERRIDES,
    split: str = SPLIT,
    as_json: bool = AS_JSON,
    device: str = DEVICE,
    precision: str = PRECISION,
    checkpoint: str = CHECKPOINT,
    predictions: Path = PREDICTIONS,
) -> None:
    """Evaluate a trained run on a split of its data, or on other data; the result is also saved in the run."""
    from tformer_cli.cli.output import note, note_repeated

    check_split(split)
    note_repeated(overrides or [])
    table_format = "" if predictions is None else _table_format(predictions)
    from tformer_cli.cli.arguments import machine_names, named_as_options, precision_setting
    from tformer_cli.trained.evaluate import evaluate_run

    settings = [*(overrides or []), *precision_setting(precision)]
    with named_as_options(machine_names(device, precision)):
        report = evaluate_run(
            run, split, overrides=settings, checkpoint=checkpoint, device=device, predictions=bool(table_format),
            check=partial(_check, split=split, settings=overrides or [], predictions=predictions),
        )  # fmt: skip
    try:  # before the scores, since the reader of standard output may end first
        if predictions is not None:
            _write_table(report.evaluation.predictions, predictions, table_format)
    finally:
        show(report, as_json=as_json)
    if predictions is not None:
        note(f"{len(report.evaluation.predictions):,} predictions in {predictions}")
    if report.failed:
        raise typer.Exit(1)


def _table_format(path: Path) -> str:
    """Return the format of a table of predictions, and check before slow work starts that it can be written.

    Raises:
        TformerError: if its ending names no format, or it cannot be written.
    """
    from tformer_cli.cli.prediction_output import check_output_path
    from tformer_cli.data.core.table_files import writable_kind

    table_format = writable_kind(path, "--predictions")
    check_output_path(path)
    return table_format


def _check(task: Any, split: str, settings: Sequence[str], *, predictions: Path | None) -> None:
    """Refuse search settings that do not apply to a run, and a table of predictions that it does not have.

    Raises:
        ConfigError: if one does not apply; the error names the first.
        RunError: if the table would replace the data.
    """
    from tformer_cli.trained.applicable import check_settings

    check_settings(task, settings)
    if predictions is None:
        return
    if not task.evaluator.scores_examples:
        cause = f"--predictions has no effect on a run of {task.config.task}"
        raise ConfigError(cause, "it has no prediction for each example; leave it out")
    for data in (task.config.data.path, task.data.split(split).origin):
        if data and predictions.exists() and os.path.exists(data) and predictions.samefile(data):
            raise RunError(f"--predictions {predictions}: this is the run's data", "name another file")


def _write_table(rows: list[dict[str, Any]], path: Path, table_format: str) -> None:
    from tformer_cli.data.core.table_files import encoded_rows
    from tformer_cli.runs.writing import output_file

    with output_file(path) as file:
        for part in encoded_rows(rows, table_format):
            file.write(part)


def show(report: Report, *, as_json: bool = False) -> None:
    """Print a report: a table of scores with their signatures, and the tables of the task."""
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
