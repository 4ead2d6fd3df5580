"""The residual block that every family is built of.

    pre-norm:   x + scale * dropout(sublayer(norm(x)))      (Wang et al. 2019; Xiong et al. 2020)
    post-norm:  norm(x + scale * dropout(sublayer(x)))      (Vaswani et al. 2017, section 3.1)

Where they are asked for, a sub-layer's output has learned factors (layer scale), and whole examples of it are left out
(stochastic depth).

Encoder = [attention, feed-forward]; decoder = [attention, cross-attention, feed-forward]; Conformer = [half
feed-forward, attention, convolution, half feed-forward] and a last normalisation (Gulati et al. 2020, eq. 1).

Shapes: B batch, T positions, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

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
    """diag(lambda_1, ..., lambda_D) before the residual sum (Touvron et al. 2021, "Going deeper")."""

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.full((dim,), start))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return x * self.factors.to(x.dtype)


class Residual(nn.Module, Generic[Sublayer]):
    """One sub-layer with its normalisation, dropout and residual connection.

    Args:
        dim: D.
        sublayer: (B, T, D) to (B, T, D).
        norm: before the sub-layer, or after the sum.
        dropout: on the sub-layer's output.
        bias: the normalisation has a bias.
        scale: of the sub-layer's output.
        eps: of the normalisation.
        layer_scale: where the learned factors of the sub-layer's output start; 0: it has none.
        stochastic_depth: share of a training batch's examples for which the sub-layer is left out.
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
    ) -> None:
        super().__init__()
        self.sublayer, self.pre, self.scale = sublayer, norm is Norm.pre, scale
        self.norm = nn.LayerNorm(dim, eps=eps, bias=bias)
        self.layer_scale = LayerScale(dim, layer_scale) if layer_scale else nn.Identity()
        self.stochastic_depth = StochasticDepth(stochastic_depth)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        """(B, T, D) to (B, T, D), or of the first T alone; further arguments go to the sub-layer."""
        branch = self.sublayer(self.norm(x) if self.pre else x, *args, **kwargs)
        x = x if x.shape == branch.shape else x[:, : branch.shape[1]]
        x = self.dropout.add(x, self.stochastic_depth(self.layer_scale(branch)), self.scale)
        return x if self.pre else self.norm(x)


class Block(nn.Module):
    """Self-attention, cross-attention if `cross`, feed-forward; each a `Residual`.

    With a convolution it is a Conformer's (Gulati et al. 2020, eq. 1 and figure 1): half a feed-forward layer comes
    before attention and half a one last, the convolution between attention and that, and a normalisation at the end.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        cross: bool = False,
        convolution: Callable[[], ConvolutionModule] | None = None,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()

        def residual(sublayer: Sublayer, scale: float = 1.0) -> Residual[Sublayer]:
            return Residual(
                config.dim, sublayer, norm=config.norm, dropout=config.dropout, bias=config.bias, eps=config.norm_eps,
                layer_scale=config.layer_scale, stochastic_depth=stochastic_depth, scale=scale,
            )  # fmt: skip

        def attention(**kwargs) -> Attention:
            return Attention(
                config.dim, config.heads, dropout=config.attention_dropout, bias=config.bias,
                relative_distance=config.relative_distance, **kwargs,
            )  # fmt: skip

        def feed_forward() -> Residual[FeedForward]:
            layer = FeedForward(config.dim, config.ffn_dim, config.activation, config.ffn_dropout, config.bias)
            return residual(layer, 1.0 if convolution is None else 0.5)

        self.feed_forward_before = None if convolution is None else feed_forward()
        self.attention = residual(attention(positions=config.positions))
        self.cross = residual(attention(cross=True)) if cross else None
        self.convolution = None if convolution is None else residual(convolution())
        self.feed_forward = feed_forward()
        self.norm = nn.Identity()
        if convolution is not None and config.norm is Norm.pre:  # post-norm has just normalised
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
        """(B, T, D) to (B, T, D); arguments as in `Attention.forward`, and the frames that a convolution may see."""
        if self.feed_forward_before is not None:
            x = self.feed_forward_before(x)
        x = self.attention(x, mask=mask, bias=bias, positions=positions, cache=cache, queries=queries)
        if self.cross is not None:
            x = self.cross(x, memory, mask=memory_mask)
        if self.convolution is not None:
            x = self.convolution(x, frames)
        return self.norm(self.feed_forward(x))


class Stack(nn.Module):
    """`depth` blocks one after the other, and a last normalisation when they are pre-norm and have none themselves.

    Args:
        config: the shared core's settings.
        depth: number of blocks.
        cross: blocks attend to a memory too (a decoder).
        bidirectional: queries see keys on both sides (for the T5 bias).
        bias: of self-attention's scores, shared by the blocks: positions of queries and keys to (H, T, S). The T5 bias
            is made here, where it is asked for.
        convolution: makes the convolution module of a block: the blocks are a Conformer's.
    """

    def __init__(
        self,
        config: TransformerConfig,
        depth: int,
        *,
        cross: bool = False,
        bidirectional: bool = True,
        bias: nn.Module | None = None,
        convolution: Callable[[], ConvolutionModule] | None = None,
    ) -> None:
        super().__init__()
        self.convolves = convolution is not None
        rates = [config.stochastic_depth * number / max(1, depth - 1) for number in range(depth)]
        blocks = nn.ModuleList(
            Block(config, cross=cross, convolution=convolution, stochastic_depth=rate) for rate in rates
        )
        self.blocks: Sequence[Block] = cast(Any, blocks)  # ModuleList does not say what it is a list of
        last = nn.LayerNorm(config.dim, eps=config.norm_eps, bias=config.bias)
        self.norm = last if config.norm is Norm.pre and not self.convolves else nn.Identity()
        self.bias = bias
        if config.positions is Positions.t5:
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
    ) -> Tensor:
        """(B, T, D) to (B, T, D), or (B, first, D).

        Args:
            x: embedded inputs.
            memory: what cross-attention reads: (B, S, D), or a pair of keys and values a block.
            mask: of self-attention; with `first` the same for every query.
            memory_mask: of cross-attention.
            positions: of queries and of keys, (T,) and (S,), or of cells of a grid, (T, 2) and (S, 2); by default 0,
                1, ... for both.
            caches: one a block, for decoding step by step.
            first: only so many tokens are asked for: the last block makes no others, though these attend to all.
            frames: which of x are real; asked for by convolutions, which know neither `caches` nor `first`.

        Raises:
            ValueError: if convolutions lack frames, or have caches or `first`.
        """
        if self.convolves and (frames is None or caches is not None or first is not None):
            raise ValueError("convolutions need frames, and go neither with caches nor with a number of first tokens")
        if positions is None:
            here = torch.arange(x.shape[1], device=x.device)
            positions = (here, here)
        bias = None if self.bias is None else self.bias(*positions)
        queries = None
        for number, block in enumerate(self.blocks):
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
