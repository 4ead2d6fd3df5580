"""Scores of labels and numbers, from scikit-learn and SciPy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tformer_cli import errors

if TYPE_CHECKING:
    import numpy as np

    from tformer_cli.metrics.bootstrap import Statistic


def library(module: str, package: str) -> Any:
    """Import and return a module of the extra `text`.

    Raises:
        ConfigError: if it is not installed.
    """
    return errors.library(module, package, "text")


def scores_library(numbers: bool) -> errors.Library:
    """Return the library that computes the scores of labels, or of numbers."""
    module, package = ("scipy.stats", "scipy") if numbers else ("sklearn.metrics", "scikit-learn")
    return errors.Library(module, package, "text")


def labels_scores(
    targets: np.ndarray, predictions: np.ndarray, names: Sequence[str], *, thorough: bool = True
) -> tuple[dict[str, float], list[tuple[str, list[str], list[list[str]]]]]:
    """Compute accuracy, F1 and Matthews correlation of one label per example, by scikit-learn.

    Args:
        targets: (N,) int64.
        predictions: (N,) int64.
        names: names of the labels.
        thorough: whether to add a table with a row for each label.

    Returns:
        Scores and tables. Accuracy and F1 are from 0 to 100, Matthews' coefficient from -1 to 1. With two labels, F1 is
        the second label's; with more, it is the mean over labels.
    """
    metrics = library("sklearn.metrics", "scikit-learn")

    two = len(names) == 2
    with without_warnings():
        f1 = metrics.f1_score(targets, predictions, average="binary" if two else "macro", zero_division=0)
        scores = {
            "accuracy": 100 * float(metrics.accuracy_score(targets, predictions)),
            "f1" if two else "f1_macro": 100 * float(f1),
            "matthews": float(metrics.matthews_corrcoef(targets, predictions)),
        }
        if not thorough:
            return scores, []
        numbers = list(range(len(names)))
        parts = metrics.precision_recall_fscore_support(targets, predictions, labels=numbers, zero_division=0)
    rows = [
        [name, *(f"{100 * part[number]:.1f}" for part in parts[:3]), str(int(parts[3][number]))]
        for number, name in enumerate(names)
    ]
    return scores, [("by label", ["label", "precision", "recall", "F1", "examples"], rows)]


def described_labels(names: Sequence[str]) -> str:
    """Return a line that lists the labels, such as `2 labels: negative, positive`."""
    return f"{len(names)} labels: {', '.join(names)}"


def labels_statistic(
    metric: str, targets: Sequence[str], predictions: Sequence[str], names: Sequence[str]
) -> Statistic | None:
    """Return a score of `labels_scores` as a function of examples, see `metrics.bootstrap`; None for another metric.

    Args:
        metric: name of the score.
        targets: right label of each example.
        predictions: predicted label of each example.
        names: names of the labels.
    """
    import numpy as np

    from tformer_cli.metrics.bootstrap import mean_of

    number = {name: index for index, name in enumerate(names)}
    right, predicted = (np.array([number[name] for name in side]) for side in (targets, predictions))
    if metric == "accuracy":
        return mean_of((right == predicted).astype(float))
    if metric not in labels_scores(right, predicted, names, thorough=False)[0]:
        return None
    return lambda rows: labels_scores(right[rows], predicted[rows], names, thorough=False)[0][metric]


def confusion(targets: np.ndarray, predictions: np.ndarray, labels: int, max_rows: int) -> tuple[np.ndarray, list[int]]:
    """Compute the confusion matrix of labels, by scikit-learn.

    Args:
        targets: (N,) int64.
        predictions: (N,) int64.
        labels: number of labels.
        max_rows: maximum number of rows; if there are more labels, those with the lowest recall are kept. Labels
            without examples have no recall, and are left out.

    Returns:
        Matrix of shares of the examples of each correct label (row) by predicted label (column), (K, K) float; and the
        labels' indices.
    """
    import numpy as np

    metrics = library("sklearn.metrics", "scikit-learn")
    with without_warnings():
        counts = metrics.confusion_matrix(targets, predictions, labels=list(range(labels)))
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    present = np.flatnonzero(counts.sum(1))
    rows = np.sort(present[np.argsort(shares.diagonal()[present], kind="stable")[:max_rows]])
    return shares[np.ix_(rows, rows)], rows.tolist()


def several_labels_scores(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Compute F1 over all labels and texts, its mean over labels, and the share of texts with all labels correct.

    The mean leaves out labels that neither the targets nor the predictions contain, as that of `labels_scores`.

    Args:
        targets: (N, labels), 0 or 1.
        predictions: (N, labels), 0 or 1.
    """
    import numpy as np

    metrics = library("sklearn.metrics", "scikit-learn")

    targets, predictions = targets.astype(int), predictions.astype(int)
    with without_warnings():
        macro = float(metrics.f1_score(targets, predictions, average="macro", zero_division=np.nan))
        return {
            "f1_micro": 100 * float(metrics.f1_score(targets, predictions, average="micro", zero_division=0)),
            "f1_macro": 100 * macro if macro == macro else 0.0,
            "exact_match": 100 * float(metrics.accuracy_score(targets, predictions)),
        }


def number_scores(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Compute Pearson and Spearman correlation (0 if one side is constant) and mean squared error, by SciPy.

    Args:
        targets: (N,).
        predictions: (N,).
    """
    import numpy as np

    stats = library("scipy.stats", "scipy")

    varied = len(targets) > 1 and np.ptp(targets) > 0 and np.ptp(predictions) > 0
    return {
        "pearson": float(stats.pearsonr(targets, predictions).statistic) if varied else 0.0,
        "spearman": float(stats.spearmanr(targets, predictions).statistic) if varied else 0.0,
        "mean_squared_error": float(np.mean((targets - predictions) ** 2)),
    }


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress scikit-learn's warnings about undefined scores, which are 0 here.

    It warns about labels without predictions, about a single label, and about unusually many labels.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        yield
