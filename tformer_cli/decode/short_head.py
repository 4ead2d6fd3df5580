"""The output projection of a search in which each sentence has a shortlist of tokens.

The weights of a sentence's tokens are gathered once for a search, so that a step computes only their logits. All rows
of a sentence share them. Greedy search has a single row for each sentence. Unless the shortlists contain too many
different tokens, it is then faster to compute one product with the tokens of all shortlists, from which each sentence
selects the logits of its own tokens. The logits of a sentence do not depend on the tokens of others.

Shapes: B sentences, R rows (hypotheses) of each, U tokens of the longest shortlist, V vocabulary, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tformer_cli.decode.select import Head, has_library_product
from tformer_cli.nn.int8 import Int8Linear

Allowed = tuple[Tensor, Tensor]
"""The tokens of each sentence, (B, U) int64, ascending and padded at the end; and a mask of the real ones, (B, U)."""

SHARED_RATIO = 16
"""Maximum ratio of the different tokens in all shortlists to those of the longest, for one product in greedy search."""


class ShortHead(Head):
    """A `Head` over shortlists: probabilities are normalised over each sentence's tokens.

    Args:
        output: weights (V, D) and bias (V,) or None.
        rows: maximum number of rows N in a step.
        forbidden: tokens that are never chosen, (F,) int64.
        allowed: the shortlists.

    Raises:
        ValueError: if the output layer is quantised.
    """

    def __init__(
        self, output: tuple[Tensor, Tensor | None] | Int8Linear, rows: int, forbidden: Tensor, allowed: Allowed
    ) -> None:
        if isinstance(output, Int8Linear):
            raise ValueError("shortlists need an output layer that is not quantised")
        weight, bias = output
        self.tokens, real = (part.to(weight.device) for part in allowed)
        self.forbidden, self.quantized = torch.isin(self.tokens, forbidden), None
        self.columns: Tensor | None = None  # (B, U), indices of each sentence's tokens in the union of all shortlists
        shared = self._shared_weight(weight) if rows == len(self.tokens) else None
        self.weight = weight[self.tokens].transpose(1, 2) if shared is None else shared  # (B, D, U), or of all
        chosen = weight.new_zeros(()) if bias is None else bias[self.tokens]
        self.bias = torch.where(real, chosen, -torch.inf)[:, None]  # (B, 1, U)
        self._allocate(rows, self.tokens.shape[1], weight)

    def _shared_weight(self, weight: Tensor) -> Tensor | None:
        """Return the weights of the tokens of all shortlists, and set `columns`; None if these tokens are too many."""
        present = torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
        present[self.tokens] = True
        tokens = present.nonzero()[:, 0]
        if len(tokens) > SHARED_RATIO * self.tokens.shape[1]:
            return None
        self.columns = (present.cumsum(0) - 1)[self.tokens]
        return weight[tokens]

    def _compute_logits(self, hidden: Tensor) -> None:
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.to(self.weight.dtype)
            if self.columns is None:
                logits = torch.baddbmm(self.bias, hidden, self.weight)
            else:
                logits = self._product(hidden[:, 0]).gather(1, self.columns)[:, None] + self.bias
        self.logits.copy_(logits.flatten(0, 1))

    def _product(self, hidden: Tensor) -> Tensor:
        """Return the logits of the tokens of all shortlists, without bias, for hidden states (B, D)."""
        if has_library_product(hidden, self.weight):
            return torch.ops.mkldnn._linear_pointwise(hidden, self.weight, None, "none", [], "")
        return hidden @ self.weight.t()

    def log_probability(self, tokens: Tensor) -> Tensor:
        """Return the log-probabilities of tokens (B, R) int64; minus infinity for those not in the shortlist."""
        present, columns = (self.tokens[:, None] == tokens[:, :, None]).byte().max(-1)
        return torch.where(present.bool(), super().log_probability(columns), -torch.inf)

    def forbid(self) -> None:
        """Exclude the forbidden tokens from `highest`, `best` and sampling."""
        forbidden = self.forbidden[:, None].expand(-1, self.rows, -1)
        self.logits.masked_fill_(forbidden.flatten(0, 1), -torch.inf)

    def ids(self, columns: Tensor) -> Tensor:
        """Return the tokens of columns of the logits, (B, C), int64."""
        return self.tokens.gather(1, columns)

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64, ascending."""
        self.tokens, self.forbidden, self.bias = (part[sentences] for part in (self.tokens, self.forbidden, self.bias))
        if self.columns is None:
            self.weight = self.weight[sentences]
        else:
            self.columns = self.columns[sentences]
