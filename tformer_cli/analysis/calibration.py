"""Calibration of classifiers: whether predictions of 80 % confidence are right in 80 % of cases.

Shapes: N examples, K labels, M bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Reliability(NamedTuple):
    """Examples by confidence, in bins of equal width.

    Attributes:
        edges: edges of the bins, (M + 1,), 0 to 1. A bin contains its upper edge; the first bin also contains 0.
        counts: number of examples of each bin, (M,).
        confidence: mean confidence of each bin, (M,); nan without examples.
        accuracy: share of correct predictions of each bin, (M,); nan without examples.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """Absolute difference between accuracy and confidence of each bin, (M,); 0 without examples."""
        return np.nan_to_num(np.abs(self.accuracy - self.confidence))

    @property
    def expected_error(self) -> float:
        """Expected calibration error, sum_m n_m / N |acc_m - conf_m|, 0 to 1 (Guo et al. 2017, equation 3)."""
        return float((self.counts * self.gaps).sum() / max(1, self.counts.sum()))

    @property
    def maximum_error(self) -> float:
        """Maximum calibration error, max_m |acc_m - conf_m|, 0 to 1 (Guo et al. 2017, equation 5)."""
        return float(self.gaps.max())


def reliability(confidences: np.ndarray, correct: np.ndarray, bins: int = 15) -> Reliability:
    """Return accuracy and confidence in bins ((m - 1) / M, m / M] of the confidence (Guo et al. 2017, section 2).

    The errors depend on the number of bins, and are large by chance with few examples: report both numbers.

    Args:
        confidences: probability of each prediction, (N,), 0 to 1.
        correct: whether each prediction is correct, (N,).
        bins: number of bins M; 15 in the paper.
    """
    confidences, correct = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges[1:-1], confidences)  # equal to an edge: the bin below
    counts = np.bincount(index, minlength=bins)

    def means(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(index, values, minlength=bins)
        return np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)

    return Reliability(edges, counts, means(confidences), means(correct))


def brier_score(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean of sum_k (p_k - y_k)^2 over examples, 0 to 2, with y the one-hot target (Brier 1950, equation 2).

    For two labels it is twice the usual binary score, mean (p_1 - y_1)^2.

    Args:
        probabilities: probabilities of the labels, (N, K).
        targets: correct labels, (N,), int.
    """
    errors = np.array(probabilities, np.float64)
    errors[np.arange(len(errors)), targets] -= 1
    return float(np.square(errors).sum(-1).mean())


def confident_mistakes(confidences: np.ndarray, correct: np.ndarray, count: int) -> np.ndarray:
    """Return the wrong predictions with the highest probability: indices of examples, (n,), most confident first.

    Args:
        confidences: probability of each prediction, (N,).
        correct: whether each prediction is correct, (N,), bool.
        count: maximum number of mistakes n.
    """
    wrong = np.flatnonzero(~correct)
    return wrong[np.argsort(-confidences[wrong], kind="stable")][:count]
