"""Evaluation of a trained run on a split, with a record for later checks of the scores."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tformer_cli.config.schema import TextExperiment
from tformer_cli.config.values import differences, plain
from tformer_cli.data.core.table_files import encoded_rows
from tformer_cli.decode.workers import Stopwatch
from tformer_cli.draw import draw, png
from tformer_cli.errors import RunError
from tformer_cli.evaluators.base import Evaluation, Scoring
from tformer_cli.runs.folder import processor
from tformer_cli.runs.writing import replace_file, write_remedy
from tformer_cli.tasks.task import Task
from tformer_cli.trained.opening import Opened, open_run

BATCHES = ("batch", "workers")
"""Settings of `decode` that affect the speed and not the scores."""
UNSCORED = ("trainer.device", "trainer.threads", "data.cache", "data.workers", *(f"decode.{name}" for name in BATCHES))
"""Settings that do not affect scores."""
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass
class Report:
    """An evaluation and the path of its record.

    Attributes:
        evaluation: the scores.
        path: path of the record; None if the run is not writable.
        pictures: paths of the figures.
        unsaved: the reason why nothing was written, in one line, or "".
        failed: whether the reason is something other than a missing permission.
        seconds: duration of the computation of loss and predictions.
        machine: description of the machine on which this duration was measured.
    """

    evaluation: Evaluation
    path: Path | None
    pictures: list[Path]
    unsaved: str = ""
    failed: bool = False
    seconds: float = 0.0
    machine: str = ""


def evaluate_run(
    run: Path,
    split: str = "test",
    overrides: Sequence[str] = (),
    checkpoint: str = "",
    device: str = "auto",
    *,
    predictions: bool = False,
    check: Callable[[Task], None] | None = None,
) -> Report:
    """Evaluate a run.

    Args:
        run: run folder or checkpoint.
        split: train, validation or test.
        overrides: settings that differ from the run's.
        checkpoint: name of the checkpoint; empty: the averaged or best.
        device: auto, cpu, cuda or mps.
        predictions: whether the evaluation includes all predictions.
        check: see `open_run`.

    Returns:
        The scores. They are also written to `RUN/evaluation/SPLIT.json`, with the scorers' signatures and the SHA-256
        of checkpoint and data. For other data, checkpoints or settings the file is `SPLIT-NAME-HASH.json`.

    Raises:
        RunError: if the loss is not finite.
    """
    opened = open_run(run, checkpoint=checkpoint, device=device, overrides=overrides, check=check)
    return evaluate_opened(opened, split, predictions=predictions)


def evaluate_opened(opened: Opened, split: str, *, predictions: bool = False) -> Report:
    """Evaluate an opened run, and save the result in its folder.

    With predictions, `SPLIT-predictions.jsonl.gz` is written too, and `SPLIT-speed.json` with the time that they and
    the loss took.

    Args:
        opened: the run.
        split: train, validation or test.
        predictions: whether the evaluation includes all predictions.

    Raises:
        RunError: if the loss is not finite.
        ConfigError: if settings draw other examples for validation than those of training.
    """
    stopwatch = Stopwatch()
    evaluation = opened.evaluate(split, Scoring(predictions=predictions), stopwatch)
    seconds = stopwatch.seconds
    if not math.isfinite(evaluation.scores.get("loss", 0.0)):
        raise RunError(f"{opened.checkpoint}: its loss on {split} is not finite", "use an earlier --checkpoint")
    changed = changed_settings(opened)
    name = split + _variant(opened, evaluation, changed)
    folder, machine = opened.run / "evaluation", _machine(opened)
    pictures = {title: folder / f"{name}-{title}.png" for title in evaluation.pictures}
    record = {
        "split": split,
        "data": opened.task.data.split(split).origin,
        "settings": changed,
        "precision": opened.machine.precision,
        "used": dict(opened.used),
        **_scores(evaluation),
        "pictures": {title: path.name for title, path in pictures.items()},
        "checkpoint": opened.checkpoint.name,
        "checkpoint_sha256": opened.sha256,
        **({"decode": plain(opened.config.decode)} if isinstance(opened.config, TextExperiment) else {}),
    }
    path = folder / f"{name}.json"
    try:
        folder.mkdir(exist_ok=True)
        if predictions:
            rows = b"".join(encoded_rows(evaluation.predictions, ".jsonl.gz"))
            record["predictions"] = {"file": f"{name}-predictions.jsonl.gz", "sha256": hashlib.sha256(rows).hexdigest()}
            replace_file(folder / record["predictions"]["file"], rows)
            speed = {"examples": len(evaluation.predictions), "seconds": seconds, "machine": machine}
            speed |= speed_settings(opened)
            replace_file(folder / f"{name}-speed.json", json.dumps(speed, indent=1).encode())
        elif kept := _kept_predictions(path, record):
            record["predictions"] = kept
        for title, picture_path in pictures.items():
            replace_file(picture_path, png(draw(evaluation.pictures[title])))
        replace_file(path, json.dumps(record, indent=1, ensure_ascii=False).encode())
    except OSError as error:
        unsaved = f"not saved: {folder}: {error.strerror or error}"
        failed = error.errno not in READ_ONLY
        unsaved += f": {write_remedy(error)}" if failed else ""
        return Report(evaluation, None, [], unsaved, failed, seconds, machine)
    return Report(evaluation, path, list(pictures.values()), seconds=seconds, machine=machine)


def changed_settings(opened: Opened) -> list[str]:
    """Return a line for each setting that affects scores and differs from the run's."""
    return [line for line in differences(opened.saved, opened.config) if not line.startswith(UNSCORED)]


