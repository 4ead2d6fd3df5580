"""Scores of labels, numbers or several labels of texts: accuracy and F1, correlations, by scikit-learn and SciPy.

Shapes: B batch, C outputs, N rows of a split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tformer_cli.config.schema import Target
from tformer_cli.data.core.cells import shortest
from tformer_cli.data.core.view import View
from tformer_cli.data.text.classified_texts import ClassifiedTexts, TextBatch
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.errors import Library
from tformer_cli.evaluators.base import Evaluation, Evaluator, Row, Sample, Scoring, batch_on_device, spread
from tformer_cli.metrics.bootstrap import Statistic
from tformer_cli.metrics.labels import (
    described_labels,
    labels_scores,
    labels_statistic,
    number_scores,
    scores_library,
    several_labels_scores,
)
from tformer_cli.objectives.base import Objective
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.text_classification import TextClassifier

METRICS = {Target.label: "accuracy", Target.number: "spearman", Target.labels: "f1_micro"}


class TextClassificationEvaluator(Evaluator[Any, TextBatch]):
    """The loss, and the scores for the kind of target.

    Args:
        objective: classification of texts.
        predictor: predictor that converts the model's outputs to predictions.
    """

    lower_is_better = frozenset({"loss", "mean_squared_error"})
    data: ClassifiedTexts

    def __init__(self, objective: Objective[Any, TextBatch], predictor: TextClassifier) -> None:
        super().__init__(objective)
        self.predictor = predictor
        self.metric, columns = METRICS[self.data.config.data.target], predictor.input_columns
        self.groups = {"length": columns}
        if self.data.config.data.target is Target.label:
            self.groups |= {"label": ("reference",)}

    def libraries(self) -> list[Library]:
        """Return the library of the scores: scikit-learn, or SciPy for numbers."""
        return [scores_library(self.data.config.data.target is Target.number)]

    def evaluate(self, model: Any, view: View[TextBatch], scoring: Scoring, share: Share = unshared) -> Evaluation:
        """Return the loss and the target's scores."""

        def outputs_of(index: int) -> tuple[np.ndarray, np.ndarray, float]:
            batch = batch_on_device(view, model, index)
            outputs = self.objective.outputs(model, batch)
            loss = self.objective.loss(model, outputs, batch)
            return batch.sample_ids.cpu().numpy(), outputs.cpu().numpy(), float(loss.total)

        split, labels = self.data.split(view.split), self.data.labels
        outputs, total = np.zeros((len(split), labels.outputs), np.float32), 0.0
        for rows, values, loss in share(lambda indices: map(outputs_of, indices), range(view.num_batches)):
            outputs[rows] = values
            total += loss
        evaluation = Evaluation({"loss": total / len(split)}, data_sha256=split.hash, notes=list(split.notes))
        targets = self.data.targets(view.split)
        if labels.target is Target.label:
            names = list(labels.names)
            scores, evaluation.tables = labels_scores(targets, outputs.argmax(1), names, thorough=scoring.thorough)
        elif labels.target is Target.number:
            scores = number_scores(targets, outputs[:, 0])
        else:
            scores = several_labels_scores(targets, outputs > 0)
        evaluation.scores |= scores
        predictions = self.predictor.predictions(torch.from_numpy(outputs))
        for row in spread(len(split), scoring.samples):
            text = split.texts[row] if split.seconds is None else f"{split.texts[row]}\t{split.seconds[row]}"
            evaluation.samples.append(Sample(text[:300], split.labels[row], predictions[row].text))
        if scoring.predictions:
            evaluation.predictions = [
                self._row(view.split, row, target, prediction)
                for row, (target, prediction) in enumerate(zip(targets, predictions, strict=True))
            ]
        return evaluation

    def scorer(self, split: str) -> str:
        """Return the labels."""
        return described_labels(self.data.labels.names)

    def statistic(self, metric: str, rows: Sequence[Row]) -> Statistic | None:
        """Return a score of the target as a function of rows."""
        labels, names = self.data.labels, list(self.data.labels.names)
        references, predictions = ([row[name] for row in rows] for name in ("reference", "prediction"))
        if labels.target is Target.label:
            return labels_statistic(metric, references, predictions, names)
        if labels.target is Target.number:
            values = np.array([references, predictions], np.float64)
            score = number_scores
        else:
            values = np.array([[[name in row for name in names] for row in side] for side in (references, predictions)])
            score = several_labels_scores
        if metric not in score(values[0], values[1]):
            return None
        return lambda rows: score(values[0, rows], values[1, rows])[metric]

    def _row(self, name: str, row: int, target: np.ndarray, prediction: Prediction) -> dict[str, Any]:
        """Return a row of the table of predictions."""
        split, labels = self.data.split(name), self.data.labels
        texts = (split.texts[row],) if split.seconds is None else (split.texts[row], split.seconds[row])
        inputs = dict(zip(self.predictor.input_columns, texts, strict=True))
        if labels.target is Target.number:
            return {**inputs, "reference": shortest(float(target)), "prediction": prediction.details["number"]}
        probabilities = prediction.details["probabilities"]
        if labels.target is Target.labels:
            references = [name for name, present in zip(labels.names, target.tolist(), strict=True) if present]
            chosen = [name for name, probability in probabilities.items() if probability > 0.5]
            return {**inputs, "reference": references, "prediction": chosen, "probabilities": probabilities}
        label, reference = prediction.details["label"], labels.names[int(target)]
        return {**inputs, "reference": reference, "prediction": label, "probability": probabilities[label],
                "probabilities": probabilities}  # fmt: skip
