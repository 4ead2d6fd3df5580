"""The residual block of all Transformer families.

    pre-norm:   x + scale * dropout(sublayer(norm(x)))      (Wang et al. 2019; Xiong et al. 2020)
    post-norm:  norm(x + scale * dropout(sublayer(x)))      (Vaswani et al. 2017, section 3.1)

Optionally, learned factors multiply the output of a sub-layer (layer scale), and training skips the sub-layer for
random examples (stochastic depth).

Encoder = [attention, feed-forward]; decoder = [attention, cross-attention, feed-forward]; Conformer = [half
feed-forward, attention, convolution, half feed-forward] and a last normalisation (Gulati et al. 2020, eq. 1).

Shapes: B batch, T positions, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Norm, Positions, TransformerConfig
from tformer_cli.nn.attention import EVERYTHING, Attention, KeyValueCache, Mask
from tformer_cli.nn.convolution import ConvolutionModule, Frames
from tformer_cli.nn.dropout import Dropout, StochasticDepth
from tformer_cli.nn.feedforward import FeedForward
from tformer_cli.nn.positions import T5Bias

Sublayer = TypeVar("Sublayer", bound=nn.Module)


class LayerScale(nn.Module):
    """Learned factors diag(lambda_1, ..., lambda_D) before the residual sum (Touvron et al. 2021, "Going deeper")."""

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.full((dim,), start))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x, (..., D), by the factors."""
        return x * self.factors.to(x.dtype)


class Residual(nn.Module, Generic[Sublayer]):
    """A sub-layer with normalisation, dropout and residual connection.

    Args:
        dim: width D.
        sublayer: module from (B, T, D) to (B, T, D).
        norm: whether the normalisation is before the sub-layer or after the sum.
        dropout: dropout rate of the sub-layer's output.
        bias: whether the normalisation has a bias.
        scale: constant factor of the sub-layer's output.
        eps: constant added to the variance in the normalisation.
        layer_scale: initial value of learned factors of the sub-layer's output; 0: no factors.
        stochastic_depth: share of the training examples for which the sub-layer is skipped.
        connected: whether there is a residual connection; otherwise x is not added.
    """

    def __init__(
        self,
        dim: int,
        sublayer: Sublayer,
        *,
        norm: Norm,
        dropout: float,
        bias: bool = True,
        scale: float = 1.0,
        eps: float = 1e-5,
        layer_scale: float = 0.0,
        stochastic_depth: float = 0.0,
        connected: bool = True,
    ) -> None:
        super().__init__()
        self.sublayer, self.pre, self.scale, self.connected = sublayer, norm is Norm.pre, scale, connected
        self.norm = nn.LayerNorm(dim, eps=eps, bias=bias)
        self.layer_scale = LayerScale(dim, layer_scale) if layer_scale else nn.Identity()
        self.stochastic_depth = StochasticDepth(stochastic_depth)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        """Apply the sub-layer to x, (B, T, D).

        Further arguments are passed to the sub-layer. If it returns only the first T' positions, so does this module.
        """
        branch = self.sublayer(self.norm(x) if self.pre else x, *args, **kwargs)
        branch = self.stochastic_depth(self.layer_scale(branch))
        if self.connected:
            x = self.dropout.add(x if x.shape == branch.shape else x[:, : branch.shape[1]], branch, self.scale)
        else:
            x = (self.dropout(branch) * self.scale).to(x.dtype)
        return x if self.pre else self.norm(x)


