"""One-dimensional position schemes, which `model.positions` selects; `nn.grid` has the two-dimensional ones.

Absolute schemes are added to the token embedding or concatenated with it. Rotary schemes rotate queries and keys.
Relative schemes are added to the attention scores. All take explicit integer positions, so that training, cached
decoding and beams use the same code.

Shapes: B batch, T queries, S keys, D model width, H heads, K head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import ABSOLUTE_POSITIONS, Combine, Positions
from tformer_cli.data.core.device import to_device


def frequencies(dim: int, base: float = 10_000.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the angular frequencies base ** (-2i / dim) of the sinusoidal encoding (Vaswani et al. 2017, section 3.5).

    Args:
        dim: width of the encoding; even.
        base: wavelength base; the longest wavelength is 2*pi*base tokens.
        dtype: dtype of the result, which is computed in float64.

    Returns:
        Angular frequencies, (dim / 2,), in radians per token.

    Raises:
        ValueError: if `dim` is odd.
    """
    if dim % 2:
        raise ValueError(f"sinusoidal positions need an even width, not {dim}")
    return (base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)).to(dtype)


def sinusoids(positions: Tensor, frequency: Tensor) -> Tensor:
    """Return the encodings PE(pos, 2i) = sin(w_i pos), PE(pos, 2i + 1) = cos(w_i pos) (Vaswani et al. 2017, 3.5).

    Args:
        positions: (T,), int64.
        frequency: w, (D / 2,), radians per token.

    Returns:
        (T, D), float32; float64 for float64 frequencies.
    """
    angles = positions[:, None].to(torch.promote_types(torch.float32, frequency.dtype)) * frequency
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


def sinusoidal_table(length: int, dim: int) -> Tensor:
    """Return the encodings of positions 0, 1, ...: (length, dim), float32.

    They are computed in float64, since rounded angles would cost three of seven digits at far positions.
    """
    return sinusoids(torch.arange(length), frequencies(dim, dtype=torch.float64)).float()


def index_vectors(positions: Tensor, dim: int) -> Tensor:
    """Return vectors with the position's number in every component: (T,) int64 to (T, D), float32.

    They are a baseline for experiments. The numbers are not bounded, so that far positions outweigh the embeddings.
    Added to the embeddings of a pre-norm model, they have no effect in evaluation or without dropout: layer
    normalisation subtracts the mean of the components. In training, dropout of the sum makes the components unequal,
    and the effect grows with the position.
    """
    return positions[:, None].float().expand(-1, dim)


class PositionVectors(nn.Module):
    """Base class of absolute schemes; their vectors are added to the embeddings or concatenated with them."""

    def __init__(self, scheme: Positions, combine: Combine, dim: int) -> None:
        super().__init__()
        self.scheme = scheme
        self.concatenate = scheme in ABSOLUTE_POSITIONS and combine is Combine.concatenate
        if self.concatenate:
            # [token; position] is projected back to the width of the model.
            self.project = nn.Linear(2 * dim, dim)

    def vectors(self, length: int) -> Tensor:
        """Return the vectors of the first `length` positions, (T, D); only absolute schemes have them."""
        raise NotImplementedError

    def combined(self, x: Tensor, vectors: Tensor) -> Tensor:
        """Combine embeddings (B, T, D) with the vectors of their positions, (T, D) or (1, D): (B, T, D), type of x."""
        vectors = vectors.to(x.dtype)
        if self.concatenate:
            return self.project(torch.cat((x, vectors.expand_as(x)), dim=-1)).to(x.dtype)  # not of autocast's type
        return x + vectors


