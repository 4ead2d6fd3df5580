"""The convolutions of the Conformer over the frames of recordings (Gulati et al. 2020, sections 2.1 and 2.2).

Convolutions and the statistics of normalisations ignore frames after the end of a recording. A recording therefore has
the same outputs alone and in a padded batch.

Shapes: B recordings, T frames of the longest, F features per frame, C channels, D model width, N real frames of all
recordings.
"""

from __future__ import annotations

import contextlib
from typing import ClassVar, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.schema import Normalisation
from tformer_cli.nn.padding import real_positions

Lengths = TypeVar("Lengths", Tensor, np.ndarray)

KERNEL, STRIDE = 3, 2
"""Kernel size and stride of convolutions that halve the number of frames."""
MOMENTUM = 0.1
"""Weight of a batch's statistics in the update of the running ones (Ioffe and Szegedy 2015; torch's default)."""


class Frames:
    """The real frames of a padded batch; made once per batch and shared by all blocks.

    Args:
        lengths: number of real frames of each recording, (B,), int64.
        size: number of frames T.

    Attributes:
        real: whether each frame is real, (B, T, 1), bool.
        indices: indices of the real frames among all B * T frames, (N,) int64; None: all are real.
    """

    def __init__(self, lengths: Tensor, size: int) -> None:
        self.lengths = lengths
        self.real = real_positions(lengths, size)[..., None]
        indices = self.real.flatten().nonzero().squeeze(1)
        self.indices = None if len(indices) == self.real.numel() else indices

    def clear(self, x: Tensor) -> Tensor:
        """Return x, (B, T, C), with padding set to zero."""
        return x if self.indices is None else x.masked_fill(~self.real, 0)

    def pack(self, x: Tensor) -> Tensor:
        """Return the real frames of x, (B, T, C), as (N, C)."""
        x = x.flatten(0, 1)
        return x if self.indices is None else _Pack.apply(x, self.indices)

    def unpack(self, rows: Tensor) -> Tensor:
        """Invert `pack`, with zeros as padding: (N, C) to (B, T, C)."""
        if self.indices is not None:
            empty = rows.new_zeros(self.real.numel(), rows.shape[1])
            rows = empty.index_copy(0, self.indices, rows)
        return rows.unflatten(0, self.real.shape[:2])


class _Pack(torch.autograd.Function):
    """Selection of rows by distinct indices. The gradients are copied; `index_select` would add them row by row."""

    @staticmethod
    def forward(ctx, x: Tensor, indices: Tensor) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.size = len(x)
        return x.index_select(0, indices)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = grad_outputs
        (indices,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.size, gradient.shape[1]).index_copy_(0, indices, gradient), None


class FrameNorm(nn.Module):
    """A normalisation with learned weights and biases of channels, which ignores padding."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """Normalise x, (B, T, C)."""
        raise NotImplementedError


class FrameBatchNorm(FrameNorm):
    """Batch normalisation over the real frames of all recordings (Ioffe and Szegedy 2015).

    Training uses the statistics of the batch and updates the running ones, which evaluation uses. Statistics are
    float32. A batch of a single frame has no variance, and is normalised with the running statistics.
    """

    averaged_buffers: ClassVar = frozenset({"mean", "variance"})

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__(dim, eps)
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """Normalise x, (B, T, C); padding becomes 0."""
        rows = frames.pack(x)
        training = self.training and len(rows) > 1
        # Copies, so that tensors saved by autograd are not overwritten by later updates of the buffers.
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
        """Normalise x, (B, T, C)."""
        x = x.to(torch.promote_types(torch.float32, x.dtype))
        count = frames.lengths.clamp(min=1)[:, None, None] * x.shape[2]
        mean = frames.clear(x).sum((1, 2), keepdim=True) / count
        x = x - mean
        variance = frames.clear(x).square().sum((1, 2), keepdim=True) / count
        return x * (variance + self.eps).rsqrt() * self.weight + self.bias


class FrameLayerNorm(FrameNorm):
    """Layer normalisation (Ba et al. 2016) of each frame."""

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """Normalise x, (B, T, C)."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


