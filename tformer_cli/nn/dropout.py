"""Dropout (Srivastava et al. 2014) whose random numbers cost little on a CPU.

`torch.bernoulli_` draws a 64-bit number an element, which is 10 to 20 % of a training step on a CPU. Here one draw serves
eight elements, a byte each. The rate is thereby rounded to 1/256, and the scale is that of the rounded rate, so that
the expectation is exact.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def dropped(shape: torch.Size, threshold: int) -> Tensor:
    """Bool, True with probability threshold / 256, from torch's CPU generator."""
    count = shape.numel()
    words = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    return (words.view(torch.uint8)[:count] < threshold).view(shape)


class _DropoutAdd(torch.autograd.Function):
    """residual + scale * dropout(x), saving one byte an element."""

    @staticmethod
    def forward(ctx, residual: Tensor | None, x: Tensor, threshold: int, scale: float) -> Tensor:
        drop = dropped(x.shape, threshold)
        ctx.save_for_backward(drop)
        ctx.scale = scale * 256 / (256 - threshold)
        kept = x.masked_fill(drop, 0)
        if residual is None:
            return kept.mul_(ctx.scale)
        return torch.add(residual, kept, alpha=ctx.scale)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (drop,) = ctx.saved_tensors
        residual = gradient if ctx.needs_input_grad[0] else None
        return residual, gradient.masked_fill(drop, 0).mul_(ctx.scale), None, None


class Dropout(nn.Module):
    """Zero each element with probability `rate` in training, scaling the rest by 1 / (1 - rate)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Dropout of `x`, any shape."""
        if not (self.training and self.rate):
            return x
        threshold = round(self.rate * 256)
        if x.device.type != "cpu" or not 0 < threshold < 256:
            return F.dropout(x, self.rate)
        return _DropoutAdd.apply(None, x, threshold, 1.0)

    def add(self, residual: Tensor, x: Tensor, scale: float = 1.0) -> Tensor:
        """residual + scale * dropout(x), in one pass less; shapes are equal."""
        if not (self.training and self.rate):
            return torch.add(residual, x, alpha=scale)
        threshold = round(self.rate * 256)
        if x.device.type != "cpu" or not 0 < threshold < 256 or residual.dtype != x.dtype:
            return torch.add(residual, F.dropout(x, self.rate), alpha=scale)
        return _DropoutAdd.apply(residual, x, threshold, scale)
