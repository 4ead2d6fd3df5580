"""Convolutions over the frames of recordings, as the Conformer has them (Gulati et al. 2020, sections 2.1 and 2.2).

A frame beyond the end of a recording is never seen: neither by a convolution nor by the statistics of a normalisation.
So a recording alone gives what it gives inside a padded batch.

Shapes: B recordings, T frames of the longest, F numbers a frame, C channels, D model width, N frames of all recordings.
"""

from __future__ import annotations

import contextlib
from typing import TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.schema import Normalisation

Lengths = TypeVar("Lengths", Tensor, np.ndarray)

KERNEL, STRIDE = 3, 2
"""Of a convolution that halves the number of frames."""
MOMENTUM = 0.1
"""Share of a batch's statistics in the running ones (Ioffe and Szegedy 2015; torch's)."""


class Frames:
    """Which frames of a padded batch are real; made once a batch and shared by all blocks.

    Args:
        lengths: real frames of each recording, (B,), int64.
        size: T.

    Attributes:
        real: (B, T, 1), bool.
        places: of the real ones in the flat (B * T), (N,) int64; None: all are real.
    """

    def __init__(self, lengths: Tensor, size: int) -> None:
        self.lengths = lengths
        self.real = (torch.arange(size, device=lengths.device) < lengths[:, None])[..., None]
        places = self.real.flatten().nonzero().squeeze(1)
        self.places = None if len(places) == self.real.numel() else places

    def clear(self, x: Tensor) -> Tensor:
        """(B, T, C) with zeros in frames that are not real, whatever was there."""
        return x if self.places is None else x.masked_fill(~self.real, 0)

    def pack(self, x: Tensor) -> Tensor:
        """The real frames of (B, T, C): (N, C)."""
        x = x.flatten(0, 1)
        return x if self.places is None else _Pack.apply(x, self.places)

    def unpack(self, rows: Tensor) -> Tensor:
        """`pack` undone, with zeros in the other frames: (N, C) to (B, T, C)."""
        if self.places is not None:
            empty = rows.new_zeros(self.real.numel(), rows.shape[1])
            rows = empty.index_copy(0, self.places, rows)
        return rows.unflatten(0, self.real.shape[:2])