NORMALISATIONS: dict[Normalisation, type[FrameNorm]] = {
    Normalisation.batch: FrameBatchNorm,
    Normalisation.layer: FrameLayerNorm,
    Normalisation.group: FrameGroupNorm,
}


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, before: int, after: int) -> Tensor:
    """Convolve each channel over time: y_t = sum_k w_k x_(t + k - before).

    It is computed as a convolution of images one pixel high with channels innermost in memory: on a CPU its forward
    pass takes a twentieth of the time of torch's convolution over time, and a step a quarter (16 x 100 x 144, kernel of
    31, one thread, AVX-512). On a CPU it is computed in the weights' float32, although 512 channels would take a third
    less in bfloat16 (144 as long): with AVX512_BF16 the bfloat16 kernel never returns for some shapes, all of 16
    channels or fewer (torch 2.13, oneDNN).

    Args:
        x: (B, T, C), contiguous.
        weight: (C, 1, K).
        bias: (C,) or None.
        before: number of zeros before the first frame.
        after: number of zeros after the last frame; `before` + `after` is K - 1.

    Returns:
        (B, T, C), contiguous.
    """
    x = x if before == after else F.pad(x, (0, 0, before, after))
    image = x.mT[:, :, None]
    padding = before if before == after else 0
    on_cpu = x.device.type == "cpu"
    with torch.autocast("cpu", enabled=False) if on_cpu else contextlib.nullcontext():
        image = image.to(weight.dtype) if on_cpu else image
        return F.conv2d(image, weight[:, :, None], bias, padding=(0, padding), groups=len(weight)).squeeze(2).mT


class ConvolutionModule(nn.Module):
    """The convolution module of the Conformer: W_2 swish(norm(depthwise(GLU(W_1 x)))) (Gulati et al. 2020, figure 2).

    The LayerNorm before it and the dropout after it are part of `nn.block.Residual`.

    Padding is set to zero before the depthwise convolution. Otherwise the bias of W_1 and the hidden states of padding
    would influence the last real frames.

    Args:
        dim: width D.
        kernel_size: kernel size of the depthwise convolution in frames, odd.
        norm: kind of normalisation.
        causal: whether the kernel ends at the current frame, so that later frames have no influence.
        bias: whether linear layers and the depthwise convolution have a bias.
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
        """Convolve x, (B, T, D)."""
        x = frames.clear(F.glu(self.project_in(x), dim=-1))
        x = depthwise(x, self.depthwise.weight, self.depthwise.bias, self.before, self.after)
        return self.project_out(F.silu(self.norm(x, frames)))


def subsampled(lengths: Lengths, factor: int) -> Lengths:
    """Return the numbers of output frames of `Subsampling` for numbers of input frames, (B,); 0 if too few."""
    for _ in range(factor.bit_length() - 1):
        lengths = (lengths - KERNEL) // STRIDE + 1
    return lengths.clip(0)


def receptive_field(factor: int) -> int:
    """Return the number of input frames that an output frame of `Subsampling` depends on."""
    return (factor - 1) * (KERNEL - 1) + 1


class Subsampling(nn.Module):
    """3x3 convolutions over time and frequency with stride 2, and a linear layer (section 2.1).

    There is no padding over time: with a factor of 4 an output frame depends on 7 input frames (15 with a factor of 8),
    and exists only if all of them lie within the recording. Output frames therefore do not depend on padding.

    Args:
        bins: number of features F of an input frame.
        dim: width D of an output frame.
        factor: ratio of input to output frames: 2, 4, 8, ...
        channels: channels C of the convolutions.
        bias: whether the linear layer has a bias; the convolutions always have one.
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
            # Channels innermost in memory: outputs then have this layout too.
            convolution.weight.data = convolution.weight.data.contiguous(memory_format=torch.channels_last)
            self.convolutions.append(convolution)
            bins = (bins + 1) // STRIDE
        self.project = nn.Linear(bins * channels, dim, bias=bias)

    def output_frames(self, lengths: Lengths) -> Lengths:
        """Return the numbers of output frames for numbers of input frames, (B,)."""
        return subsampled(lengths, STRIDE**self.halvings)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Subsample features.

        Args:
            features: (B, T, F), padded at the end.
            lengths: real frames of each recording, (B,), int64.

        Returns:
            Frames (B, T', D) with T' at least 1, and the number of real ones of each recording, (B,), which may be 0.
        """
        x = F.pad(features, (0, 0, 0, max(0, receptive_field(STRIDE**self.halvings) - features.shape[1])))
        x = x[..., None].permute(0, 3, 1, 2)  # its channel innermost too, which the layout of outputs needs
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        return self.project(x.permute(0, 2, 3, 1).flatten(2)), self.output_frames(lengths)
