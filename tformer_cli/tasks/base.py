"""The contract of the tasks that are not yet composed of data, objective, evaluator and predictor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from tformer_cli.config.family import AttentionShape
from tformer_cli.data.core.batch import B, Batch
from tformer_cli.draw import Gallery, HeatMap, Picture, Sound, Spectrogram
from tformer_cli.evaluators.base import Evaluation, Sample, Scoring, spread
from tformer_cli.objectives.base import Loss, LossSums, M
from tformer_cli.predictors.base import Input, Prediction
from tformer_cli.signals import poll

__all__ = [
    "AttentionShape", "B", "Batch", "Evaluation", "Gallery", "HeatMap", "Input", "Loss", "LossSums", "M", "Picture",
    "Prediction", "Sample", "Scoring", "Sound", "Spectrogram", "batches_of", "spread", "summed_loss",
]  # fmt: skip


def batches_of(task: Any, model: nn.Module, split: str) -> Iterator[Any]:
    """Yield the batches of a split's first epoch, on the model's device."""
    device = next(model.parameters()).device
    for index in range(task.num_batches(split)):
        poll()
        yield task.collate(split, 0, task.rows(split, 0, index)).to(device)


def summed_loss(task: Any, model: nn.Module, split: str) -> tuple[dict[str, float], int]:
    """Return the sums of the loss over a whole split by name, and the count that they are sums over."""
    sums = LossSums()
    for batch in batches_of(task, model, split):
        sums.add(task.loss(model, batch))
    return sums.sums, sums.count
