"""Tagging of words (Devlin et al. 2019, section 5.3): cross-entropy of the tag of each word at its first piece.

    L = - sum_n log p(t_n | x)

Label smoothing (Szegedy et al. 2016, section 7) mixes the target distribution with the uniform one in training.

Shapes: N words of a batch, C tags.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import AttentionKind
from tformer_cli.data.text.tagged_words import TaggedBatch
from tformer_cli.objectives.base import Lengths, Loss, Objective


class Tagging(Objective[Any, TaggedBatch]):
    """Cross-entropy of the words' tags."""

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        return "cross-entropy of tags"

    def outputs(self, model: Any, batch: TaggedBatch) -> Tensor:
        """Return the scores of all words in float32, (N, C)."""
        return super().outputs(model, batch).float()

    def lengths(self, outputs: Tensor, batch: TaggedBatch) -> Lengths:
        """Return the lengths of the sentences; there is no decoder."""
        return {AttentionKind.encoder: batch.lengths}

    def example_counts(self, outputs: Tensor, batch: TaggedBatch) -> Tensor:
        """Return the number of words of each sentence."""
        return batch.counts

    def loss(self, model: Any, outputs: Tensor, batch: TaggedBatch) -> Loss:
        """Return the loss of the scores, (N, C)."""
        smoothing = self.smoothing(model)
        total = functional.cross_entropy(outputs, batch.tags, reduction="sum", label_smoothing=smoothing)
        return Loss(total, torch.full((), len(outputs), device=outputs.device))
