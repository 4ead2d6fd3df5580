"""Classification and regression: cross-entropy, squared error, binary cross-entropy.

    one label:       L = - sum_i w(y_i) log p(y_i | x_i)
    blended images:  L = - sum_i [a_i w(y_i) log p(y_i | x_i) + (1 - a_i) w(z_i) log p(z_i | x_i)]
    a number:        L = sum_i (f(x_i) - y_i)^2
    several labels:  L = - sum_i sum_c [y_ic log s(f_c(x_i)) + (1 - y_ic) log(1 - s(f_c(x_i)))]

w is the weight of a label, by default 1. a_i is the share of the first image in a blend of two images with labels y_i
and z_i (mixup, Zhang et al. 2018; CutMix, Yun et al. 2019). s is the logistic function.

Label smoothing (Szegedy et al. 2016, section 7) mixes the target distribution of one label with the uniform one in
training. Of several labels, it mixes each y_ic with 1/2.

Shapes: B batch, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import AttentionKind, Target
from tformer_cli.objectives.base import Lengths, Loss, Objective


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


def _measure(labels: Any) -> str:
    """Return what the loss of a set of labels measures, for `Objective.measure`."""
    names = {Target.label: "cross-entropy of labels", Target.number: "squared error of numbers"}
    loss = names.get(labels.target, "binary cross-entropies of labels")
    return loss + (f" with weights {', '.join(f'{weight:.4g}' for weight in labels.weights)}" if labels.weights else "")


class TextClassification(Objective[Any, Any]):
    """Loss of a label, a number or several labels for each text.

    The data has `labels`, a `LabelSet`. Batches have `targets` of its kind, (B,) or (B, C).
    """

    data: Any

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        return _measure(self.data.labels)

    def outputs(self, model: Any, batch: Any) -> Tensor:
        """Return the scores in float32, (B, C)."""
        return super().outputs(model, batch).float()

    def lengths(self, outputs: Any, batch: Any) -> Lengths:
        """Return the lengths of the texts; there is no decoder."""
        return {AttentionKind.encoder: batch.lengths}

    def example_counts(self, outputs: Any, batch: Any) -> Tensor:
        """Return 1 for each text."""
        return torch.ones_like(batch.lengths)

    def loss(self, model: Any, outputs: Tensor, batch: Any) -> Loss:
        """Return the loss of the scores, (B, C), by the kind of target."""
        labels, targets = self.data.labels, batch.targets
        if labels.target is Target.label:
            options = {"weights": labels.weights, "label_smoothing": self.smoothing(model)}
            total = label_cross_entropy(outputs, targets, **options, reduction="sum")
        elif labels.target is Target.number:
            total = (outputs[:, 0] - targets).square().sum()
        else:
            smoothing = self.smoothing(model)
            smoothed = targets * (1 - smoothing) + smoothing / 2
            total = functional.binary_cross_entropy_with_logits(outputs, smoothed, reduction="sum")
        return Loss(total, torch.full((), len(outputs), device=outputs.device))


class ImageClassification(Objective[Any, Any]):
    """Cross-entropy of one label for each image; in training, of both labels of a blended image.

    The data has `labels`, a `LabelSet`. Batches have `targets`, (B,), int64, and for blended images `partner_targets`,
    (B,), int64, and `shares`, (B,), float32; both are None otherwise.
    """

    data: Any

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        return _measure(self.data.labels)

    def outputs(self, model: Any, batch: Any) -> Tensor:
        """Return the scores in float32, (B, C)."""
        return super().outputs(model, batch).float()

    def lengths(self, outputs: Any, batch: Any) -> Lengths:
        """Return None for the encoder, since all parts of an image are real; there is no decoder."""
        return {AttentionKind.encoder: None}

    def example_counts(self, outputs: Any, batch: Any) -> Tensor:
        """Return 1 for each image."""
        return torch.ones_like(batch.targets)

    def loss(self, model: Any, outputs: Tensor, batch: Any) -> Loss:
        """Return the loss of the scores, (B, C)."""
        options = {"weights": self.data.labels.weights, "label_smoothing": self.smoothing(model)}
        entropies = label_cross_entropy(outputs, batch.targets, **options)
        if model.training and batch.partner_targets is not None:
            partners = label_cross_entropy(outputs, batch.partner_targets, **options)
            entropies = batch.shares * entropies + (1 - batch.shares) * partners
        return Loss(entropies.sum(), torch.full((), len(outputs), device=outputs.device))
