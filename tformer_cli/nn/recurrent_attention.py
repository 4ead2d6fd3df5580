"""Attention of recurrent decoders: additive (Bahdanau et al. 2015) and multiplicative (Luong et al. 2015).

    a_tj = softmax_j score(q_t, h_j)        c_t = sum_j a_tj h_j

Shapes: B batch, T queries, S states of the memory, Q width of the queries, M width of the memory, A width of the keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import AttentionKind
from tformer_cli.nn.attention import Mask
from tformer_cli.nn.taps import Tappable


class DotScore(nn.Module):
    """The score q^T h (Luong et al. 2015, eq. 8, "dot"); queries and memory have the same width."""

    def keys(self, states: Tensor) -> Tensor:
        """Return the memory itself."""
        return states

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return the scores (B, T, S) of queries (B, T, Q) and keys (B, S, Q)."""
        return queries @ keys.mT


class GeneralScore(DotScore):
    """The score q^T W h (Luong et al. 2015, eq. 8, "general"): the dot product of q and W h.

    Args:
        query_width: width Q of the queries.
        width: width M of the memory.
    """

    def __init__(self, query_width: int, width: int) -> None:
        super().__init__()
        self.project_key = nn.Linear(width, query_width, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        """Return W h for each state: (B, S, M) to (B, S, Q)."""
        return self.project_key(states)


class AdditiveScore(nn.Module):
    """The score v^T tanh(W q + U h) (Bahdanau et al. 2015, appendix A.1.2).

    It is also the score "concat" of Luong et al. (2015, eq. 8), v^T tanh(W' [q; h]) with W' = [W U].

    Args:
        query_width: width Q of the queries, and A of the keys.
        width: width M of the memory.
    """

    def __init__(self, query_width: int, width: int) -> None:
        super().__init__()
        self.project_query = nn.Linear(query_width, query_width, bias=False)
        self.project_key = nn.Linear(width, query_width, bias=False)
        self.v = nn.Parameter(torch.zeros(query_width))

    def keys(self, states: Tensor) -> Tensor:
        """Return U h for each state: (B, S, M) to (B, S, A)."""
        return self.project_key(states)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return the scores (B, T, S) of queries (B, T, Q) and keys (B, S, A)."""
        return torch.tanh(self.project_query(queries)[:, :, None] + keys[:, None]) @ self.v


@dataclass
class PreparedMemory:
    """The parts of a memory that attention needs, computed once per sentence.

    Attributes:
        keys: keys of the score, (B, S, A).
        states: states of the memory, (B, S, M).
        mask: 0 for real states and minus infinity for padding, (B, 1, S); None: no padding.
        empty: whether a sentence has no real state, (B, 1, 1); None: each has one.
    """

    keys: Tensor
    states: Tensor
    mask: Tensor | None
    empty: Tensor | None

    def keep(self, sentences: Tensor) -> PreparedMemory:
        """Return the memory of some sentences, (B',) int64."""
        parts = (self.keys, self.states, self.mask, self.empty)
        return PreparedMemory(*(None if part is None else part[sentences] for part in parts))  # pyright: ignore[reportArgumentType]  # keys and states are tensors


class RecurrentAttention(Tappable):
    """Attention with one head over the states of an encoder.

    Args:
        score: one of the scores above.
    """

    def __init__(self, score: DotScore | AdditiveScore) -> None:
        super().__init__()
        self.kind, self.score = AttentionKind.cross, score

    def prepare(self, states: Tensor, mask: Mask) -> PreparedMemory:
        """Return the keys and the mask of a memory (B, S, M)."""
        additive = mask.additive(1, states.shape[1], states.dtype, states.device)
        padding = None if additive is None else additive[:, 0]
        empty = None if mask.any_allowed is None else ~mask.any_allowed[:, 0]
        return PreparedMemory(self.score.keys(states), states, padding, empty)

    def forward(self, queries: Tensor, memory: PreparedMemory) -> Tensor:
        """Return the contexts (B, T, M) of queries (B, T, Q); they are 0 for a sentence without real states."""
        scores = self.score(queries, memory.keys)
        weights = (scores if memory.mask is None else scores + memory.mask).softmax(-1)
        if memory.empty is not None:
            weights = weights.masked_fill(memory.empty, 0)
        context = weights @ memory.states
        if self.taps:
            for kind, tensor in (("weights", weights), ("values", memory.states), ("outputs", context)):
                self.record(kind, tensor[:, None])
        return context
