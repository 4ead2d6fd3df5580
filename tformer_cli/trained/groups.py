"""Groups of examples by length, label or speaker, and the scores of runs on each of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tformer_cli.errors import ConfigError
from tformer_cli.evaluators.base import Evaluator, Row
from tformer_cli.languages import segments
from tformer_cli.metrics.bands import length_bands
from tformer_cli.metrics.bootstrap import Statistic, paired_bootstrap

BY_LABEL = "accuracy"
"""The score of groups by label: a mean over examples, while F1 and correlations need examples of several labels."""
SPEAKER = r"([^-_]+)[-_]"
"""Regular expression for the speaker in the name of a recording, its first group: the text before `-` or `_`."""


@dataclass
class Group:
    """Examples of a length, label or speaker, with the score of each run.

    Attributes:
        name: name of the group.
        examples: number of its examples.
        scores: score of each run on them.
        intervals: lower and upper end of the 95 % confidence interval of each score.
    """

    name: str
    examples: int
    scores: list[float]
    intervals: list[tuple[float, float]]


def check_groups(evaluator: Evaluator[Any, Any], task: str, metric: str, by: str, speaker: str) -> None:
    """Check that the examples of a task can be grouped by a property, and that the score is defined within a group.

    Raises:
        ConfigError: if one of these is not true, or the pattern of speakers is not a regular expression with a group.
    """
    if by and by not in evaluator.groups:
        valid = ", ".join(evaluator.groups)
        cause = f"--by {by}: the examples of {task} have no {by}"
        raise ConfigError(cause, f"they have: {valid}" if valid else "leave it out")
    if by == "label" and metric != BY_LABEL:
        raise ConfigError(f"--by label: {metric} is undefined for examples of a single label", f"--metric {BY_LABEL}")
    if by == "speaker":
        _check_pattern(speaker)


def scores_of_groups(
    evaluator: Evaluator[Any, Any], metric: str, tables: Sequence[Sequence[Row]], by: str, speaker: str
) -> list[Group]:
    """Return the scores of groups of examples.

    Raises:
        ConfigError: if the score cannot be computed for a part of the examples, or no name contains a speaker.
    """
    statistics = [evaluator.statistic(metric, rows) for rows in tables]
    known = [statistic for statistic in statistics if statistic is not None]
    if len(known) < len(tables):
        raise ConfigError(f"--by {by}: {metric} cannot be computed for groups of examples", "choose another --metric")
    values = [[row[name] for name in evaluator.groups[by]] for row in tables[0]]
    if by == "length":
        members = length_bands([sum(len(segments(text)) for text in texts) for texts in values])
    else:
        names = [str(value) for (value,) in values]
        members = named_groups(_speakers(names, speaker) if by == "speaker" else names)
    return [_group(name, np.array(rows), known) for name, rows in members.items()]


def _group(name: str, rows: np.ndarray, statistics: Sequence[Statistic]) -> Group:
    """Return the scores of a group of examples; the intervals resample the rows of the group."""

    def within(statistic: Statistic) -> Statistic:
        return lambda chosen: statistic(rows[chosen])

    resampled = paired_bootstrap([within(statistic) for statistic in statistics], len(rows)) or []
    return Group(name, len(rows), [each.score for each in resampled], [(each.low, each.high) for each in resampled])


def named_groups(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each name, sorted by name."""
    return {name: [row for row, other in enumerate(names) if other == name] for name in sorted(Counter(names))}


def _speakers(recordings: Sequence[str], pattern: str) -> list[str]:
    """Return the speaker of each recording.

    Raises:
        ConfigError: if the pattern does not match a name.
    """
    matches = [(name, re.search(pattern, name)) for name in recordings]
    missing = next((name for name, match in matches if match is None), None)
    if missing is None:
        return [match[1] for _, match in matches if match is not None]
    remedy = "--speaker '_(.+)_' names the part in parentheses"
    raise ConfigError(f"--by speaker: the name {missing!r} does not match {pattern!r}", remedy)


def _check_pattern(pattern: str) -> None:
    """Check that a pattern is a regular expression with a group.

    Raises:
        ConfigError: if it is no regular expression, or has no group.
    """
    try:
        fault = "" if re.compile(pattern).groups else "no such group"
    except re.error as error:
        fault = str(error)
    if fault:
        cause = f"--speaker: {pattern!r} is not a regular expression with a group: {fault}"
        raise ConfigError(cause, "such as '_(.+)_'")
