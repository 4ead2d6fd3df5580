"""Multi-head self- and cross-attention, causal or not, with any position scheme and an optional cache.

    Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V                               (Vaswani et al. 2017, eq. 1)
    MultiHead(Q, K, V) = Concat(head_1, ..., head_h) W^O                            (section 3.2.2)

Shapes: B batch, T queries, S keys, D model width, H heads, K head width.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.schema import AttentionKind, Positions
from tformer_cli.nn import backend
from tformer_cli.nn.dropout import dropout
from tformer_cli.nn.grid import rotate_2d
from tformer_cli.nn.padding import real_positions
from tformer_cli.nn.positions import ShawRelative, TransformerXLRelative, rotate
from tformer_cli.nn.taps import Tappable

T = TypeVar("T")


def required(value: T | None) -> T:
    """Return `value`, an argument of `Attention.forward` that this kind of attention requires.

    Raises:
        ValueError: if it is None.
    """
    if value is None:
        raise ValueError("cross-attention needs a memory; rotary, shaw and transformer_xl need positions")
    return value


class Mask:
    """A mask of the keys that each query may attend to; created once per batch and shared by all blocks.

    Args:
        allowed: bool, broadcastable to (B, 1, T, S); True = may attend.
        causal: whether query i must not attend to keys after i (look-ahead mask).
        may_be_empty: whether a row may allow no key at all; outputs and gradients of such rows are zero.
    """

    def __init__(self, allowed: Tensor | None = None, *, causal: bool = False, may_be_empty: bool = True) -> None:
        self.allowed, self.causal, self.may_be_empty = allowed, causal, may_be_empty
        self.any_allowed: Tensor | None = None  # (B, 1, T, 1) or (T, 1); None: every row allows a key
        self._additive: Tensor | None = None

    @classmethod
    def from_lengths(cls, lengths: Tensor, size: int, *, full: bool = False) -> Mask:
        """Return the padding mask of sequences.

        Args:
            lengths: number of keys of each sequence that are not padding, (B,), int64.
            size: number of keys, S.
            full: whether there is no padding; the mask then allows everything.
        """
        if full:
            return cls()
        return cls(real_positions(lengths, size)[:, None, None, :])

    @classmethod
    def from_documents(cls, documents: Tensor, *, causal: bool = False) -> Mask:
        """Return a mask with which tokens attend only to tokens of the same document.

        Args:
            documents: number of each token's document, (B, T); -1 for padding.
            causal: as in the constructor.
        """
        allowed = documents[:, None, :, None] == documents[:, None, None, :]
        return cls(allowed, causal=causal, may_be_empty=False)  # a token attends at least to itself

    def additive(self, queries: int, keys: int, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """Return the mask as a term to add to the scores: 0 where allowed, minus infinity elsewhere.

        Returns:
            A tensor broadcastable to (B, H, T, S); None if everything is allowed.
        """
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
            # On a GPU the check would wait for the device, and compiled code cannot depend on it.
            unchecked = torch.compiler.is_compiling() or allowed.device.type != "cpu"
            if unchecked or not bool(any_allowed.all()):
                self.any_allowed = any_allowed
                allowed = allowed | ~any_allowed  # an empty row attends to all keys, and its output is set to zero
        self._additive = torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill_(~allowed, -torch.inf)
        return self._additive

    def clear_empty(self, x: Tensor) -> Tensor:
        """Set the outputs (B, H, T, K) of rows that allow no key to zero."""
        return x if self.any_allowed is None else x.masked_fill(~self.any_allowed, 0)


EVERYTHING = Mask()
ROTATIONS = {Positions.rotary: rotate, Positions.rotary_2d: rotate_2d}
VECTOR = 16
"""Number of float32 values in the widest vector register (AVX-512)."""
FEW_PRODUCTS = 400
"""Elements of a matrix below which `torch.bmm` on a CPU does not call a library."""


def keys_innermost(rows: int, device: torch.device) -> bool:
    """Return whether keys (B, H, S, K) are stored with S innermost, for decoding with `rows` queries per sentence.

    With several queries, q k^T is faster on a CPU if S is innermost, since k^T is then contiguous. With one query it is
    not faster, and with K innermost a new key is written to consecutive memory.
    """
    return rows > 1 and device.type == "cpu"


def for_products(k: Tensor, rows: int) -> Tensor:
    """Return keys (B, H, S, K) in the memory layout for decoding with `rows` queries per sentence."""
    return k.mT.contiguous().mT if keys_innermost(rows, k.device) else k


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the batched product of (N, T, I) and (N, I, J): (N, T, J).

    On a CPU torch multiplies very small matrices without vector instructions. For a single row, as in a decoding step,
    multiplying and summing vectors takes a third of the time (N = 256, 12 x 32, one thread, AVX-512).

    Under autocast `a` is in half precision while a cache `b` is float32. The product is then computed in float32 and
    rounded to the type of `a`, which avoids a conversion of all cached keys at each step. The cached values were
    rounded to the type of `a` before, so that each product of two numbers is exact.
    """
    if a.device.type == "cpu" and a.dtype is not b.dtype:
        with torch.autocast("cpu", enabled=False):
            return product(a.to(b.dtype), b).to(a.dtype)
    if a.shape[1] == 1 and a.dtype is torch.float32 and a.device.type == "cpu" and b[0].numel() < FEW_PRODUCTS:
        return (a.mT * b).sum(-2, keepdim=True)
    return torch.bmm(a, b)