def speed_settings(opened: Opened) -> dict[str, Any]:
    """Return the settings that affect the speed of an evaluation and not its scores, and the device."""
    config = opened.config
    batches = {}
    if isinstance(config, TextExperiment):
        decode = plain(config.decode)
        batches = {f"decode.{name}": decode[name] for name in BATCHES}
    return batches | {"device": opened.machine.device.type}


def _machine(opened: Opened) -> str:
    """Return a description of the machine, to be recorded with durations."""
    machine = opened.machine
    threads = f", {machine.threads} thread{'s'[: machine.threads != 1]}" if machine.device.type == "cpu" else ""
    return f"{processor()}: {machine.device.type}{threads}, {machine.precision}"


def _kept_predictions(path: Path, record: dict[str, Any]) -> dict[str, str] | None:
    """Return the entry for the predictions of an earlier evaluation with the same result; None if there is none."""
    try:
        before = json.loads(path.read_bytes())
        predictions = before.pop("predictions")
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return predictions if before == json.loads(json.dumps(record)) else None


def _scores(evaluation: Evaluation) -> dict[str, Any]:
    """Return the record of an evaluation, without figures and the table of predictions."""
    fields = dataclasses.asdict(dataclasses.replace(evaluation, pictures={}, predictions=[]))
    del fields["predictions"]
    return fields


def _variant(opened: Opened, evaluation: Evaluation, changed: Sequence[str]) -> str:
    """Return the suffix of an evaluation's file name; "" for the run's own settings and its best checkpoint."""
    if not changed and opened.is_best:
        return ""
    data = opened.config.data
    other_data = [str(getattr(data, key)) for key in ("path", "test", "validation", "train") if _differs(opened, key)]
    subject = next(reversed(other_data), "settings" if opened.is_best else opened.checkpoint.name)
    identity = json.dumps([list(changed), "" if opened.is_best else opened.sha256, evaluation.data_sha256])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"-{re.sub(r'[^A-Za-z0-9_.-]+', '_', Path(subject).name)[:40]}-{digest}"


def _differs(opened: Opened, key: str) -> bool:
    return getattr(opened.config.data, key) != getattr(opened.saved.data, key)
