"""Spans of a text (Devlin et al. 2019, section 4.2): cross-entropies of the first and the last token of the answer.

    L = - 1/2 sum_i [log p(begin_i | x_i) + log p(end_i | x_i)]

Shapes: B windows, T tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import AttentionKind
from tformer_cli.data.text.question_windows import SpanBatch
from tformer_cli.objectives.base import Lengths, Loss, Objective


class Spans(Objective[Any, SpanBatch]):
    """Mean of the cross-entropies of an answer's first and last token, summed over windows."""

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        return "cross-entropy of the first and the last token"

    def lengths(self, outputs: Tensor, batch: SpanBatch) -> Lengths:
        """Return the lengths of the windows; there is no decoder."""
        return {AttentionKind.encoder: batch.lengths}

    def example_counts(self, outputs: Tensor, batch: SpanBatch) -> Tensor:
        """Return 1 for each window."""
        return torch.ones_like(batch.lengths)

    def loss(self, model: Any, outputs: Tensor, batch: SpanBatch) -> Loss:
        """Return the loss of the scores of first and last tokens, (B, 2, T)."""
        total = functional.cross_entropy(outputs.flatten(0, 1), batch.spans.flatten(), reduction="sum") / 2
        return Loss(total, torch.full((), len(outputs), device=outputs.device))