class Block(nn.Module):
    """A block of self-attention, cross-attention if `cross`, and a feed-forward layer, each in a `Residual`.

    `decoder` marks the self-attention as a decoder's instead of an encoder's (`AttentionKind`).

    If `macaron`, it is a block of the Conformer (Gulati et al. 2020, eq. 1 and figure 1): a feed-forward layer with
    factor 1/2, attention if `self_attention`, the convolution if there is one, another feed-forward layer with factor
    1/2, and a normalisation.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        cross: bool = False,
        decoder: bool = False,
        macaron: bool = False,
        self_attention: bool = True,
        convolution: Callable[[], ConvolutionModule] | None = None,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()

        def residual(sublayer: Sublayer, scale: float = 1.0) -> Residual[Sublayer]:
            return Residual(
                config.dim, sublayer, norm=config.norm, dropout=config.dropout, bias=config.bias, eps=config.norm_eps,
                layer_scale=config.layer_scale, stochastic_depth=stochastic_depth, scale=scale,
                connected=config.residual,
            )  # fmt: skip

        def attention(**kwargs) -> Attention:
            return Attention(
                config.dim, config.heads, dropout=config.attention_dropout, bias=config.bias,
                relative_distance=config.relative_distance, scaled=config.scale_attention, **kwargs,
            )  # fmt: skip

        def feed_forward() -> Residual[FeedForward]:
            layer = FeedForward(config.dim, config.ffn_dim, config.activation, config.ffn_dropout, config.bias)
            return residual(layer, 0.5 if macaron else 1.0)

        self.feed_forward_before = feed_forward() if macaron else None
        self.attention = None
        if self_attention:
            self.attention = residual(attention(positions=config.positions, decoder=decoder))
        self.cross = residual(attention(cross=True)) if cross else None
        self.convolution = None if convolution is None else residual(convolution())
        self.feed_forward = feed_forward()
        self.norm = nn.Identity()
        if macaron and config.norm is Norm.pre:  # with post-norm the output is normalised already
            self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps, bias=config.bias)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | tuple[Tensor, Tensor] | None = None,
        *,
        mask: Mask = EVERYTHING,
        memory_mask: Mask = EVERYTHING,
        bias: Tensor | None = None,
        positions: tuple[Tensor, Tensor] | None = None,
        cache: KeyValueCache | None = None,
        queries: int | None = None,
        frames: Frames | None = None,
    ) -> Tensor:
        """Apply the block to x, (B, T, D).

        The arguments are those of `Attention.forward`; a convolution also needs `frames`, the real frames.
        """
        if self.feed_forward_before is not None:
            x = self.feed_forward_before(x)
        if self.attention is not None:
            x = self.attention(x, mask=mask, bias=bias, positions=positions, cache=cache, queries=queries)
        if self.cross is not None:
            x = self.cross(x, memory, mask=memory_mask)
        if self.convolution is not None:
            x = self.convolution(x, frames)
        return self.norm(self.feed_forward(x))


class Stack(nn.Module):
    """A sequence of blocks, followed by a normalisation if they are pre-norm and do not end in one themselves.

    Args:
        config: settings of the Transformer.
        depth: number of blocks.
        cross: whether blocks also attend to a memory (a decoder).
        bidirectional: whether queries attend to keys on both sides, for the T5 bias.
        bias: module that maps the positions of queries and keys to a bias of the self-attention scores, (H, T, S),
            which all blocks share. The stack creates the T5 bias itself.
        macaron: whether the blocks are Conformer blocks: see `Block`.
        self_attention: whether blocks attend to their inputs.
        convolution: function that creates the convolution module of a Conformer's block; None: there is none.

    Attributes:
        stack_inputs: submodules that count as the layer below the blocks (`train.layers.layer_scales`).
    """

    stack_inputs: ClassVar[dict[str, tuple[str, ...]]] = {"bias": ("",)}

    def __init__(
        self,
        config: TransformerConfig,
        depth: int,
        *,
        cross: bool = False,
        bidirectional: bool = True,
        bias: nn.Module | None = None,
        macaron: bool = False,
        self_attention: bool = True,
        convolution: Callable[[], ConvolutionModule] | None = None,
    ) -> None:
        super().__init__()
        self.convolves = convolution is not None
        rates = [config.stochastic_depth * number / max(1, depth - 1) for number in range(depth)]
        blocks = nn.ModuleList(
            Block(
                config,
                cross=cross,
                decoder=cross or not bidirectional,
                macaron=macaron,
                self_attention=self_attention,
                convolution=convolution,
                stochastic_depth=rate,
            )  # fmt: skip
            for rate in rates
        )
        self.blocks: Sequence[Block] = cast(Any, blocks)  # ModuleList has no type of its modules
        last = nn.LayerNorm(config.dim, eps=config.norm_eps, bias=config.bias)
        self.norm = last if config.norm is Norm.pre and not macaron else nn.Identity()
        self.bias = bias
        if config.positions is Positions.t5 and self_attention:
            self.bias = T5Bias(config.heads, config.relative_distance, bidirectional=bidirectional)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | list[tuple[Tensor, Tensor]] | None = None,
        *,
        mask: Mask = EVERYTHING,
        memory_mask: Mask = EVERYTHING,
        positions: tuple[Tensor, Tensor] | None = None,
        caches: list[KeyValueCache] | None = None,
        first: int | None = None,
        frames: Frames | None = None,
        depth: int | None = None,
    ) -> Tensor:
        """Apply all blocks, or the first `depth` of them and the last normalisation.

        Args:
            x: embedded inputs, (B, T, D).
            memory: memory of cross-attention, (B, S, D), or keys and values for each block.
            mask: mask of self-attention; with `first` it must be the same for all queries.
            memory_mask: mask of cross-attention.
            positions: positions of queries and keys, (T,) and (S,), or rows and columns, (T, 2) and (S, 2); by default
                0, 1, ... for both.
            caches: a cache for each block, for decoding step by step.
            first: number of first positions to compute outputs for; they attend to all positions. None: all.
            frames: the real frames of x, for convolutions; not together with `caches` or `first`.
            depth: number of blocks to apply, for an early exit; not together with `first`. None: all.

        Returns:
            (B, T, D), or (B, first, D).

        Raises:
            ValueError: if convolutions have no frames, or have caches or `first`.
        """
        if self.convolves and (frames is None or caches is not None or first is not None):
            raise ValueError("convolutions need frames, and support neither caches nor `first`")
        if positions is None:
            indices = torch.arange(x.shape[1], device=x.device)
            positions = (indices, indices)
        bias = None if self.bias is None else self.bias(*positions)
        queries = None
        for number, block in enumerate(islice(self.blocks, depth)):
            if first is not None and number == len(self.blocks) - 1:
                queries, positions = first, (positions[0][:first], positions[1])
                bias = None if bias is None else bias[..., :first, :]
            x = block(
                x,
                memory[number] if isinstance(memory, list) else memory,
                mask=mask,
                memory_mask=memory_mask,
                bias=bias,
                positions=positions,
                cache=None if caches is None else caches[number],
                queries=queries,
                frames=frames,
            )
        return self.norm(x)