class AbsolutePositions(PositionVectors):
    """Absolute positions of tokens: numbers, fixed sinusoids, a learned table, or sinusoids of learned frequencies.

    Sinusoidal: Vaswani et al. 2017, section 3.5. Learned: Gehring et al. 2017; initialised with zeros.
    Learnable-sinusoidal: the w_i are parameters (Wang et al. 2021), initialised with the fixed frequencies. Index: see
    `index_vectors`.

    Attributes:
        max_length: number of positions that the model may use.
    """

    def __init__(self, scheme: Positions, combine: Combine, dim: int, max_length: int) -> None:
        super().__init__(scheme, combine, dim)
        self.dim, self.max_length = dim, max_length
        if scheme is Positions.sinusoidal:
            self.register_buffer("table", sinusoidal_table(max_length, dim), persistent=False)
        elif scheme is Positions.learned:
            self.table = nn.Parameter(torch.zeros(max_length, dim))
        elif scheme is Positions.learnable_sinusoidal:
            self.frequency = nn.Parameter(frequencies(dim))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Combine token embeddings with their positions.

        Args:
            x: token embeddings, (B, T, D).
            positions: (T,), int64; or (1,), the same for all T.

        Returns:
            (B, T, D).
        """
        if self.scheme not in ABSOLUTE_POSITIONS:
            return x
        return self.combined(x, self._at(positions))

    def vectors(self, length: int) -> Tensor:
        """Return the vectors of positions 0 to `length` - 1, (T, D)."""
        tensors = (*self.parameters(), *self.buffers())  # index has neither
        return self._at(torch.arange(length, device=tensors[0].device if tensors else None))

    def _at(self, positions: Tensor) -> Tensor:
        """Return the vectors of positions, (T,) int64 to (T, D)."""
        if self.scheme is Positions.index:
            return index_vectors(positions, self.dim)
        learned = hasattr(self, "frequency")
        return sinusoids(positions, self.frequency) if learned else self.table[positions]


def rotate_pairs(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate each pair of elements of x (B, H, T, K) by angles (T, K / 2) in radians; computed in float32."""
    factor = torch.polar(torch.ones_like(angles), angles)  # e^(i angle): each pair is one complex number
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * factor).flatten(-2).to(x.dtype)


