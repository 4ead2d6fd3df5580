"""Attention: one module for self- and cross-attention, causal or not, with any position scheme and an optional cache.

    Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V                               (Vaswani et al. 2017, eq. 1)
    MultiHead(Q, K, V) = Concat(head_1, ..., head_h) W^O                            (section 3.2.2)

Shapes: B batch, T queries, S keys, D model width, H heads, K head width.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.schema import Positions
from tformer_cli.nn import backend
from tformer_cli.nn.dropout import dropout
from tformer_cli.nn.grid import rotate_2d
from tformer_cli.nn.positions import ShawRelative, TransformerXLRelative, rotate
from tformer_cli.nn.taps import Tappable

T = TypeVar("T")


def given(value: T | None) -> T:
    """An argument of `Attention.forward` that some kinds of attention need and others do not.

    Raises:
        ValueError: if it is None.
    """
    if value is None:
        raise ValueError("cross-attention needs a memory; rotary, shaw and transformer_xl need positions")
    return value


class Mask:
    """Which queries may attend to which keys; made once a batch and shared by all blocks.

    Args:
        allowed: bool, broadcastable to (B, 1, T, S); True = may attend.
        causal: query i may also not attend to keys after i (the look-ahead mask).
        may_be_empty: a row may allow nothing at all; such rows yield zeros, in value and gradient.
    """

    def __init__(self, allowed: Tensor | None = None, *, causal: bool = False, may_be_empty: bool = True) -> None:
        self.allowed, self.causal, self.may_be_empty = allowed, causal, may_be_empty
        self.any_allowed: Tensor | None = None  # (B, 1, T, 1) or (T, 1); None: every row may attend to something
        self._additive: Tensor | None = None

    @classmethod
    def from_lengths(cls, lengths: Tensor, size: int, *, full: bool = False) -> Mask:
        """The padding mask: keys from `lengths` (B,) on are hidden; `full`: nothing is padded, known for free."""
        if full:
            return cls()
        return cls((torch.arange(size, device=lengths.device) < lengths[:, None])[:, None, None, :])

    @classmethod
    def from_documents(cls, documents: Tensor, *, causal: bool = False) -> Mask:
        """A token attends to its own document alone: `documents` (B, T) are their numbers, -1 for all padding."""
        allowed = documents[:, None, :, None] == documents[:, None, None, :]
        return cls(allowed, causal=causal, may_be_empty=False)  # a token attends at least to itself

    def additive(self, queries: int, keys: int, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """0 where allowed, minus infinity where not, broadcastable to (B, H, T, S); None if all is allowed."""
        if self._additive is not None:
            return self._additive
        allowed = self.allowed
        if self.causal:
            triangle = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
            allowed = triangle if allowed is None else allowed & triangle
        if allowed is None:
            return None
        if self.may_be_empty and (self.allowed is not None or queries > keys):
            any_allowed = allowed.any(-1, keepdim=True)
            # on a GPU asking would wait for the device
            if allowed.device.type != "cpu" or not bool(any_allowed.all()):
                self.any_allowed = any_allowed
                allowed = allowed | ~any_allowed  # an empty row attends to all, and is then set to zero
        self._additive = torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill_(~allowed, -torch.inf)
        return self._additive

    def clear_empty(self, x: Tensor) -> Tensor:
        """Set the outputs (B, H, T, K) of rows that may attend to nothing to zero."""
        return x if self.any_allowed is None else x.masked_fill(~self.any_allowed, 0)


EVERYTHING = Mask()
ROTATIONS = {Positions.rotary: rotate, Positions.rotary_2d: rotate_2d}
VECTOR = 16
"""Numbers of float32 in the widest register of CPUs (AVX-512)."""
FEW_PRODUCTS = 400
"""Multiplications a matrix below which `torch.bmm` on a CPU does not call a library."""


def keys_innermost(rows: int, device: torch.device) -> bool:
    """Whether keys (B, H, S, K) are kept with S innermost in memory, for decoding steps of `rows` queries a sentence.

    For a few queries q k^T is faster on a CPU when k^T need not be transposed; for one it is not, and adding a key then
    writes one piece of memory instead of K.
    """
    return rows > 1 and device.type == "cpu"


def for_products(k: Tensor, rows: int) -> Tensor:
    """The same keys (B, H, S, K), laid out for decoding steps of `rows` queries a sentence."""
    return k.mT.contiguous().mT if keys_innermost(rows, k.device) else k


def product(a: Tensor, b: Tensor) -> Tensor:
    """(N, T, I) times (N, I, J): (N, T, J).

    torch multiplies a batch of very small matrices on a CPU number by number; for one row, as a decoding step has it,
    multiplying and summing whole vectors takes a third of the time (N = 256, 12 x 32, one thread, AVX-512).
    """
    if a.shape[1] == 1 and a.dtype is torch.float32 and a.device.type == "cpu" and b[0].numel() < FEW_PRODUCTS:
        return (a.mT * b).sum(-2, keepdim=True)
    return torch.bmm(a, b)


class KeyValueCache:
    """Keys and values of the positions decoded so far, written in place.

    A step adds the keys of all `rows` (beams) of each sentence, so that they lie time-major along S. Beams are never
    copied when search reorders them: a mask over all beams' keys says which belong to whose history (`decode.search`).
    Keys lie in memory as `for_products` puts them, for `rows` hypotheses a sentence.
    """

    def __init__(self, batch: int, heads: int, size: int, head_dim: int, like: Tensor, rows: int = 1) -> None:
        innermost = keys_innermost(rows, like.device)
        shape = (batch, heads, head_dim, size) if innermost else (batch, heads, size, head_dim)
        self.k = like.new_empty(shape).mT if innermost else like.new_empty(shape)
        self.v = like.new_empty(batch, heads, size, head_dim)
        self.length = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, H, rows, K) keys and values; return all so far, (B, H, S, K) each."""
        end = self.length + k.shape[2]
        self.k[:, :, self.length : end] = k
        self.v[:, :, self.length : end] = v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64; only what is filled is moved."""
        count = len(sentences)
        for whole in (self.k, self.v):
            whole[:count, :, : self.length] = whole[sentences, :, : self.length]
        self.k, self.v = self.k[:count], self.v[:count]


def part(layer: nn.Linear, outputs: slice, x: Tensor) -> Tensor:
    """Some outputs of a linear layer, (..., I) to (..., J)."""
    return F.linear(x, layer.weight[outputs], None if layer.bias is None else layer.bias[outputs])


class Attention(Tappable):
    """Multi-head attention (Vaswani et al. 2017, section 3.2).

    Args:
        dim: width of queries and output; of keys and values too.
        heads: H; divides `dim`.
        cross: keys and values come from another sequence.
        positions: rotary, rotary_2d, shaw and transformer_xl act here, on self-attention only; others are ignored.
        dropout: on the attention weights.
        bias: the projections have a bias.
        relative_distance: shaw's clipping distance.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        cross: bool = False,
        positions: Positions = Positions.none,
        dropout: float = 0.0,
        bias: bool = True,
        relative_distance: int = 32,
    ) -> None:
        super().__init__()
        self.heads, self.head_dim, self.cross, self.dropout = heads, dim // heads, cross, dropout
        if cross:
            self.project_q = nn.Linear(dim, dim, bias=bias)
            self.project_kv = nn.Linear(dim, 2 * dim, bias=bias)
        else:
            self.project_qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.project_out = nn.Linear(dim, dim, bias=bias)
        self.rotate = None if cross else ROTATIONS.get(positions)
        self.shaw = ShawRelative(dim // heads, relative_distance) if positions is Positions.shaw and not cross else None
        relative_xl = positions is Positions.transformer_xl and not cross
        self.transformer_xl = TransformerXLRelative(dim, heads) if relative_xl else None

    def _heads(self, x: Tensor, parts: int, *, copy: bool = True) -> tuple[Tensor, ...]:
        """(B, T, parts * D) to `parts` times (B, H, T, K), in one copy or as views."""
        x = x.view(x.shape[0], x.shape[1], parts, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        return (x.contiguous() if copy else x).unbind(0)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of cross-attention from (B, S, D): (B, H, S, K) each; once a sentence when decoding."""
        k, v = self._heads(self.project_kv(memory), 2)
        return k, v

    def forward(
        self,
        x: Tensor,
        memory: Tensor | tuple[Tensor, Tensor] | None = None,
        *,
        mask: Mask = EVERYTHING,
        bias: Tensor | None = None,
        positions: tuple[Tensor, Tensor] | None = None,
        cache: KeyValueCache | None = None,
        queries: int | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, T, D), the queries' side.
            memory: cross-attention: (B, S, D), or what `keys_values` made of it.
            mask: which keys each query may attend to.
            bias: added to the scores, broadcastable to (B, H, T, S).
            positions: of queries (T,) or (1,) and keys (S,), int64; needed by rotary, shaw and transformer_xl; the same
                tensor for both if they are consecutive. Of cells of a grid, (T, 2) and (S, 2): needed by rotary_2d.
            cache: self-attention over what it holds and `x`.
            queries: self-attention without a cache: only the first T of `x`, (B, S, D), attend; None: all do.

        Returns:
            (B, T, D).
        """
        q, k, v = self._project(x, memory, positions, cache, queries)
        if self.is_tapped("values"):  # a cache is written in place later
            self.record("values", v if cache is None else v.clone())
        context = self._attend(q, k, v, mask, bias, positions)
        self.record("outputs", context)
        return self.project_out(context.transpose(1, 2).flatten(2))

    def _project(
        self,
        x: Tensor,
        memory: Tensor | tuple[Tensor, Tensor] | None,
        positions: tuple[Tensor, Tensor] | None,
        cache: KeyValueCache | None,
        queries: int | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self.cross:
            (q,) = self._heads(self.project_q(x), 1)
            k, v = memory if isinstance(memory, tuple) else self.keys_values(given(memory))
            return q, k, v
        if queries is None:
            # A cache copies keys and values to where they stay; without one, all three are put in order in one copy.
            q, k, v = self._heads(self.project_qkv(x), 3, copy=cache is None)
        else:
            dim = x.shape[2]
            (q,) = self._heads(part(self.project_qkv, slice(dim), x[:, :queries]), 1)
            k, v = self._heads(part(self.project_qkv, slice(dim, None), x), 2)
        if self.rotate is not None:
            query_positions, key_positions = given(positions)
            new_keys = key_positions if cache is None else query_positions
            q, k = self.rotate(q, query_positions), self.rotate(k, new_keys)
        if cache is not None:
            k, v = cache.append(k, v)
        return q, k, v

    def _score_bias(
        self, q: Tensor, k: Tensor, mask: Mask, bias: Tensor | None, positions: tuple[Tensor, Tensor] | None
    ) -> Tensor | None:
        """Everything that is added to the scaled scores: mask, relative positions, the caller's bias."""
        total = mask.additive(q.shape[2], k.shape[2], q.dtype, q.device)
        relative = None
        if self.shaw is not None:
            relative = self.shaw.scores(q, self.shaw.index(*given(positions))) * self.head_dim**-0.5
        elif self.transformer_xl is not None:
            scale = self.head_dim**-0.5
            content = self.transformer_xl.content_bias.to(q.dtype) * scale @ k.transpose(-1, -2)  # term (c): u . k
            total = content if total is None else total + content  # the same for all queries, as padding is: small
            relative = self.transformer_xl.scores(q, *given(positions), scale)
        if relative is not None:
            bias = relative if bias is None else relative + bias
        if bias is None:
            return total
        bias = bias.to(q.dtype)
        return bias if total is None else total + bias

    def _softmax(self, q: Tensor, k: Tensor, mask: Mask, score_bias: Tensor | None) -> Tensor:
        """softmax(q k^T / sqrt(K) + bias), (B, H, T, S); statistics in float32."""
        shape = (*q.shape[:3], k.shape[2])
        q3, k3 = q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)
        scale = self.head_dim**-0.5
        scores = product(q3 * scale, k3).view(shape)
        if score_bias is not None:
            scores += score_bias
        return mask.clear_empty(softmax(scores))

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Mask,
        bias: Tensor | None,
        positions: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Return softmax(QK^T / sqrt(K) + bias) V, (B, H, T, K), by the backend that `nn.backend` holds.

        While its weights are tapped a layer computes them explicitly, as the fused kernel does not return them.
        """
        rate = self.dropout if self.training else 0.0
        # For the few queries of a decoding step on a CPU the fused kernel is slower.
        decoding = q.device.type == "cpu" and (q.shape[2] == 1 or k.stride(-1) != 1)
        fused = backend.attention == "fused" and self.shaw is None and not decoding
        if fused and not self.is_tapped("weights"):
            plain_causal = mask.causal and mask.allowed is None and bias is None and self.transformer_xl is None
            plain_causal = plain_causal and q.shape[2] == k.shape[2]  # the fused kernel's triangle is top-left
            score_bias = None if plain_causal else self._score_bias(q, k, mask, bias, positions)
            if score_bias is not None:
                score_bias = score_bias.expand(q.shape[0], -1, -1, -1) if score_bias.dim() == 4 else score_bias
            context = F.scaled_dot_product_attention(q, k, v, score_bias, rate, is_causal=plain_causal)
            return mask.clear_empty(context)
        weights = self._softmax(q, k, mask, self._score_bias(q, k, mask, bias, positions))
        self.record("weights", weights)
        if rate:
            weights = dropout(weights, rate)
        context = product(weights.flatten(0, 1), v.flatten(0, 1)).view(q.shape)
        if self.shaw is not None:
            context = context + self.shaw.mix(weights, self.shaw.index(*given(positions)))
        return context


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension, (..., S).

    On a CPU torch takes rows that are shorter than a vector register number by number: 7,800 rows of 15 columns took
    2.4 ms, widened to 16 by minus infinity 0.4 ms (one thread, AVX-512). So such rows are widened.
    """
    columns = scores.shape[-1]
    if scores.device.type != "cpu" or columns % VECTOR == 0 or columns > VECTOR:
        return F.softmax(scores, dim=-1)
    return F.softmax(F.pad(scores, (0, VECTOR - columns), value=-torch.inf), dim=-1)[..., :columns]
