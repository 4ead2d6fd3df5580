"""N-gram models are distributions, and have the probabilities of Kneser and Ney's equation."""

from __future__ import annotations

import math

import pytest

from laboratory.kneser_ney import kneser_ney

TEXT = [0, 1, 0, 2, 0, 1, 1, 0, 3, 0, 1, 2]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("context", [(), (0,), (1, 0), (3, 3), (2, 0, 1), (4, 4, 4)])
def test_probabilities_sum_to_one_in_every_context(order, context):
    model = kneser_ney(TEXT, order, 6)
    kept = context[len(context) - min(len(context), order - 1) :]
    total = sum(math.exp(model.score(kept, str(word))[0]) for word in range(6))
    assert total == pytest.approx(1)


def test_a_bigram_has_the_probability_of_the_equation():
    """The probability of a bigram that was seen and of one that was not, from counts by hand."""
    pairs = list(zip(TEXT, [*TEXT[1:], TEXT[0]], strict=True))
    kinds = sorted(set(pairs))
    assert [pairs.count(kind) for kind in kinds] == [3, 1, 1, 2, 1, 1, 2, 1]
    assert kinds == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 0), (3, 0)]
    discount = 5 / (5 + 2 * 2)  # five bigrams once, two twice
    left = [3, 2, 2, 1]  # different tokens before 0, 1, 2, 3: one of them has one, two have two
    lower = 1 / (1 + 2 * 2)
    unigram = (left[1] - lower) / 8 + lower * 4 / 8 / 6
    expected = (3 - discount) / 5 + discount * 3 / 5 * unigram
    model = kneser_ney(TEXT, 2, 6)
    assert math.exp(model.score((0,), "1")[0]) == pytest.approx(expected)
    assert math.exp(model.score((0,), "5")[0]) == pytest.approx(discount * 3 / 5 * lower * 4 / 8 / 6)
