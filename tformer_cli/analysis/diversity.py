"""Disagreement of attention heads (Li et al. 2018, section 3), for training and for figures.

For values V_i, weights A_i and outputs O_i of head i of H, at one position,

    D_subspace = - 1/H^2 sum_ij cos(V_i, V_j)
    D_position = - 1/H^2 sum_ij sum_s |A_i(s) A_j(s)|
    D_output   = - 1/H^2 sum_ij cos(O_i, O_j)

where i = j is included. For an example each is averaged over the real positions: of keys for the values, of queries for
weights and outputs. The sums over i and j need no loop over pairs:

    sum_ij <x_i, x_j> = |sum_i x_i|^2.

`nn.taps` records the tensors. All functions are differentiable and compute in float32.

Shapes: B batch, H heads, Q queries, K keys, T positions (of queries or keys), W head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from tformer_cli.nn.padding import real_positions


def unit_vectors(vectors: Tensor) -> Tensor:
    """Return vectors divided by the maximum of their norm and 1e-6; the same shape, float32."""
    return functional.normalize(vectors.float(), dim=-1, eps=1e-6)


def cosine_agreement(vectors: Tensor) -> Tensor:
    """Return the mean cosine of all pairs of heads, 1/H^2 sum_ij cos(x_i, x_j): (B, H, T, W) to (B, T), float32."""
    return unit_vectors(vectors).sum(1).square().sum(-1) / vectors.shape[1] ** 2


def weight_agreement(weights: Tensor) -> Tensor:
    """Return the mean overlap of all pairs of heads, 1/H^2 sum_ij sum_s A_i(s) A_j(s): (B, H, Q, K) to (B, Q), float32.

    Weights are not negative, so that their products need no absolute value.
    """
    return weights.float().sum(1).square().sum(-1) / weights.shape[1] ** 2


class Term(NamedTuple):
    """A kind of disagreement.

    Attributes:
        tap: the kind of tensors that it compares.
        agreement: function for the agreement at each position, the negative of the disagreement.
        compares_keys: whether its positions are those of keys; otherwise those of queries.
    """

    tap: str
    agreement: Callable[[Tensor], Tensor]
    compares_keys: bool = False


TERMS = {
    "disagreement_subspace": Term("values", cosine_agreement, compares_keys=True),
    "disagreement_position": Term("weights", weight_agreement),
    "disagreement_output": Term("outputs", cosine_agreement),
}
"""The disagreements by the names of their weights in `regularise`."""


def mean_over(values: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the mean over the real positions of each example, (B, T, ...) to (B, ...).

    Args:
        values: (B, T, ...).
        lengths: numbers of real positions, (B,); None: all are real.
    """
    if lengths is None:
        return values.mean(1)
    real = real_positions(lengths, values.shape[1])
    real = real.view(*real.shape, *[1] * (values.dim() - 2))
    return (values * real).sum(1) / real.sum(1).clamp(min=1)
