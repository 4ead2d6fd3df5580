"""Classification and regression: cross-entropy, squared error, binary cross-entropy.

    one label:       L = - sum_i w(y_i) log p(y_i | x_i)
    a number:        L = sum_i (f(x_i) - y_i)^2
    several labels:  L = - sum_i sum_c [y_ic log s(f_c(x_i)) + (1 - y_ic) log(1 - s(f_c(x_i)))]

with the weight w of a label, 1 if there are no weights, and the logistic function s. Label smoothing (Szegedy et al.
2016, section 7) mixes the target distribution of one label with the uniform one in training.

Shapes: B batch, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import Target
from tformer_cli.objectives.base import Loss, Objective


def label_cross_entropy(
    scores: Tensor,
    targets: Tensor,
    *,
    weights: Sequence[float] = (),
    label_smoothing: float = 0.0,
    reduction: str = "none",
) -> Tensor:
    """Return the cross-entropy of one label for each example.

    Args:
        scores: (B, C), float32.
        targets: numbers of the labels, (B,), int64.
        weights: weight of each label; empty: all are equal.
        label_smoothing: share of the uniform distribution.
        reduction: "none" for (B,), "sum" for a scalar.
    """
    weight = scores.new_tensor(weights) if weights else None
    return functional.cross_entropy(
        scores, targets, weight=weight, reduction=reduction, label_smoothing=label_smoothing
    )


class TextClassification(Objective[Any, Any]):
    """Loss of a label, a number or several labels for each text.

    The data has `labels`, a `LabelSet`. Batches have `targets` of its kind, (B,) or (B, C).
    """

    data: Any

    def outputs(self, model: Any, batch: Any) -> Tensor:
        """Return the scores in float32, (B, C)."""
        return super().outputs(model, batch).float()

    def loss(self, model: Any, outputs: Tensor, batch: Any) -> Loss:
        """Return the loss of the scores, (B, C), by the kind of target."""
        labels, targets = self.data.labels, batch.targets
        if labels.target is Target.label:
            options = {"weights": labels.weights, "label_smoothing": self.smoothing(model)}
            total = label_cross_entropy(outputs, targets, **options, reduction="sum")
        elif labels.target is Target.number:
            total = (outputs[:, 0] - targets).square().sum()
        else:
            total = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="sum")
        return Loss(total, torch.tensor(len(outputs), device=outputs.device))
