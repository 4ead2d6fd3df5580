"""The oracle's scripts are shortest, and lead to the target."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest

from tformer_cli.objectives.edit_script import edit_script


def shortest(tokens: tuple[int, ...], target: tuple[int, ...]) -> int:
    """The fewest deletions and insertions, by trying all."""

    @cache
    def cost(i: int, j: int) -> int:
        if i == len(tokens) or j == len(target):
            return len(tokens) - i + len(target) - j
        matched = [cost(i + 1, j + 1)] if tokens[i] == target[j] else []
        return min([*matched, 1 + cost(i + 1, j), 1 + cost(i, j + 1)])

    return cost(0, 0)


def longest_common(tokens: tuple[int, ...], target: tuple[int, ...]) -> int:
    """The length of a longest common subsequence, by its recurrence."""
    lengths = np.zeros((len(tokens) + 1, len(target) + 1), dtype=int)
    for i, token in enumerate(tokens, 1):
        for j, other in enumerate(target, 1):
            best = max(lengths[i - 1, j], lengths[i, j - 1])
            lengths[i, j] = lengths[i - 1, j - 1] + 1 if token == other else best
    return int(lengths[-1, -1])


def pairs(number: int):
    """Random pairs over few symbols, so that most have several shortest scripts; empty sequences are among them."""
    draw = random.Random(3)
    for _ in range(number):
        yield tuple(tuple(draw.choices(range(draw.randint(1, 5)), k=draw.randint(0, 9))) for _ in range(2))


def test_the_cost_is_that_of_the_shortest_script():
    for tokens, target in pairs(1000):
        cost = edit_script(tokens, target).cost
        assert cost == shortest(tokens, target) == len(tokens) + len(target) - 2 * longest_common(tokens, target)


def test_the_script_leads_to_the_target():
    """The remaining tokens stand in the target behind as many others as the counts say."""
    for tokens, target in pairs(1000):
        script = edit_script(tokens, target)
        remaining = [token for token, deleted in zip(tokens, script.deleted, strict=True) if not deleted]
        assert len(script.counts) == len(remaining) + 1 and (script.counts >= 0).all()
        assert len(remaining) + script.counts.sum() == len(target)
        places = np.cumsum(script.counts[:-1]) + np.arange(len(remaining))
        assert [target[place] for place in places] == remaining


@pytest.mark.parametrize(
    ("tokens", "target", "deleted", "counts"),
    [
        ([], [], [], [0]),
        ([], [7, 8], [], [2]),
        ([7, 8], [], [True, True], [0]),
        ([7, 8], [7, 8], [False, False], [0, 0, 0]),
        ([7, 9], [7, 8], [False, True], [0, 1]),  # a substitution is two edits
    ],
)
def test_scripts_of_small_sequences(tokens, target, deleted, counts):
    script = edit_script(tokens, target)
    assert script.deleted.tolist() == deleted and script.counts.tolist() == counts
    assert script.deleted.dtype == bool and script.counts.dtype == np.int64
