"""The evaluation of a run with all its predictions: read from the run folder, or made and saved there."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tformer_cli.config.schema import TextExperiment
from tformer_cli.config.values import plain
from tformer_cli.evaluators.base import Row
from tformer_cli.trained.evaluate import BATCHES, changed_settings, evaluate_opened, speed_settings
from tformer_cli.trained.opening import Opened


@dataclass
class Scored:
    """The evaluation of a run.

    Attributes:
        scores: scores by name.
        signatures: signatures of the scorers.
        rows: predictions of all examples; empty: the task has none.
        seconds: duration of the evaluation; None: unknown, or measured with other settings of speed.
        machine: description of the machine on which this duration was measured.
        note: the reason why the evaluation is not saved or has no speed, or "".
    """

    scores: dict[str, float]
    signatures: dict[str, str]
    rows: Sequence[Row]
    seconds: float | None
    machine: str
    note: str = ""


def saved_evaluation(opened: Opened, split: str) -> Scored | None:
    """Return the saved evaluation of a checkpoint on the present data of a split; None if there is none.

    It must have been made with the settings, the search and the precision of `opened`, and with the same content of the
    other runs and files that it uses. It must include the predictions if the task has any.
    """
    expected: dict[str, Any] = {
        "split": split,
        "settings": changed_settings(opened),
        "precision": opened.machine.precision,
        "checkpoint_sha256": opened.sha256,
        "data_sha256": opened.task.data.split(split).hash,
    }
    for path in sorted((opened.run / "evaluation").glob(f"{split}*.json")):
        try:
            record = json.loads(path.read_bytes())
            if {name: record.get(name) for name in expected} != expected or _search(record) != _search_of(opened):
                continue
            if record.get("used", {}) != opened.used:
                continue
            rows = _read_rows(path.parent, record["predictions"]) if opened.task.evaluator.scores_examples else []
            seconds, machine, note = _read_speed(path.with_name(f"{path.stem}-speed.json"), speed_settings(opened))
            return Scored(dict(record["scores"]), dict(record["signatures"]), rows, seconds, machine, note)
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
            continue  # of another kind, without predictions, or damaged
    return None


def _search(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.get("decode", {}).items() if name not in BATCHES}


def _search_of(opened: Opened) -> dict[str, Any]:
    config = opened.config
    return _search({"decode": plain(config.decode)} if isinstance(config, TextExperiment) else {})


def _read_rows(folder: Path, entry: dict[str, str]) -> list[Row]:
    """Return saved predictions.

    Raises:
        ValueError: if they have changed since.
    """
    content = (folder / Path(entry["file"]).name).read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError("the predictions are not those of the evaluation")
    return [json.loads(line) for line in gzip.decompress(content).decode().split("\n") if line]


def _read_speed(path: Path, settings: dict[str, Any]) -> tuple[float | None, str, str]:
    """Return the seconds that an evaluation took, the machine, and a note if it was made with other settings."""
    try:
        speed = json.loads(path.read_bytes())
        other = [name for name, value in settings.items() if speed.get(name) != value]
        if other:
            return None, "", f"no speed: {path}: measured with another {', '.join(other)}"
        return float(speed["seconds"]), str(speed["machine"]), ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, "", ""


def evaluated(opened: Opened, split: str) -> Scored:
    """Evaluate a run, and save the result in its folder."""
    report = evaluate_opened(opened, split, predictions=opened.task.evaluator.scores_examples)
    evaluation = report.evaluation
    rows = json.loads(json.dumps(evaluation.predictions))  # as they are read from a file
    return Scored(evaluation.scores, evaluation.signatures, rows, report.seconds, report.machine, report.unsaved)