class KeyValueCache:
    """The keys and values of all decoded positions, written in place.

    A step adds the keys of all `rows` (beams) of each sentence, in the order of time along S. Beams are not copied when
    search reorders them: a mask over the keys of all beams selects each beam's history (`decode.search`). Keys have the
    memory layout of `for_products`.
    """

    def __init__(self, batch: int, heads: int, size: int, head_dim: int, like: Tensor, rows: int = 1) -> None:
        innermost = keys_innermost(rows, like.device)
        shape = (batch, heads, head_dim, size) if innermost else (batch, heads, size, head_dim)
        self.k = like.new_empty(shape).mT if innermost else like.new_empty(shape)
        self.v = like.new_empty(batch, heads, size, head_dim)
        self.length = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values (B, H, rows, K); return all cached ones, (B, H, S, K) each."""
        end = self.length + k.shape[2]
        self.k[:, :, self.length : end] = k
        self.v[:, :, self.length : end] = v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64; only the filled part is moved."""
        count = len(sentences)
        for tensor in (self.k, self.v):
            tensor[:count, :, : self.length] = tensor[sentences, :, : self.length]
        self.k, self.v = self.k[:count], self.v[:count]


def part(layer: nn.Linear, outputs: slice, x: Tensor) -> Tensor:
    """Compute some outputs of a linear layer, (..., I) to (..., J)."""
    return F.linear(x, layer.weight[outputs], None if layer.bias is None else layer.bias[outputs])


