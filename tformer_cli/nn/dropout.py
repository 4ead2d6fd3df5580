"""Dropout (Srivastava et al. 2014) with fast random numbers on a CPU, and stochastic depth.

`torch.bernoulli_` draws a 64-bit number for each element, which takes a considerable part of a training step on a CPU.
Here each of the eight bytes of such a number decides on one element. The rate is therefore rounded to a multiple of
1/256. Outputs are scaled for the rounded rate, so that the expectation is exact.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def keep_mask(shape: torch.Size, threshold: int) -> Tensor:
    """Draw uint8 values, 0 with probability threshold / 256 and 1 otherwise, from torch's CPU generator.

    Clamping to [threshold - 1, threshold] compares bytes with vector instructions; torch's comparisons to bool do not.
    """
    count = shape.numel()
    words = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.uint8)[:count].clamp_(threshold - 1, threshold).sub_(threshold - 1).view(shape)


class _DropoutAdd(torch.autograd.Function):
    """The sum residual + scale * dropout(x); it stores one byte per element for the backward pass.

    The factor is not part of the mask, because a mask in bfloat16 would round it. x is first converted to the type of
    the residual: torch does not use vector instructions for operands of different types.
    """

    @staticmethod
    def forward(ctx, residual: Tensor | None, x: Tensor, threshold: int, scale: float) -> Tensor:
        keep = keep_mask(x.shape, threshold)
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
    """Return the number of byte values, of 256, for which an element is dropped; 0 if bytes are not used.

    Compiled code draws torch's numbers, which the compiler fuses with the rest.
    """
    threshold = round(rate * 256)
    draws_bytes = x.device.type == "cpu" and not torch.compiler.is_compiling()
    return threshold if draws_bytes and threshold < 256 else 0


def dropout(x: Tensor, rate: float) -> Tensor:
    """Zero each element of `x`, any shape, with probability `rate`, scaling the rest by 1 / (1 - rate)."""
    threshold = _threshold(x, rate)
    return _DropoutAdd.apply(None, x, threshold, 1.0) if threshold else F.dropout(x, rate)


class Dropout(nn.Module):
    """Dropout in training mode, the identity in evaluation mode."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Apply dropout to `x`, any shape."""
        return dropout(x, self.rate) if self.training and self.rate else x

    def add(self, residual: Tensor, x: Tensor, scale: float = 1.0) -> Tensor:
        """Return residual + scale * dropout(x) in the type of the residual; both have the same shape."""
        rate = self.rate if self.training else 0.0
        if threshold := _threshold(x, rate):
            return _DropoutAdd.apply(residual, x, threshold, scale)
        return torch.add(residual, (F.dropout(x, rate) if rate else x).to(residual.dtype), alpha=scale)


class StochasticDepth(nn.Module):
    """Stochastic depth: training skips a residual branch for a share `rate` of the examples (Huang et al. 2016).

    As with dropout, the others are divided by 1 - rate, so that evaluation needs no factor.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Set the output of a branch, (B, ...), to zero for random examples."""
        if not (self.training and self.rate):
            return x
        keep_rate = 1 - self.rate
        keep = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) < keep_rate
        return x * (keep.to(x.dtype) / keep_rate)