def rotate(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Apply rotary position embedding (Su et al. 2021, eq. 15 and 34).

    Args:
        x: queries or keys, (B, H, T, K) with K even.
        positions: absolute positions, (T,) or (1,); int64.
        base: wavelength base; the longest wavelength is 2*pi*base tokens.

    Returns:
        (B, H, T, K), same dtype as `x`; computed in float32.

    Raises:
        ValueError: if K is odd.
    """
    rates = to_device(frequencies(x.shape[-1], base), x.device)
    return rotate_pairs(x, positions[:, None].float() * rates)  # m theta


class T5Bias(nn.Module):
    """A learned bias for each head and bucket of distance, shared by a stack (Raffel et al. 2020, section 2.1).

    Half of the buckets are single distances, the others grow logarithmically up to `max_distance`, as in the authors'
    code.
    """

    def __init__(self, heads: int, buckets: int, *, bidirectional: bool, max_distance: int = 128) -> None:
        super().__init__()
        self.bidirectional, self.max_distance = bidirectional, max(max_distance, buckets)
        self.weight = nn.Parameter(torch.zeros(buckets, heads))

    def bucket(self, distance: Tensor) -> Tensor:
        """Return the bucket of each distance (key - query); any shape, int64."""
        buckets = self.weight.shape[0]
        base = torch.zeros_like(distance)
        if self.bidirectional:
            buckets //= 2
            base = (distance > 0).long() * buckets
            distance = distance.abs()
        else:
            distance = (-distance).clamp(min=0)
        exact = max(1, buckets // 2)  # each side may have a single bucket
        growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        coarse = (exact + (growth * (buckets - exact)).long()).clamp(max=buckets - 1)
        return base + torch.where(distance < exact, distance, coarse)

    def forward(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """Return the bias of the scores, (H, T, S), for positions of queries (T,) and keys (S,)."""
        return self.weight[self.bucket(key_positions[None, :] - query_positions[:, None])].permute(2, 0, 1)


class ShawRelative(nn.Module):
    """Relative position representations a^K and a^V, clipped at distance k (Shaw et al. 2018, eq. 3-5)."""

    def __init__(self, head_dim: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.keys = nn.Parameter(torch.randn(2 * max_distance + 1, head_dim) * head_dim**-0.5)
        self.values = nn.Parameter(torch.randn(2 * max_distance + 1, head_dim) * head_dim**-0.5)

    def index(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """Return the row of the tables for each pair of positions: clip(j - i, -k, k) + k, (T, S)."""
        distance = key_positions[None, :] - query_positions[:, None]
        return distance.clamp(-self.max_distance, self.max_distance) + self.max_distance

    def scores(self, q: Tensor, index: Tensor) -> Tensor:
        """Return q_i . a^K_ij for queries (B, H, T, K): (B, H, T, S), unscaled (eq. 5)."""
        by_distance = q @ self.keys.to(q.dtype).T  # (B, H, T, 2k + 1)
        return by_distance.gather(-1, index.expand(*q.shape[:3], -1))  # beams share one position: (1, S)

    def mix(self, weights: Tensor, index: Tensor) -> Tensor:
        """Return sum_j alpha_ij a^V_ij for weights (B, H, T, S): (B, H, T, K) (eq. 3)."""
        by_distance = weights.new_zeros(*weights.shape[:3], self.values.shape[0])
        by_distance = by_distance.scatter_add(-1, index.expand_as(weights), weights)
        return by_distance @ self.values.to(weights.dtype)


class TransformerXLRelative(nn.Module):
    """Relative attention of Transformer-XL (Dai et al. 2019, section 3.3): terms (a) to (d) of A^rel.

    (a) + (c) is (q + u) . k, (b) + (d) is (q + v) . W_R R_{i-j}, with u and v learned per head.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim, bias=False)  # W_{k,R}
        self.content_bias = nn.Parameter(torch.zeros(heads, 1, dim // heads))  # u
        self.position_bias = nn.Parameter(torch.zeros(heads, 1, dim // heads))  # v
        self.frequency: Tensor
        self.register_buffer("frequency", frequencies(dim), persistent=False)

    def scores(self, q: Tensor, query_positions: Tensor, key_positions: Tensor, scale: float = 1.0) -> Tensor:
        """Return scale * (q_i + v) . W_R R_{i-j} for queries (B, H, T, K): (B, H, T, S).

        Each distance is embedded once, each query is multiplied with every distance, and the needed products are
        selected. If both positions are the same tensor, they are consecutive, and the selection is a view (appendix B);
        otherwise it is a gather, which takes longer than the product.
        """
        if query_positions is key_positions:
            size = len(query_positions)
            # Query i needs distances i, i - 1, ...: in the flat (T, 2T) rows begin at intervals of 2T - 1.
            by_distance = self._by_distance(q, torch.arange(size, -size, -1, device=q.device), scale)
            return by_distance.flatten(-2)[..., size:].unflatten(-1, (size, 2 * size - 1))[..., :size]
        distance = query_positions[:, None] - key_positions[None, :]  # (T, S)
        lowest = -int(key_positions.shape[0]) + 1 if query_positions.shape[0] > 1 else 0
        lowest = min(lowest, int(distance.min()))
        by_distance = self._by_distance(q, torch.arange(lowest, int(distance.max()) + 1, device=q.device), scale)
        index = (distance - lowest).expand(*q.shape[:3], -1)  # beams share one position: (1, S)
        return by_distance.gather(-1, index)

    def _by_distance(self, q: Tensor, span: Tensor, scale: float) -> Tensor:
        """Return the scores of each query for each distance of `span`, (B, H, T, distances)."""
        heads, head_dim = self.content_bias.shape[0], self.content_bias.shape[-1]
        embedded = self.project(sinusoids(span, self.frequency).to(q.dtype)).view(-1, heads, head_dim).permute(1, 2, 0)
        return ((q + self.position_bias.to(q.dtype)) * scale) @ embedded