class Attention(Tappable):
    """Multi-head attention (Vaswani et al. 2017, section 3.2).

    Args:
        dim: width D of inputs, queries, keys, values and outputs.
        heads: number of heads H, which divides `dim`.
        cross: whether keys and values come from another sequence.
        decoder: whether this is the self-attention of a decoder. It sets `kind`, not the mask.
        positions: rotary, rotary_2d, shaw and transformer_xl act here, on self-attention only; others are ignored.
        dropout: dropout rate of the attention weights.
        bias: whether the projections have a bias.
        relative_distance: shaw: maximum distance; larger distances are clipped to it.
        scaled: whether scores are divided by sqrt(K).

    Attributes:
        scaled: see above.
        scale: factor of the scores, 1 / sqrt(K) or 1.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        cross: bool = False,
        decoder: bool = False,
        positions: Positions = Positions.none,
        dropout: float = 0.0,
        bias: bool = True,
        relative_distance: int = 32,
        scaled: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.head_dim, self.cross, self.dropout = heads, dim // heads, cross, dropout
        self.scaled, self.scale = scaled, self.head_dim**-0.5 if scaled else 1.0
        self.kind = AttentionKind.decoder if decoder else AttentionKind.encoder
        if cross:
            self.kind = AttentionKind.cross
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
        """Split (B, T, parts * D) into `parts` tensors (B, H, T, K), in one copy or as views."""
        x = x.view(x.shape[0], x.shape[1], parts, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        return (x.contiguous() if copy else x).unbind(0)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of cross-attention from a memory (B, S, D): (B, H, S, K) each.

        Decoding computes them once per sentence.
        """
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
        """Compute attention.

        Args:
            x: inputs of the queries, (B, T, D).
            memory: cross-attention: the sequence to attend to, (B, S, D), or the result of `keys_values` for it.
            mask: mask of the keys that each query may attend to.
            bias: added to the scores, broadcastable to (B, H, T, S).
            positions: positions of queries (T,) or (1,) and keys (S,), int64, for rotary, shaw and transformer_xl; the
                same tensor for both if they are consecutive. For rotary_2d rows and columns, (T, 2) and (S, 2).
            cache: self-attention: keys and values of the preceding positions; those of `x` are appended.
            queries: self-attention without a cache: only the first T = `queries` positions of `x`, (B, S, D), are
                queries; None: all.

        Returns:
            Outputs, (B, T, D).
        """
        q, k, v = self._project(x, memory, positions, cache, queries)
        if self.is_tapped("values"):  # copied from a cache, which changes in place
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
            k, v = memory if isinstance(memory, tuple) else self.keys_values(required(memory))
            return q, k, v
        if queries is None:
            # With a cache views are enough, since it copies keys and values. Without one all three share one copy.
            q, k, v = self._heads(self.project_qkv(x), 3, copy=cache is None)
        else:
            dim = x.shape[2]
            (q,) = self._heads(part(self.project_qkv, slice(dim), x[:, :queries]), 1)
            k, v = self._heads(part(self.project_qkv, slice(dim, None), x), 2)
        if self.rotate is not None:
            query_positions, key_positions = required(positions)
            new_keys = key_positions if cache is None else query_positions
            q, k = self.rotate(q, query_positions), self.rotate(k, new_keys)
        if cache is not None:
            k, v = cache.append(k, v)
        return q, k, v

    def _score_bias(
        self, q: Tensor, k: Tensor, mask: Mask, bias: Tensor | None, positions: tuple[Tensor, Tensor] | None
    ) -> Tensor | None:
        """Return the sum of all terms added to the scaled scores: mask, relative positions, the caller's bias."""
        total = mask.additive(q.shape[2], k.shape[2], q.dtype, q.device)
        relative = None
        if self.shaw is not None:
            relative = self.shaw.scores(q, self.shaw.index(*required(positions))) * self.scale
        elif self.transformer_xl is not None:
            content = self.transformer_xl.content_bias.to(q.dtype) * self.scale @ k.transpose(-1, -2)  # term (c): u . k
            total = content if total is None else total + content  # small, since it is the same for all queries
            relative = self.transformer_xl.scores(q, *required(positions), self.scale)
        if relative is not None:
            bias = relative if bias is None else relative + bias
        if bias is None:
            return total
        bias = bias.to(q.dtype)
        return bias if total is None else total + bias

    def _softmax(self, q: Tensor, k: Tensor, mask: Mask, score_bias: Tensor | None) -> Tensor:
        """Return softmax(q k^T / sqrt(K) + bias), (B, H, T, S); statistics in float32."""
        shape = (*q.shape[:3], k.shape[2])
        q3, k3 = q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)
        scores = product(q3 * self.scale, k3).view(shape)
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
        """Return softmax(QK^T / sqrt(K) + bias) V, (B, H, T, K), computed by the backend that `nn.backend` selects.

        If weights are tapped, the layer computes them explicitly, since the fused kernel does not return them.
        """
        rate = self.dropout if self.training else 0.0
        # For the few queries of a decoding step on a CPU the fused kernel is slower.
        decoding = q.device.type == "cpu" and (q.shape[2] == 1 or k.stride(-1) != 1)
        fused = backend.attention == "fused" and self.shaw is None and not decoding
        if fused and not self.is_tapped("weights"):
            plain_causal = mask.causal and mask.allowed is None and bias is None and self.transformer_xl is None
            if q.shape[2] != k.shape[2]:  # a branch, since compiled code compares symbols, and the kernel needs a bool
                plain_causal = False  # the kernel aligns its triangle top-left
            score_bias = None if plain_causal else self._score_bias(q, k, mask, bias, positions)
            if score_bias is not None:
                score_bias = score_bias.expand(q.shape[0], -1, -1, -1) if score_bias.dim() == 4 else score_bias
            scale = None if self.scaled else self.scale  # None: the kernel's own 1 / sqrt(K)
            context = F.scaled_dot_product_attention(q, k, v, score_bias, rate, is_causal=plain_causal, scale=scale)
            return mask.clear_empty(context)
        weights = self._softmax(q, k, mask, self._score_bias(q, k, mask, bias, positions))
        self.record("weights", weights)
        if rate:
            weights = dropout(weights, rate)
        context = product(weights.flatten(0, 1), v.flatten(0, 1)).view(q.shape)
        if self.shaw is not None:
            context = context + self.shaw.mix(weights, self.shaw.index(*required(positions)))
        return context


def softmax(scores: Tensor) -> Tensor:
    """Compute the softmax over the last dimension, (..., S).

    On a CPU torch does not use vector instructions for rows shorter than a register: 7,800 rows of 15 columns took
    2.4 ms, padded to 16 columns with minus infinity 0.4 ms (one thread, AVX-512). Such rows are therefore padded. In
    half precision such a row fills half a register, so that without gradients it is converted to float32, with the same
    results: 14,000 rows of 14 columns took 0.68 ms in bfloat16 and 0.32 ms with both conversions.
    """
    columns = scores.shape[-1]
    if scores.device.type != "cpu" or columns > VECTOR:
        return F.softmax(scores, dim=-1)
    if scores.element_size() < 4 and not scores.requires_grad:
        return softmax(scores.float()).to(scores.dtype)
    if columns == VECTOR:
        return F.softmax(scores, dim=-1)
    return F.softmax(F.pad(scores, (0, VECTOR - columns), value=-torch.inf), dim=-1)[..., :columns]
