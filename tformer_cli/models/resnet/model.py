"""ResNet (He et al. 2016) and SE-ResNet (Hu et al. 2018): residual blocks of convolutions.

    y = relu(F(x) + W_s x),   F(x) = norm(W_3 relu(norm(W_2 relu(norm(W_1 x)))))       (He et al. 2016, eq. 2, figure 5)

A bottleneck block halves the resolution in its 3x3 convolution, not in the 1x1 convolution before it ("version 1.5").
`norm=group` gives the ResNet of hybrid Vision Transformers (Kolesnikov et al. 2020): 32 groups and standardised
weights.

Shapes: B images, C channels, h and w height and width of a feature map.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import Pooling
from tformer_cli.models.decoding import Memory
from tformer_cli.models.interfaces import PixelFilters
from tformer_cli.models.resnet import BatchOrGroup, ResNetConfig, ResNetStem
from tformer_cli.nn.attention import EVERYTHING

GROUPS = 32
"""Number of groups of group normalisation (Wu and He 2018)."""
EXPANSION = 4
"""Output channels of a bottleneck block divided by the channels of its 3x3 convolution."""


class StandardisedConvolution(nn.Conv2d):
    """A convolution with filters standardised to mean 0 and variance 1 (Qiao et al. 2019)."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve input (B, C, h, w) to (B, C', h', w')."""
        std, mean = torch.std_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return self._conv_forward(input, (self.weight - mean) / (std + 1e-5), self.bias)


class Convolution(nn.Module):
    """A convolution of odd kernel size without bias, and a normalisation."""

    def __init__(self, inputs: int, outputs: int, size: int, norm: BatchOrGroup, stride: int = 1) -> None:
        super().__init__()
        by_batch = norm is BatchOrGroup.batch
        layer = nn.Conv2d if by_batch else StandardisedConvolution
        self.convolution = layer(inputs, outputs, size, stride, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs) if by_batch else nn.GroupNorm(math.gcd(GROUPS, outputs), outputs)
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out", nonlinearity="relu")  # He et al. 2015
        # Channels innermost in memory; outputs then have this layout too. A step of a ResNet-18 on a CPU took 4 to 25 %
        # less time (one thread, AVX-512; images of 128 pixels, and of 32 with a quarter of the channels).
        weight = self.convolution.weight
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise x, (B, C, h, w), to (B, C', h / stride, w / stride)."""
        return self.norm(self.convolution(x))


class SqueezeExcitation(nn.Module):
    """Squeeze and excitation: each channel is multiplied by a factor that depends on all channels (Hu et al. 2018).

    s = sigmoid(W_2 relu(W_1 z)) with the means z of all channels (eq. 2-4).
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, max(1, channels // reduction))
        self.excite = nn.Linear(max(1, channels // reduction), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of x, (B, C, h, w)."""
        factors = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * factors[:, :, None, None]


class ResidualBlock(nn.Module):
    """The block relu(F(x) + x), with a projection of x if the shapes differ.

    The weight of the last normalisation is initialised with zeros, so that every block starts as its shortcut (Goyal et
    al. 2017, section 5.1).

    Args:
        inputs: input channels.
        dim: channels of the 3x3 convolutions.
        stride: stride of the first 3x3 convolution and of the projection.
        config: settings of the model.
    """

    def __init__(self, inputs: int, dim: int, stride: int, config: ResNetConfig) -> None:
        super().__init__()
        outputs = dim * EXPANSION if config.bottleneck else dim
        if config.bottleneck:
            shapes = [(inputs, dim, 1, 1), (dim, dim, 3, stride), (dim, outputs, 1, 1)]
        else:
            shapes = [(inputs, dim, 3, stride), (dim, dim, 3, 1)]
        convolutions = [Convolution(a, b, size, config.norm, by) for a, b, size, by in shapes]
        nn.init.zeros_(convolutions[-1].norm.weight)
        self.convolutions = nn.ModuleList(convolutions)
        self.squeeze = SqueezeExcitation(outputs, config.squeeze) if config.squeeze else nn.Identity()
        fits = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if fits else Convolution(inputs, outputs, 1, config.norm, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to x, (B, C, h, w); return (B, C', h / stride, w / stride)."""
        *first, last = self.convolutions
        branch = x
        for convolution in first:
            branch = F.relu(convolution(branch))
        return F.relu(self.squeeze(last(branch)) + self.shortcut(x))


class ResNet(nn.Module):
    """The network without a classifier.

    Args:
        config: settings of the model.
        channels: channels of the images.

    Attributes:
        width: channels of the last feature map.
    """

    def __init__(self, config: ResNetConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        large = config.stem is ResNetStem.large
        self.stem = Convolution(channels, config.dim, 7 if large else 3, config.norm, 2 if large else 1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        stages, self.width = [], config.dim
        for number, depth in enumerate(config.depths):
            dim, stage = config.dim * 2**number, []
            for index in range(depth):
                stride = 2 if number and not index else 1
                stage.append(ResidualBlock(self.width, dim, stride, config))
                self.width = dim * EXPANSION if config.bottleneck else dim
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks of all stages, in order."""
        return [block for stage in self.stages.children() for block in stage.children()]

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map of the last stage, (B, width, h, w), for images (B, C, S, S)."""
        return self.stages(self.pool(F.relu(self.stem(images))))

    def encode(self, images: Tensor) -> Memory:
        """Encode images, (B, C, S, S), float32: states are the cells of the last map, row by row, (B, h * w, width).

        The decoder of Xu et al. (2015) attends to the cells of such a feature map.
        """
        states = self(images).flatten(2).mT
        return Memory(states, EVERYTHING, torch.full(states.shape[:1], states.shape[1], device=states.device))

    def pixel_filters(self) -> PixelFilters:
        """Return the filters of the first convolution."""
        return PixelFilters(self.stem.convolution.weight, of_patches=False)

    def vector(self, images: Tensor, pooling: Pooling = Pooling.mean) -> Tensor:
        """Return the mean of the last feature map (He et al. 2016, section 3.3): (B, C, S, S) to (B, width)."""
        return self(images).mean((2, 3))


def build(config: ResNetConfig, sizes: Sizes) -> ResNet:
    """Return a network for images with the channels of the data."""
    return ResNet(config, sizes.channels)
