"""The interface of objectives, which compute a loss from a model and a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import AttentionKind
from tformer_cli.config.values import plain
from tformer_cli.data.core.batch import B
from tformer_cli.data.core.dataset import Data

M = TypeVar("M", bound=nn.Module)
"""The type of a model."""
Lengths = dict[AttentionKind, Tensor | None]
"""Numbers of real positions, (B,), by `AttentionKind.encoder` and `AttentionKind.decoder`; None: all are real."""


@dataclass
class Loss:
    """A loss as a sum and a count; the training loop divides once, by the count over all micro-batches and ranks.

    A loss can also be the sum of several means T_k / N_k, each with its own count, see `over`.

    Attributes:
        total: the sum to differentiate, a scalar.
        count: the number of terms of the sum (target tokens, images, ...), a scalar.
        parts: further sums for the log, by name; each is divided by `count` when it is shown.
        counts: the counts N_k of the parts with their own count, by name; `total` is the sum of these parts T_k.
    """

    total: Tensor
    count: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, Tensor] = field(default_factory=dict)

    def over(self, counts: Mapping[str, Tensor]) -> Loss:
        """Return a loss of several means as a sum over one count, given the counts of the complete step.

            sum_k N / N_k * T_k,    N = counts["count"], N_k = counts[k]

        Summed over the micro-batches and ranks of the step and divided by N, this gives the sum of the step's means
        T_k / N_k for any division of its examples. With each micro-batch's own counts, the result would depend on the
        division.

        Args:
            counts: the sums of `Objective.counts` over all micro-batches of the step.
        """
        weighted = {
            name: part * (counts["count"] / counts[name].clamp(min=1)).float() if name in self.counts else part
            for name, part in self.parts.items()
        }
        total = torch.stack([weighted[name] for name in self.counts]).sum()
        return Loss(total, self.count, weighted)


class Objective(Generic[M, B]):
    """A training objective. `outputs` and `loss` are separate, so that evaluation computes outputs once.

    Args:
        data: the data; `data.inputs` returns the arguments of the model.
        label_smoothing: label smoothing in training; scores are computed without it.
    """

    def __init__(self, data: Data[Any, B], label_smoothing: float = 0.0) -> None:
        self.data, self.label_smoothing = data, label_smoothing

    def measure(self) -> str:
        """Return what the loss measures in evaluation, with the settings that its value depends on.

        Data and tokenizer are not part of it. Losses with different measures cannot be compared; "": the loss cannot be
        compared with that of another model.
        """
        raise NotImplementedError

    def outputs(self, model: M, batch: B) -> Any:
        """Return the outputs of the model for a batch; by default the result of its forward pass."""
        return model(*self.data.inputs(batch, training=model.training))

    def loss(self, model: M, outputs: Any, batch: B) -> Loss:
        """Return the loss of the model's outputs.

        Args:
            model: in training mode, or in evaluation mode for scores.
            outputs: the result of `outputs` for the batch.
            batch: on the model's device.
        """
        raise NotImplementedError

    def counts(self, batch: B) -> dict[str, Tensor]:
        """Return the counts of a loss that is a sum of several means; empty if the loss has a single count.

        They depend on the batch alone. The loop sums them over a step before the first backward pass.

        Args:
            batch: on the model's device.

        Returns:
            Scalars: `count`, N in `Loss.over`, and the count N_k of each mean by its name.
        """
        return {}

    # --- for regularisers, see `objectives.regularisers` ---

    def begin_step(self, step: int) -> None:
        """Prepare for a step of training, numbered from 1; the loop calls it before the step's first micro-batch."""

    def check(self, model: M) -> None:
        """Refuse a model that cannot be trained by this objective.

        Raises:
            ConfigError: naming the setting and a valid value.
        """

    def lengths(self, outputs: Any, batch: B) -> Lengths:
        """Return the numbers of real positions of each example in the encoder and in the decoder, if there are any."""
        return {}

    def example_counts(self, outputs: Any, batch: B) -> Tensor | None:
        """Return each example's share of the loss's count, (B,); None if regularisers cannot add terms per example."""
        return None

    # --- label smoothing ---

    def smoothing(self, model: nn.Module) -> float:
        """Return the label smoothing: the configured value in training, 0 in evaluation."""
        return self.label_smoothing if model.training else 0.0


def with_settings(loss: str, group: str, settings: Any) -> str:
    """Return the name of a loss with the settings that its value depends on, for `Objective.measure`.

    Args:
        loss: the name.
        group: name of the group of settings.
        settings: its dataclass.
    """
    return f"{loss} ({' '.join(f'{group}.{name}={value}' for name, value in plain(settings).items())})"


@dataclass
class LossSums:
    """The sum of the losses of several batches.

    Attributes:
        sums: `loss` and its parts by name.
        count: number of terms in each sum.
        counts: counts of the parts that have their own count.
    """

    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, loss: Loss) -> LossSums:
        """Return the sums of one batch."""
        parts = {name: float(value.detach()) for name, value in loss.parts.items()}
        counts = {name: int(value) for name, value in loss.counts.items()}
        return cls({"loss": float(loss.total.detach()), **parts}, int(loss.count), counts)

    def add(self, other: LossSums) -> None:
        """Add the sums of other batches."""
        for name, value in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        for name, value in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + value
        self.count += other.count

    def means(self) -> dict[str, float]:
        """Return each sum divided by its count; if parts have their own counts, the loss is the sum of their means."""
        means = {name: value / max(1, self.counts.get(name, self.count)) for name, value in self.sums.items()}
        if self.counts:
            means["loss"] = sum(means[name] for name in self.counts)
        return means