class _Pack(torch.autograd.Function):
    """Rows at distinct places. Their gradients are copied, where torch's own selection would add one row at a time."""

    @staticmethod
    def forward(ctx, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = len(x)
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = grad_outputs
        (places,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.size, gradient.shape[1]).index_copy_(0, places, gradient), None


class FrameNorm(nn.Module):
    """A normalisation with learned factors and biases of channels, which is told which frames are real."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        raise NotImplementedError


class FrameBatchNorm(FrameNorm):
    """Batch normalisation over the real frames of all recordings (Ioffe and Szegedy 2015).

    In training by the batch's statistics, which the running ones follow; afterwards by those. Statistics are float32.
    A batch of a single frame has no variance, and is normalised by the running ones.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__(dim, eps)
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(B, T, C) to (B, T, C); frames that are not real become 0."""
        rows = frames.pack(x)
        training = self.training and len(rows) > 1
        # Of copies: what autograd keeps is never written to, however often a step or another rank's buffers follow.
        mean, variance = self.mean.clone(), self.variance.clone()
        rows = F.batch_norm(rows, mean, variance, self.weight, self.bias, training, MOMENTUM, self.eps)
        if training:
            with torch.no_grad():
                self.mean.copy_(mean)
                self.variance.copy_(variance)
        return frames.unpack(rows)


class FrameGroupNorm(FrameNorm):
    """Group normalisation (Wu and He 2018) with one group: over all channels of all real frames of a recording."""

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        x = x.to(torch.promote_types(torch.float32, x.dtype))
        count = frames.lengths.clamp(min=1)[:, None, None] * x.shape[2]
        mean = frames.clear(x).sum((1, 2), keepdim=True) / count
        x = x - mean
        variance = frames.clear(x).square().sum((1, 2), keepdim=True) / count
        return x * (variance + self.eps).rsqrt() * self.weight + self.bias


class FrameLayerNorm(FrameNorm):
    """Layer normalisation (Ba et al. 2016), which knows no other frames."""

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


NORMALISATIONS: dict[Normalisation, type[FrameNorm]] = {
    Normalisation.batch: FrameBatchNorm,
    Normalisation.layer: FrameLayerNorm,
    Normalisation.group: FrameGroupNorm,
}


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, before: int, after: int) -> Tensor:
    """Each channel's own convolution over time: y_t = sum_k w_k x_(t + k - before).

    As a convolution of pictures one pixel high, whose channels lie innermost in memory as they do here: on a CPU its
    forward pass takes a twentieth of that of torch's convolution over time, a step a quarter (16 x 100 x 144, kernel of
    31, one thread, AVX-512). There it is computed in the weights' float32, though 512 channels would take a
    third less in bfloat16 (144 as long): on a CPU with AVX512_BF16 some shapes, all of 16 channels or fewer, never
    return in it (torch 2.13, oneDNN).

    Args:
        x: (B, T, C), contiguous.
        weight: (C, 1, K).
        bias: (C,) or None.
        before: zeros before the first frame.
        after: zeros after the last; `before` and `after` are K - 1 together.

    Returns:
        (B, T, C), contiguous.
    """
    x = x if before == after else F.pad(x, (0, 0, before, after))
    picture = x.mT[:, :, None]
    padding = before if before == after else 0
    on_cpu = x.device.type == "cpu"
    with torch.autocast("cpu", enabled=False) if on_cpu else contextlib.nullcontext():
        picture = picture.to(weight.dtype) if on_cpu else picture
        return F.conv2d(picture, weight[:, :, None], bias, padding=(0, padding), groups=len(weight)).squeeze(2).mT


class ConvolutionModule(nn.Module):
    """The Conformer's convolution: W_2 swish(norm(depthwise(GLU(W_1 x)))) (Gulati et al. 2020, figure 2).

    The LayerNorm before it, and dropout after it, are those of its `nn.block.Residual`.

    Frames that are not real are set to zero before the depthwise convolution: the bias of W_1, or what a residual
    stream holds there, would otherwise reach the last real ones.

    Args:
        dim: D.
        kernel_size: frames that the depthwise convolution sees, odd.
        norm: over what.
        causal: it sees no frames to come: the current one is the last of the kernel's.
        bias: linear layers and the depthwise convolution have a bias.
    """

    def __init__(self, dim: int, kernel_size: int, norm: Normalisation, *, causal: bool = False, bias: bool = True):
        super().__init__()
        self.project_in = nn.Linear(dim, 2 * dim, bias=bias)
        self.depthwise = nn.Conv1d(dim, dim, kernel_size, groups=dim, bias=bias)
        self.norm = NORMALISATIONS[norm](dim)
        self.project_out = nn.Linear(dim, dim, bias=bias)
        self.before = kernel_size - 1 if causal else kernel_size // 2
        self.after = kernel_size - 1 - self.before

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        x = frames.clear(F.glu(self.project_in(x), dim=-1))
        x = depthwise(x, self.depthwise.weight, self.depthwise.bias, self.before, self.after)
        return self.project_out(F.silu(self.norm(x, frames)))


def subsampled(lengths: Lengths, factor: int) -> Lengths:
    """Frames that `Subsampling` makes of recordings of so many, (B,); 0 where one is too short."""
    for _ in range(factor.bit_length() - 1):
        lengths = (lengths - KERNEL) // STRIDE + 1
    return lengths.clip(0)


class Subsampling(nn.Module):
    """3x3 convolutions over time and frequency, each of which halves both, and a linear layer (section 2.1).

    Over time nothing is padded: a frame comes out for each stretch of 7 frames (of 15, with 8 as factor) that lies
    whole within the recording, one every `factor` frames. So no frame that comes out has seen a frame of padding.

    Args:
        bins: F.
        dim: D.
        factor: frames that one is made of: 2, 4, 8, ...
        channels: C, of the convolutions.
        bias: the linear layer has a bias; the convolutions always do.
    """

    def __init__(self, bins: int, dim: int, factor: int, channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.halvings = factor.bit_length() - 1
        inputs = [1] + [channels] * (self.halvings - 1)
        self.convolutions = nn.ModuleList()
        for count in inputs:
            convolution = nn.Conv2d(count, channels, KERNEL, STRIDE, padding=(0, KERNEL // 2))
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")  # He et al. 2015
            nn.init.zeros_(cast(Tensor, convolution.bias))
            # channels innermost in memory, which what comes out takes over
            convolution.weight.data = convolution.weight.data.contiguous(memory_format=torch.channels_last)
            self.convolutions.append(convolution)
            bins = (bins + 1) // STRIDE
        self.project = nn.Linear(bins * channels, dim, bias=bias)

    def output_frames(self, lengths: Lengths) -> Lengths:
        """Frames that come out of recordings of so many, (B,)."""
        return subsampled(lengths, STRIDE**self.halvings)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Subsample.

        Args:
            features: (B, T, F), padded at the end.
            lengths: real frames of each recording, (B,), int64.

        Returns:
            (B, T', D), T' at least 1, and how many of them are real, (B,), which may be 0.
        """
        least = (STRIDE**self.halvings - 1) * (KERNEL - 1) + 1
        x = F.pad(features, (0, 0, 0, max(0, least - features.shape[1])))
        x = x[..., None].permute(0, 3, 1, 2)  # its channel innermost, too, or what comes out would not be laid out so
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        return self.project(x.permute(0, 2, 3, 1).flatten(2)), self.output_frames(lengths)
