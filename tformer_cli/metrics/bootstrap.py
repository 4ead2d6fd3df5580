"""Paired bootstrap resampling: confidence intervals of scores, and the significance of their differences.

Examples are resampled with replacement `num_samples` times, and each time every system is scored on the same examples
(Koehn 2004, sections 3 and 4). Number and seed of the resamples are sacreBLEU's defaults. The p-value is that of the
difference, shifted to a mean of 0 (Riezler and Maxwell 2005, section 5). sacreBLEU's differs: it subtracts the mean of
the absolute differences from each absolute difference, and calls equal systems different about twice as often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

NUM_SAMPLES, SEED = 1000, 12345
"""Defaults of sacreBLEU."""

Statistic = Callable[[np.ndarray], float]
"""A score as a function of examples, (N,) int64; an example may occur several times."""


@dataclass(frozen=True)
class Resampled:
    """A score with its distribution over resampled examples.

    Attributes:
        score: score of all examples.
        mean: mean over the resamples.
        low: lower end of the 95 % confidence interval, the 2.5 % quantile of the resamples.
        high: its upper end, the 97.5 % quantile.
        p_value: probability of a difference from the baseline at least as large as the actual one, if both were equally
            good; None: this is the baseline.
    """

    score: float
    mean: float
    low: float
    high: float
    p_value: float | None = None


def paired_bootstrap(
    systems: Sequence[Statistic | None], num_examples: int, *, num_samples: int = NUM_SAMPLES, seed: int = SEED
) -> list[Resampled] | None:
    """Resample the scores of several systems on the same examples, and compare each with the first system.

    Args:
        systems: score of each system as a function of examples; None: there is no such function.
        num_examples: number of examples.
        num_samples: number of resamples.
        seed: seed of the resamples.

    Returns:
        The results in the order of the systems; None if any score is None.
    """
    known = [score for score in systems if score is not None]
    if len(known) < len(systems):
        return None
    random = np.random.default_rng(seed)
    samples = np.empty((len(systems), num_samples))
    for number in range(num_samples):
        rows = random.integers(num_examples, size=num_examples)
        samples[:, number] = [score(rows) for score in known]
    scores = [score(np.arange(num_examples)) for score in known]
    results = []
    for number, (score, resampled) in enumerate(zip(scores, samples, strict=True)):
        p_value = difference_p_value(resampled - samples[0], score - scores[0]) if number else None
        # Among the 2^n ways to exchange the outputs of n examples, two have a difference at least as large.
        p_value = None if p_value is None else max(p_value, 2.0 ** (1 - num_examples))
        results.append(Resampled(score, float(resampled.mean()), *interval(resampled), p_value))
    return results


def interval(resampled: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of resampled scores, (S,)."""
    ordered, outside = np.sort(resampled), len(resampled) // 40
    return float(ordered[outside]), float(ordered[len(ordered) - outside - 1])


def difference_p_value(differences: np.ndarray, actual: float) -> float:
    """Return the p-value of a difference between two systems.

    With differences d_s of S resamples, their mean m and the actual difference d:

        p = (1 + number of s with |d_s - m| >= |d|) / (1 + S)

    If two systems have the same outputs, the difference is 0 on each resample, and p is 1.

    Args:
        differences: differences on the resamples, (S,).
        actual: the difference on all examples.
    """
    shifted = np.abs(differences - differences.mean())
    return (1 + int((shifted >= abs(actual)).sum())) / (1 + len(differences))


def mean_of(values: np.ndarray, scale: float = 100.0) -> Statistic:
    """Return a function from examples to the mean of their values, (N,), times `scale`."""
    return lambda rows: scale * float(values[rows].mean())


def ratio_of(errors: np.ndarray, sizes: np.ndarray) -> Statistic:
    """Return a function from examples to the sum of their errors, (N,), in percent of the sum of their sizes, (N,)."""
    return lambda rows: 100 * float(errors[rows].sum()) / max(1.0, float(sizes[rows].sum()))
