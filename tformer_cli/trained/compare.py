"""Comparison of trained runs on one split: scores with confidence intervals, their differences, size, time and speed.

The predictions of all examples are read from the evaluations in the run folders; a missing evaluation is made and saved
there first. The evaluator of the first run, the baseline, computes confidence intervals, significance and scores of
groups from these predictions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tformer_cli.errors import ConfigError, RunError
from tformer_cli.evaluators.base import Row, Scoring
from tformer_cli.metrics.bootstrap import Resampled
from tformer_cli.runs.checkpoint import read_state
from tformer_cli.runs.folder import RESULT
from tformer_cli.tasks.task import Task
from tformer_cli.trained.groups import SPEAKER, Group, check_groups, scores_of_groups
from tformer_cli.trained.opening import Opened, open_run
from tformer_cli.trained.scored import Scored, evaluated, saved_evaluation


@dataclass
class Entry:
    """A run in a comparison.

    Attributes:
        run: the path that the user gave.
        checkpoint: name of the checkpoint.
        checkpoint_sha256: SHA-256 of its manifest.
        score: the score.
        resampled: the confidence interval of the score, and the significance of its difference to the first run; None:
            the task has no predictions of examples from which they could be computed.
        parameters: number of parameters.
        minutes: minutes of training; None: not recorded.
        examples_per_second: speed of the evaluation; None: not recorded.
        machine: description of the machine on which this speed was measured.
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
        by: property that groups the examples: `length`, `label` or `speaker`; "": no groups.
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
        speaker: regular expression; its first group matches the speaker in the name of a recording.
        checkpoint: name of the checkpoints; empty: the averaged or best.
        device: auto, cpu, cuda or mps.
        check: see `open_run`.
        say: function that receives a line before each evaluation.

    Raises:
        RunError: if the runs are not comparable: if their tasks, data or scorers differ.
        ConfigError: if there is no such score, or the examples cannot be grouped in this way.
    """
    open_one = partial(open_run, checkpoint=checkpoint, device=device, overrides=overrides, check=check)
    first, metric, contestants = _checked(runs, open_one, split, metric, by, speaker)
    for number, each in enumerate(contestants):
        if each.scored is None:
            say(f"evaluating {each.run} on {split}")
            opened = open_one(each.run)
            contestants[number] = _contestant(each.run, opened, split, metric)
            contestants[number].scored = contestants[number].scored or evaluated(opened, split)
            del opened
    scored = [each.scored for each in contestants if each.scored is not None]
    _check_signatures(contestants, metric)
    tables = [each.rows for each in scored]
    _check_examples([each.run for each in contestants], tables)
    resampled = (first.evaluator.compared(metric, tables) if tables[0] else None) or [None] * len(runs)
    data = first.data.split(split)
    return Comparison(
        split, data.origin, data.hash, metric, metric in first.evaluator.lower_is_better,
        scored[0].signatures.get(metric, ""),
        [
            _entry(each, result, metric, interval)
            for each, result, interval in zip(contestants, scored, resampled, strict=True)
        ],
        by, scores_of_groups(first.evaluator, metric, tables, by, speaker) if by else [], _notes(scored),
    )  # fmt: skip


def _check_examples(runs: Sequence[str | Path], tables: Sequence[Sequence[Row]]) -> None:
    """Refuse runs whose predictions are not of the same examples in the same order.

    Raises:
        RunError: for example, if recordings are joined to other utterances.
    """
    examples = [[row.get("recording") for row in rows] for rows in tables]  # None: in the order of the data
    for run, others in zip(runs, examples, strict=True):
        if others != examples[0]:
            cause = f"{run}: its examples are not those of {runs[0]}, in the same order"
            raise RunError(cause, "give all runs the same settings of data, such as data.join_low=1 data.join_high=1")


def _checked(
    runs: Sequence[Path], open_one: Callable[[Path], Opened], split: str, metric: str, by: str, speaker: str
) -> tuple[Task, str, list[_Contestant]]:
    """Check all runs before any is evaluated; only one model is in memory at a time.

    Args:
        runs: run folders or checkpoints; the first is the baseline.
        open_one: function that opens a run.
        split: name of the split.
        metric: name of the score; empty: the one that selects checkpoints of the first run.
        by: property that groups the examples, or "".
        speaker: regular expression for the speaker in the name of a recording.

    Returns:
        The task of the first run, the name of the score, and the runs.
    """
    contestants: list[_Contestant] = []
    first: Task | None = None
    for run in runs:
        opened = open_one(run)
        first = first or opened.task
        metric = metric or first.config.trainer.metric or first.evaluator.metric
        if not contestants:
            check_groups(first.evaluator, first.config.task, metric, by, speaker)
        elif opened.task.config.task != first.config.task:
            cause = f"{run} is a run of {opened.task.config.task}, but {runs[0]} is a run of {first.config.task}"
            raise RunError(cause, "compare runs of one task")
        contestants.append(_contestant(run, opened, split, metric))
        _check_comparable(contestants[0], contestants[-1], split, metric)
        _check_scores(opened, contestants[-1], split, metric, by, speaker)
        del opened
    assert first is not None
    return first, metric, contestants


@dataclass
class _Contestant:
    """What a comparison keeps of a run after its model is released.

    Attributes:
        run: the path that the user gave.
        checkpoint: name of the checkpoint.
        sha256: SHA-256 of its manifest.
        parameters: number of parameters.
        minutes: see `_minutes`.
        data: description of the split.
        data_sha256: SHA-256 of its content.
        scorer: description of what its scores depend on besides the predictions, such as the labels.
        tokenizer: hash of the tokenizer if the score is a mean over tokens, or "".
        measure: what the loss measures if the score depends on it; None: it does not, see `Objective.measure`.
        scored: its evaluation; None: none is saved.
    """

    run: Path
    checkpoint: str
    sha256: str
    parameters: int
    minutes: float | None
    data: str
    data_sha256: str
    scorer: str
    tokenizer: str
    measure: str | None
    scored: Scored | None


def _contestant(run: Path, opened: Opened, split: str, metric: str) -> _Contestant:
    data, evaluator = opened.task.data.split(split), opened.task.evaluator
    tokenizer = evaluator.data.tokenizer.hash if metric in evaluator.per_token else ""
    measure = evaluator.objective.measure() if metric in evaluator.per_objective else None
    parameters = sum(parameter.numel() for parameter in opened.model.parameters())
    return _Contestant(
        run, opened.checkpoint.name, opened.sha256, parameters, _minutes(opened), data.origin,
        data.hash, evaluator.scorer(split), tokenizer, measure, saved_evaluation(opened, split),
    )  # fmt: skip


def _check_comparable(first: _Contestant, other: _Contestant, split: str, metric: str) -> None:
    """Check that a run and the first run have the same data and scorers, and that their scores measure the same.

    Raises:
        RunError: if they differ.
    """
    if other.data_sha256 != first.data_sha256:
        cause = f"{other.run} and {first.run} are scored on different data: {other.data}, and {first.data}"
        raise RunError(cause, f"set the same data for all runs: data.{split}=FILE")
    if other.scorer != first.scorer:
        runs = f"{other.run} and {first.run}"
        cause = f"{runs} are scored with different labels or settings: {other.scorer}, and {first.scorer}"
        raise RunError(cause, "compare runs with the same labels and scoring settings")
    if other.tokenizer != first.tokenizer:
        runs = f"{other.run} and {first.run}"
        cause = f"{runs} have different tokenizers, and {metric} is a mean over tokens"
        raise RunError(cause, "compare runs with one tokenizer, or another --metric: bits_per_byte, bleu, wer")
    if other.measure == "":
        cause = f"{metric} of {other.run} is given by a part of the model itself, which no other run has"
        raise RunError(cause, "compare runs by another --metric")
    if other.measure != first.measure:
        cause = f"{metric} of {other.run} is from the {other.measure}; that of {first.run} from the {first.measure}"
        raise RunError(cause, "compare runs with the same objective and settings, or another --metric")


def _check_scores(opened: Opened, contestant: _Contestant, split: str, metric: str, by: str, speaker: str) -> None:
    """Check that a run has a score, and that the score can be computed for groups if these are requested.

    The available scores come from the saved evaluation, or from one that decodes few examples.

    Raises:
        ConfigError: if there is no such score.
    """
    evaluator, scored = opened.task.evaluator, contestant.scored
    if scored is None and (by or metric not in (evaluator.metric, "loss")):
        limit = evaluator.smallest_limit
        evaluation = opened.evaluate(split, Scoring(predictions=evaluator.scores_examples, limit=limit, samples=0))
        rows = json.loads(json.dumps(evaluation.predictions))
        scored = Scored(evaluation.scores, evaluation.signatures, rows, None, "")
    if scored is None:
        return
    if metric not in scored.scores:
        raise ConfigError(f"--metric: {contestant.run} has no score {metric!r}", f"scores: {', '.join(scored.scores)}")
    if by:
        scores_of_groups(evaluator, metric, [scored.rows[:1]], by, speaker)


def _check_signatures(contestants: Sequence[_Contestant], metric: str) -> None:
    """Check that the same version of a scorer computed the scores of all runs.

    Raises:
        RunError: if the versions differ.
    """
    signatures = [each.scored.signatures.get(metric, "") if each.scored else "" for each in contestants]
    for each, signature in zip(contestants, signatures, strict=True):
        if signature != signatures[0]:
            runs = f"{each.run} and {contestants[0].run}"
            cause = f"{runs} are scored with different settings: {signature}, and {signatures[0]}"
            raise RunError(cause, "set the same scoring settings for all runs")


def _entry(contestant: _Contestant, scored: Scored, metric: str, resampled: Resampled | None) -> Entry:
    speed = len(scored.rows) / scored.seconds if scored.seconds and scored.rows else None
    return Entry(
        str(contestant.run), contestant.checkpoint, contestant.sha256, scored.scores[metric], resampled,
        contestant.parameters, contestant.minutes, speed, scored.machine,
    )  # fmt: skip


def _minutes(opened: Opened) -> float | None:
    """Return the minutes of training up to a checkpoint; for an average of checkpoints, those of the whole run."""
    state = read_state(opened.checkpoint)
    try:
        if "averaged" in state:
            return float(json.loads((opened.run / RESULT).read_bytes())["minutes"])
        return float(state["seconds"]) / 60
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _notes(scored: Sequence[Scored]) -> list[str]:
    """Return notes about evaluations that are not saved, and speeds of different machines."""
    notes = list(dict.fromkeys(result.note for result in scored if result.note))
    machines = list(dict.fromkeys(result.machine for result in scored if result.machine))
    if len(machines) > 1:
        notes.append(f"note: the speeds are of different machines: {'; '.join(machines)}")
    return notes
