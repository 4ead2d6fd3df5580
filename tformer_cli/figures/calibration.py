"""How far the probabilities of a classifier can be trusted, and its mistakes on the split.

Shapes: N rows of the split, K labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tformer_cli.analysis.calibration import brier_score, confident_mistakes, reliability
from tformer_cli.draw import Bars, Curve, Curves, Gallery, HeatMap
from tformer_cli.errors import TformerError
from tformer_cli.figures.base import Figure, Kind, Subject
from tformer_cli.metrics.labels import confusion

MOST_IMAGES, MOST_TEXTS, MOST_LABELS = 24, 20, 40
"""Greatest numbers of drawn mistakes, and of labels of the confusion matrix."""
NOT_INPUTS = {"reference", "prediction", "probability", "probabilities"}
"""Columns of the table of predictions that are not inputs."""

Rows = Sequence[Mapping[str, Any]]


class Predictions(NamedTuple):
    """The predictions of all rows.

    Attributes:
        probabilities: of all labels, (N, K). They are rounded, so that the most probable label may not be alone.
        labels: numbers of the predicted labels, (N,).
        targets: numbers of the correct labels, (N,).
    """

    probabilities: np.ndarray
    labels: np.ndarray
    targets: np.ndarray

    @property
    def confidences(self) -> np.ndarray:
        """Return the probability of each prediction, (N,)."""
        return np.take_along_axis(self.probabilities, self.labels[:, None], 1)[:, 0]

    @property
    def correct(self) -> np.ndarray:
        """Return whether each prediction is correct, (N,)."""
        return self.labels == self.targets


def arrays(rows: Rows, labels: Sequence[str]) -> Predictions:
    """Return the table of predictions as arrays."""
    numbers = {label: number for number, label in enumerate(labels)}
    probabilities = np.array([[row["probabilities"][label] for label in labels] for row in rows])
    predicted, targets = (np.array([numbers[row[name]] for row in rows]) for name in ("prediction", "reference"))
    return Predictions(probabilities, predicted, targets)


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield the reliability curve, the confusion matrix and the most confident mistakes."""
    rows, labels = subject.rows(), list(subject.inspector.labels)
    predictions = arrays(rows, labels)
    yield reliability_figure(subject.split, predictions)
    yield confusion_figure(subject.split, predictions.labels, predictions.targets, labels)
    mistakes = confident_mistakes(predictions.confidences, predictions.correct, MOST_IMAGES)
    if len(mistakes):
        yield mistakes_figure(subject, rows, mistakes.tolist())


def reliability_figure(split: str, predictions: Predictions) -> Figure:
    """Return the accuracy against the confidence."""
    bins = reliability(predictions.confidences, predictions.correct)
    title = f"{split}, reliability"
    picture = Curves(
        [Curve("", bins.confidence, bins.accuracy)], title, "confidence", "accuracy", identity=True,
        x_limits=(0.0, 1.0), y_limits=(0.0, 1.0),
    )  # fmt: skip
    error, brier = bins.expected_error, brier_score(predictions.probabilities, predictions.targets)
    numbers = {
        "edges": bins.edges, "counts": bins.counts, "confidence": bins.confidence, "accuracy": bins.accuracy,
        "expected_calibration_error": error, "maximum_calibration_error": bins.maximum_error, "brier_score": brier,
    }  # fmt: skip
    caption = (
        f"Expected calibration error {100 * error:.1f} %, Brier score {brier:.3f}, over"
        f" {len(predictions.targets):,} examples in {len(bins.counts)} bins."
        " Points below the dashed line: the model is too confident."
    )
    return Figure("calibration-reliability", title, picture, numbers, caption)


def confusion_figure(split: str, predictions: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Figure:
    """Return the confusion matrix of the labels that have examples, or of many labels, of those with lowest recall."""
    matrix, chosen = confusion(targets, predictions, len(labels), MOST_LABELS)
    names, present = [labels[number] for number in chosen], np.unique(targets)
    title = f"{split}, confusion"
    picture = HeatMap(matrix, names, names, title, "label", "predicted as", percent=True)
    numbers = {"labels": names, "shares": matrix}
    caption = "Percent of each label, in rows, that are predicted as each label; correct ones are on the diagonal."
    if len(chosen) < len(present):
        caption += f" Of {len(present):,} labels, the {len(chosen)} with the lowest recall are drawn."
    if absent := len(labels) - len(present):
        caption += f" {absent:,} label{'s' * (absent > 1)} without examples are left out."
    return Figure("calibration-confusion", title, picture, numbers, caption)


def mistakes_figure(subject: Subject, rows: Rows, mistakes: Sequence[int]) -> Figure:
    """Return the mistakes as images with captions, or as the texts with their probabilities."""
    chosen = [rows[row] for row in mistakes]
    images = subject.inspector.images(subject.split, mistakes)
    title = f"{subject.split}, most confident mistakes"
    if images:
        captions = [
            f"{row['prediction']} {100 * row['probability']:.0f} %\nlabel: {row['reference']}" for row in chosen
        ]
        picture = Gallery(images, captions, [False] * len(images), title=title)
    else:
        chosen = chosen[:MOST_TEXTS]
        names = [f"{row['prediction']} for {row['reference']}: {input_of(row)}" for row in chosen]
        picture = Bars(
            names, [row["probability"] for row in chosen], title, "probability of the wrong label", percent=True,
            name_pixels=560,
        )  # fmt: skip
    numbers = {
        "rows": [row + 1 for row in mistakes[: len(chosen)]],
        "inputs": [input_of(row) for row in chosen],
        **{name: [row[name] for row in chosen] for name in ("reference", "prediction", "probability")},
    }
    caption = "Wrong predictions of the highest probability; the label in the data may be wrong, too."
    return Figure("calibration-mistakes", title, picture, numbers, caption)


def input_of(row: Mapping[str, Any]) -> str:
    """Return the input of a row of the table of predictions: a text, a pair of texts or a name."""
    return " | ".join(str(value) for name, value in row.items() if name not in NOT_INPUTS)


def missing(subject: Subject) -> str:
    """Return the reason why a subject has no such figure; empty: it has some."""
    if not subject.inspector.labels:
        return "the model does not choose one of several labels for each input"
    try:
        return "" if subject.rows() else f"there are no predictions of the {subject.split} split"
    except TformerError as error:  # its data is gone, or a library is missing
        return f"the {subject.split} split cannot be predicted: {error}"


KIND = Kind(
    "calibration",
    "Calibration and mistakes",
    "Predictions of all examples of a split. A calibrated model is right in 80 % of the cases of which it is 80 % sure:"
    " the points of the reliability curve then lie on the dashed line.",
    draw,
    missing,
    "ECE = Σₘ nₘ/N |accₘ − confₘ|",
    "Guo et al. 2017, equations 2 and 3",
    of_split=True,
)
