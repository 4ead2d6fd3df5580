"""Dropout (Srivastava et al. 2014) whose random numbers cost little on a CPU, and of whole branches.

`torch.bernoulli_` draws a 64-bit number an element, which takes a good part of a training step on a CPU. Here one draw
serves
eight elements, a byte each. The rate is thereby rounded to 1/256, and the scale is that of the rounded rate, so that
the expectation is exact.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def kept(shape: torch.Size, threshold: int) -> Tensor:
    """uint8, 0 with probability threshold / 256 and 1 otherwise, from torch's CPU generator.

    Clamping to [threshold - 1, threshold] compares bytes with vector instructions; torch's comparisons to bool do not.
    """
    count = shape.numel()
    words = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.uint8)[:count].clamp_(threshold - 1, threshold).sub_(threshold - 1).view(shape)


class _DropoutAdd(torch.autograd.Function):
    """residual + scale * dropout(x), saving one byte an element.

    The factor is applied last and by itself: a mask of bfloat16 that held it would hold it rounded. The branch is
    brought to the residual's type first: torch takes operands of two types number by number.
    """

    @staticmethod
    def forward(ctx, residual: Tensor | None, x: Tensor, threshold: int, scale: float) -> Tensor:
        keep = kept(x.shape, threshold)
        ctx.save_for_backward(keep)
        ctx.scale, ctx.dtype = scale * 256 / (256 - threshold), x.dtype
        if residual is None:
            return keep.to(x.dtype).mul_(x).mul_(ctx.scale)
        return torch.addcmul(residual, x.to(residual.dtype), keep.to(residual.dtype), value=ctx.scale)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (gradient,) = grad_outputs
        (keep,) = ctx.saved_tensors
        residual = gradient if ctx.needs_input_grad[0] else None
        return residual, keep.to(gradient.dtype).mul_(gradient).mul_(ctx.scale).to(ctx.dtype), None, None


def _threshold(x: Tensor, rate: float) -> int:
    """Of 256 elements, how many are dropped by bytes; 0: none are, and bytes do not serve."""
    threshold = round(rate * 256)
    return threshold if x.device.type == "cpu" and threshold < 256 else 0


def dropout(x: Tensor, rate: float) -> Tensor:
    """Zero each element of `x`, any shape, with probability `rate`, scaling the rest by 1 / (1 - rate)."""
    threshold = _threshold(x, rate)
    return _DropoutAdd.apply(None, x, threshold, 1.0) if threshold else F.dropout(x, rate)


class Dropout(nn.Module):
    """`dropout` in training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Dropout of `x`, any shape."""
        return dropout(x, self.rate) if self.training and self.rate else x

    def add(self, residual: Tensor, x: Tensor, scale: float = 1.0) -> Tensor:
        """Residual + scale * dropout(x), in one pass less, in the residual's type; shapes are equal."""
        rate = self.rate if self.training else 0.0
        if threshold := _threshold(x, rate):
            return _DropoutAdd.apply(residual, x, threshold, scale)
        return torch.add(residual, (F.dropout(x, rate) if rate else x).to(residual.dtype), alpha=scale)


class StochasticDepth(nn.Module):
    """In training, leave a residual branch out for a share `rate` of the examples (Huang et al. 2016).

    As dropout does, what stays is divided by the share that stays, so that evaluation needs no factor.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """A branch's output, (B, ...), of which whole examples are zero."""
        if not (self.training and self.rate):
            return x
        stays = 1 - self.rate
        examples = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) < stays
        return x * (examples.to(x.dtype) / stays)
