"""Comparison of trained runs on one split: scores with confidence intervals, their differences, size, time and speed.

The predictions of all examples are taken from the evaluations that are saved in the run folders, or made and saved
there. All scores are computed from these predictions by the evaluator of the first run, the baseline.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tformer_cli.errors import ConfigError, RunError
from tformer_cli.evaluators.base import Evaluator, Row
from tformer_cli.languages import segments
from tformer_cli.metrics.bootstrap import Resampled
from tformer_cli.runs.checkpoint import read_state
from tformer_cli.runs.folder import RESULT
from tformer_cli.tasks.task import Task
from tformer_cli.train.restore import Opened, open_run
from tformer_cli.train.scored import Scored, evaluated, saved_evaluation

BANDS = 5
"""Number of bands of about equally many examples into which lengths are divided."""
SPEAKER = r"([^-_.]+)[-_]"
"""Regular expression whose first group is the speaker in the name of a recording: here, what precedes `-` or `_`."""


@dataclass
class Entry:
    """A run in a comparison.

    Attributes:
        run: the path that the user gave.
        checkpoint: name of the checkpoint.
        checkpoint_sha256: SHA-256 of its manifest.
        score: the score.
        resampled: its confidence interval, and the significance of its difference to the first run; None: the task has
            no predictions of examples from which it could be computed.
        parameters: number of parameters.
        minutes: minutes of training; None: not recorded.
        examples_per_second: speed of the evaluation; None: not recorded.
        machine: the machine of this speed.
    """

    run: str
    checkpoint: str
    checkpoint_sha256: str
    score: float
    resampled: Resampled | None
    parameters: int
    minutes: float | None
    examples_per_second: float | None
    machine: str


@dataclass
class Group:
    """Examples of a length, label or speaker, with the score of each run."""

    name: str
    examples: int
    scores: list[float]


@dataclass
class Comparison:
    """The result of a comparison; the first run is the baseline.

    Attributes:
        split: name of the split.
        data: description of its source.
        data_sha256: SHA-256 of its content.
        metric: name of the score.
        lower_is_better: whether lower scores are better.
        signature: signature of the scorer, or "".
        runs: the runs.
        by: `length`, `label`, `speaker`, or "".
        groups: scores of groups of examples.
        notes: notes for the user, one line each.
    """

    split: str
    data: str
    data_sha256: str
    metric: str
    lower_is_better: bool
    signature: str
    runs: list[Entry]
    by: str = ""
    groups: list[Group] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare_runs(
    runs: Sequence[Path],
    split: str = "test",
    overrides: Sequence[str] = (),
    *,
    metric: str = "",
    by: str = "",
    speaker: str = SPEAKER,
    checkpoint: str = "",
    device: str = "auto",
    check: Callable[[Task], None] | None = None,
    say: Callable[[str], None] = print,
) -> Comparison:
    """Compare runs of one task on the same data.

    Args:
        runs: run folders or checkpoints; the first is the baseline.
        split: train, validation or test.
        overrides: settings for all runs, such as `data.test=FILE` or `decode.beam=1`.
        metric: name of a score; empty: the one that selects checkpoints of the first run.
        by: `length`, `label` or `speaker`: also score groups of examples.
        speaker: regular expression whose first group is the speaker in the name of a recording.
        checkpoint: name of the checkpoints; empty: the averaged or best.
        device: auto, cpu, cuda or mps.
        check: see `open_run`.
        say: function that receives a line before each evaluation.

    Raises:
        RunError: if the runs are not comparable: other tasks, data or scorers.
        ConfigError: if there is no such score, or the examples cannot be grouped so.
    """
    opened = [open_run(run, checkpoint=checkpoint, device=device, overrides=overrides, check=check) for run in runs]
    _check_comparable(runs, opened, split, by)
    first = opened[0].task
    metric = metric or first.config.trainer.metric or first.evaluator.metric
    scored = []
    for run, each in zip(runs, opened, strict=True):
        saved = saved_evaluation(each, split)
        if saved is None:
            say(f"evaluating {run} on {split}")
        scored.append(saved or evaluated(each, split))
    _check_metric(runs, scored, metric)
    tables = [each.rows for each in scored]
    resampled = (first.evaluator.compared(metric, tables) if tables[0] else None) or [None] * len(runs)
    data = first.data.split(split)
    return Comparison(
        split, data.origin, data.hash, metric, metric in first.evaluator.lower_is_better,
        scored[0].signatures.get(metric, ""),
        [
            _entry(run, each, result, metric, interval)
            for run, each, result, interval in zip(runs, opened, scored, resampled, strict=True)
        ],
        by, _groups(first.evaluator, metric, tables, by, speaker) if by else [], _notes(scored),
    )  # fmt: skip


def _check_comparable(runs: Sequence[Path], opened: Sequence[Opened], split: str, by: str) -> None:
    """Check that all runs are of one task, and that their splits have the same content.

    Raises:
        RunError: if they are not.
        ConfigError: if the task has no such groups.
    """
    first = opened[0].task
    if by and by not in first.evaluator.groups:
        valid = ", ".join(first.evaluator.groups)
        cause = f"--by {by}: the examples of {first.config.task} have no {by}"
        raise ConfigError(cause, f"they have: {valid}" if valid else "leave it out")
    for run, other in zip(runs[1:], opened[1:], strict=True):
        if other.task.config.task != first.config.task:
            cause = f"{run} is a run of {other.task.config.task}, {runs[0]} of {first.config.task}"
            raise RunError(cause, "compare runs of one task")
        if other.task.data.split(split).hash != first.data.split(split).hash:
            origins = [each.data.split(split).origin for each in (other.task, first)]
            cause = f"{run} is scored on other data than {runs[0]}: {origins[0]}, and {origins[1]}"
            raise RunError(cause, f"name one for all: data.{split}=FILE")


def _check_metric(runs: Sequence[Path], scored: Sequence[Scored], metric: str) -> None:
    """Check that all runs have a score by the same scorer.

    Raises:
        ConfigError: if there is no such score.
        RunError: if the scorers differ.
    """
    for run, result in zip(runs, scored, strict=True):
        if metric not in result.scores:
            raise ConfigError(f"--metric: {run} has no score {metric!r}", f"scores: {', '.join(result.scores)}")
        signatures = [each.signatures.get(metric, "") for each in (result, scored[0])]
        if signatures[0] != signatures[1]:
            cause = f"{run} is scored otherwise than {runs[0]}: {signatures[0]}, and {signatures[1]}"
            raise RunError(cause, "give all runs the same settings of scoring")


def _entry(run: Path, opened: Opened, scored: Scored, metric: str, resampled: Resampled | None) -> Entry:
    speed = len(scored.rows) / scored.seconds if scored.seconds and scored.rows else None
    parameters = sum(parameter.numel() for parameter in opened.model.parameters())
    return Entry(
        str(run), opened.checkpoint.name, opened.sha256, scored.scores[metric], resampled, parameters,
        _minutes(opened), speed, scored.machine,
    )  # fmt: skip


def _minutes(opened: Opened) -> float | None:
    """Return the minutes of training of a run; of an unfinished one, those up to the checkpoint."""
    try:
        return float(json.loads((opened.run / RESULT).read_bytes())["minutes"])
    except (OSError, ValueError, KeyError, TypeError):
        seconds = read_state(opened.checkpoint).get("seconds")
        return seconds / 60 if isinstance(seconds, int | float) else None


def _notes(scored: Sequence[Scored]) -> list[str]:
    """Return notes about evaluations that are not saved, and speeds of different machines."""
    notes = list(dict.fromkeys(result.note for result in scored if result.note))
    machines = list(dict.fromkeys(result.machine for result in scored if result.machine))
    if len(machines) > 1:
        notes.append(f"note: the speeds are of different machines: {'; '.join(machines)}")
    return notes


# --- groups of examples ---


def _groups(
    evaluator: Evaluator[Any, Any], metric: str, tables: Sequence[Sequence[Row]], by: str, speaker: str
) -> list[Group]:
    """Return the scores of groups of examples.

    Raises:
        ConfigError: if the score cannot be computed for a part of the examples, or no name contains a speaker.
    """
    statistics = [evaluator.statistic(metric, rows) for rows in tables]
    known = [statistic for statistic in statistics if statistic is not None]
    if len(known) < len(tables):
        raise ConfigError(f"--by {by}: {metric} is not known for a part of the examples", "choose another --metric")
    values = [[row[name] for name in evaluator.groups[by]] for row in tables[0]]
    if by == "length":
        members = length_bands([sum(len(segments(text)) for text in texts) for texts in values])
    else:
        names = [str(value) for (value,) in values]
        members = named_groups(_speakers(names, speaker) if by == "speaker" else names)
    return [
        Group(name, len(rows), [statistic(np.array(rows)) for statistic in known]) for name, rows in members.items()
    ]


def length_bands(lengths: Sequence[int]) -> dict[str, list[int]]:
    """Divide examples into at most `BANDS` bands by length; all examples of a length are in one band.

    Args:
        lengths: length of each example.

    Returns:
        Rows by the name of the band, such as `5-9`, in ascending order.
    """
    values = np.asarray(lengths)
    limits = np.unique(np.quantile(values, np.arange(1, BANDS) / BANDS, method="lower"))
    numbers = np.searchsorted(limits, values)  # band 0: up to the first limit
    bands = {}
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        low, high = int(values[rows].min()), int(values[rows].max())
        bands[f"{low}-{high}" if low < high else f"{low}"] = rows.tolist()
    return bands


def named_groups(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each name, sorted by name."""
    return {name: [row for row, other in enumerate(names) if other == name] for name in sorted(Counter(names))}


def _speakers(recordings: Sequence[str], pattern: str) -> list[str]:
    """Return the speaker of each recording.

    Raises:
        ConfigError: if the pattern is not a regular expression with a group, or does not match a name.
    """
    try:
        matches = [(name, re.search(pattern, name)) for name in recordings]
        missing = next((name for name, match in matches if match is None), None)
        if missing is None:
            return [match[1] for _, match in matches if match is not None]
    except (re.error, IndexError) as error:
        cause = f"--speaker: {pattern!r} is not a regular expression with a group: {error}"
        raise ConfigError(cause, "such as '_(.+)_'") from error
    remedy = "--speaker '_(.+)_' names the part in parentheses"
    raise ConfigError(f"--by speaker: the name {missing!r} does not match {pattern!r}", remedy)
