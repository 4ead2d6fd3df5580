"""Calibration beside scikit-learn, plain loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from tformer_cli.analysis.calibration import brier_score, confident_mistakes, reliability

RANDOM = np.random.default_rng(0)
CONFIDENCES = np.concatenate([RANDOM.random(500), np.linspace(0, 1, 11)])  # edges of ten bins among them
CORRECT = np.concatenate([RANDOM.random(500), np.linspace(0, 1, 11)]) < CONFIDENCES**2
PROBABILITIES = RANDOM.dirichlet(np.ones(4), 200)
TARGETS = RANDOM.integers(4, size=200)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_bins_equal_those_of_scikit_learn(bins):
    result = reliability(CONFIDENCES, CORRECT, bins)
    accuracy, confidence = calibration_curve(CORRECT, CONFIDENCES, n_bins=bins)
    filled = result.counts > 0
    np.testing.assert_allclose(result.accuracy[filled], accuracy, atol=1e-12)
    np.testing.assert_allclose(result.confidence[filled], confidence, atol=1e-12)
    assert result.counts.sum() == len(CONFIDENCES) and len(result.edges) == bins + 1


def test_errors_equal_a_plain_loop():
    bins, expected, largest = 10, 0.0, 0.0
    result = reliability(CONFIDENCES, CORRECT, bins)
    for low, high in zip(result.edges, result.edges[1:], strict=False):
        inside = [i for i, value in enumerate(CONFIDENCES) if low < value <= high or low == value == 0]
        gap = abs(sum(CORRECT[i] for i in inside) - sum(CONFIDENCES[i] for i in inside)) / len(inside)
        expected += gap * len(inside) / len(CONFIDENCES)
        largest = max(largest, gap)
    assert result.expected_error == pytest.approx(expected, abs=1e-12)
    assert result.maximum_error == pytest.approx(largest, abs=1e-12)


def test_errors_in_closed_form():
    perfect = reliability(np.full(4, 0.75), np.array([1, 1, 1, 0]))
    assert perfect.expected_error == perfect.maximum_error == 0
    assert np.isnan(perfect.accuracy[0]) and perfect.gaps[0] == 0
    half = reliability(np.array([1.0, 1.0, 0.5]), np.array([1, 0, 0]), 2)
    assert half.expected_error == pytest.approx(0.5) and half.counts.tolist() == [1, 2]


def test_reliability_of_labels():
    result = reliability(np.array([0.9, 0.8, 0.6]), np.array([True, False, True]), 10)
    assert result.counts.tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 1, 0]
    assert result.accuracy[[5, 7, 8]].tolist() == [1, 0, 1]


def test_brier_score_equals_that_of_scikit_learn():
    expected = sum(brier_score_loss(label == TARGETS, PROBABILITIES[:, label]) for label in range(4))
    assert brier_score(PROBABILITIES, TARGETS) == pytest.approx(expected, abs=1e-12)
    two = np.array([[0.7, 0.3], [0.4, 0.6]])
    assert brier_score(two, np.array([0, 0])) == pytest.approx(2 * (0.3**2 + 0.6**2) / 2)
    assert two[0, 0] == 0.7  # the input is unchanged


def test_most_confident_mistakes():
    confidences, correct = PROBABILITIES.max(1), PROBABILITIES.argmax(1) == TARGETS
    mistakes = confident_mistakes(confidences, correct, 5)
    wrong = [i for i in range(200) if PROBABILITIES[i].argmax() != TARGETS[i]]
    assert mistakes.tolist() == sorted(wrong, key=lambda i: -max(PROBABILITIES[i]))[:5]
    assert len(confident_mistakes(confidences, correct, 1000)) == len(wrong)
    assert confident_mistakes(np.ones(4), np.ones(4, bool), 3).tolist() == []
