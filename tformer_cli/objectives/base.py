"""The interface of objectives, which compute a loss from a model and a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from tformer_cli.data.core.batch import B
from tformer_cli.data.core.dataset import Data

M = TypeVar("M", bound=nn.Module)
"""The type of a model."""


@dataclass
class Loss:
    """A loss as a sum and a count; the loop divides once, by the count over all micro-batches and ranks.

    Attributes:
        total: the sum to differentiate, a scalar.
        count: the number of its summands (target tokens, images, ...), a scalar.
        parts: further sums for the log, by name; each is divided by `count` when it is shown.
    """

    total: Tensor
    count: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Objective(Generic[M, B]):
    """A training objective. `outputs` and `loss` are separate, so that evaluation computes outputs once.

    Args:
        data: data, whose `inputs` are the arguments of the model.
        label_smoothing: label smoothing in training; scores are computed without it.
    """

    def __init__(self, data: Data[Any, B], label_smoothing: float = 0.0) -> None:
        self.data, self.label_smoothing = data, label_smoothing

    def outputs(self, model: M, batch: B) -> Any:
        """Return the outputs of the model for a batch; by default those of its forward pass."""
        return model(*self.data.inputs(batch, training=model.training))

    def loss(self, model: M, outputs: Any, batch: B) -> Loss:
        """Return the loss of the model's outputs.

        Args:
            model: in training mode, or in evaluation mode for scores.
            outputs: the result of `outputs` for the batch.
            batch: on the model's device.
        """
        raise NotImplementedError

    def smoothing(self, model: nn.Module) -> float:
        """Return the label smoothing: that of the settings in training, 0 in evaluation."""
        return self.label_smoothing if model.training else 0.0


@dataclass
class LossSums:
    """The sum of the losses of several batches.

    Attributes:
        sums: `loss` and its parts by name.
        count: number of their summands.
    """

    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    @classmethod
    def of(cls, loss: Loss) -> LossSums:
        """Return the sums of one batch."""
        sums = cls()
        sums.add(loss)
        return sums

    def add(self, loss: Loss) -> None:
        """Add the loss of a batch."""
        self.merge(
            {"loss": float(loss.total), **{name: float(value.detach()) for name, value in loss.parts.items()}},
            loss.count,
        )

    def merge(self, sums: dict[str, float], count: Tensor | int) -> None:
        """Add sums by name, and their count."""
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += int(count)

    def means(self) -> dict[str, float]:
        """Return each sum divided by the count."""
        return {name: value / self.count for name, value in self.sums.items()}
