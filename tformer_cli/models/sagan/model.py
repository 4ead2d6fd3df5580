"""The generator and the discriminator of SAGAN (Zhang et al. 2019): residual blocks with self-attention.

The blocks follow Miyato et al. (2018, appendix B). The generator normalises with a gain and a shift for each label
(Dumoulin et al. 2017). The discriminator uses labels by projection (Miyato and Koyama 2018, eq. 4):

    D(x, y) = w^T phi(x) + b + y^T V phi(x),   phi: sum over all cells

Shapes: B images, C channels, h and w height and width of a map, H and W of an image, Z width of the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import height_width
from tformer_cli.models.sagan import GeneratorNorm, SAGANConfig, SpectralNorms
from tformer_cli.nn.feature_attention import FeatureMapAttention
from tformer_cli.nn.spectral_norm import spectrally_normalised

GROUPS, MOMENTUM, EPSILON = 8, 0.1, 1e-5
"""Groups of group normalisation, weight of a batch in the running statistics, and constant added to the variance."""

L = TypeVar("L", bound=nn.Module)
Prepare = Callable[[Any], Any]
"""A function that is applied to each layer with a weight: spectral normalisation, or the identity."""


def _identity(layer: L) -> L:
    return layer


def _innermost(layer: nn.Conv2d) -> nn.Conv2d:
    """Initialise a convolution after Glorot and Bengio (2010), with channels innermost in memory."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return layer


def _convolution(inputs: int, outputs: int, size: int, prepare: Prepare) -> nn.Conv2d:
    return prepare(_innermost(nn.Conv2d(inputs, outputs, size, padding=size // 2)))


class ConditionalNorm(nn.Module):
    """Batch or group normalisation with a gain and a shift for each label; they start at 1 and 0.

    All labels share the running statistics.

    Args:
        channels: channels C of the map.
        labels: number of labels; 0: one gain and one shift.
        norm: whether statistics are those of each channel over the batch, or of groups of channels of each image. The
            number of groups is the greatest common divisor of 8 and C.
    """

    def __init__(self, channels: int, labels: int, norm: GeneratorNorm) -> None:
        super().__init__()
        self.groups = math.gcd(GROUPS, channels) if norm is GeneratorNorm.group else 0
        self.gain, self.shift = (nn.Embedding(max(1, labels), channels) for _ in range(2))
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.shift.weight)
        if not self.groups:
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Normalise a map.

        Args:
            x: (B, C, h, w).
            labels: (B,), int64; zeros if there is one gain.
        """
        if self.groups:
            x = F.group_norm(x, self.groups, eps=EPSILON)
        else:
            x = F.batch_norm(
                x, self.running_mean, self.running_var, None, None, self.training, MOMENTUM, EPSILON  # pyright: ignore[reportArgumentType]  # buffers
            )  # fmt: skip
        gain, shift = (layer(labels).to(x.dtype)[:, :, None, None] for layer in (self.gain, self.shift))
        return torch.addcmul(shift, x, gain)


def _doubled(x: Tensor) -> Tensor:
    """Repeat each cell of a map (B, C, h, w) twice in both directions."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _widened(weight: Tensor) -> Tensor:
    """Return the sum of the four shifts of kernels (O, I, 3, 3) in (O, I, 4, 4)."""
    return sum(F.pad(weight, (left, 1 - left, top, 1 - top)) for left in (0, 1) for top in (0, 1))  # pyright: ignore[reportReturnType]


def convolve_doubled(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Return `layer(doubled(x))` for a convolution of size 3, in 4/9 of the products.

    Weights of the kernel that meet copies of the same cell are added first (Karras et al. 2018, released code).

    Args:
        x: (B, C, h, w).
        layer: a convolution from C to C' channels.

    Returns:
        (B, C', 2 h, 2 w).
    """
    weight = _widened(layer.weight.flip(2, 3)).transpose(0, 1)
    return F.conv_transpose2d(x, weight, layer.bias, stride=2, padding=1)


def convolve_halved(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Return `avg_pool2d(layer(x), 2)` for a convolution of size 3, in 4/9 of the products, as `convolve_doubled`."""
    return F.conv2d(x, _widened(layer.weight) / 4, layer.bias, stride=2, padding=1)


class UpBlock(nn.Module):
    """A residual block of the generator, which doubles height and width (Miyato et al. 2018, appendix B)."""

    def __init__(self, inputs: int, outputs: int, labels: int, norm: GeneratorNorm, prepare: Prepare) -> None:
        super().__init__()
        self.norms = nn.ModuleList(ConditionalNorm(channels, labels, norm) for channels in (inputs, outputs))
        self.first = _convolution(inputs, outputs, 3, prepare)
        self.second = _convolution(outputs, outputs, 3, prepare)
        self.shortcut = _convolution(inputs, outputs, 1, prepare)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Map x, (B, C, h, w), and labels (B,) to (B, C', 2 h, 2 w)."""
        branch = convolve_doubled(F.relu(self.norms[0](x, labels)), self.first)
        branch = self.second(F.relu(self.norms[1](branch, labels)))
        return branch + _doubled(self.shortcut(x))  # a convolution of size 1 gives the same before doubling as after it


class DownBlock(nn.Module):
    """A residual block of the discriminator (Miyato et al. 2018, appendix B).

    Args:
        inputs: input channels.
        outputs: output channels.
        halves: whether it halves height and width by averaging.
        first: whether it reads the image itself, without an activation.
        prepare: see `Prepare`.
    """

    def __init__(self, inputs: int, outputs: int, *, halves: bool, first: bool, prepare: Prepare) -> None:
        super().__init__()
        self.halves, self.reads_image = halves, first
        self.first = _convolution(inputs, outputs, 3, prepare)
        self.second = _convolution(outputs, outputs, 3, prepare)
        changes = halves or inputs != outputs
        self.shortcut = _convolution(inputs, outputs, 1, prepare) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map x, (B, C, h, w), to (B, C', h, w) or (B, C', h / 2, w / 2)."""
        branch = F.relu(self.first(x if self.reads_image else F.relu(x)))
        if self.halves:
            return convolve_halved(branch, self.second) + self.shortcut(F.avg_pool2d(x, 2))
        return self.second(branch) + self.shortcut(x)


class Generator(nn.Module):
    """The generator: noise and labels to images in [-1, 1].

    Args:
        config: settings of the model.
        sizes: channels and size of images, and the number of labels.
    """

    def __init__(self, config: SAGANConfig, sizes: Sizes) -> None:
        super().__init__()
        prepare = spectrally_normalised if config.spectral_norm is SpectralNorms.both else _identity
        channels, self.noise_dim = config.generator, config.noise_dim
        halved = 2 ** (len(channels) - 1)
        self.shape = (channels[0], *(side // halved for side in height_width(sizes.image_size)))
        first = nn.Linear(config.noise_dim, math.prod(self.shape))
        nn.init.xavier_uniform_(first.weight)
        nn.init.zeros_(first.bias)
        self.project = prepare(first)
        self.blocks = nn.ModuleList(
            UpBlock(inputs, outputs, sizes.labels, config.norm, prepare)
            for inputs, outputs in zip(channels, channels[1:], strict=False)
        )
        self.attention_block = config.generator_attention
        self.attention = FeatureMapAttention(channels[self.attention_block], prepare) if config.attention else None
        self.norm = ConditionalNorm(channels[-1], 0, config.norm)
        self.output = _convolution(channels[-1], sizes.channels, 3, prepare)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate images.

        Args:
            noise: (B, Z), float32.
            labels: (B,), int64; None: the model has no labels.

        Returns:
            (B, C, H, W) in [-1, 1].
        """
        none = torch.zeros(len(noise), dtype=torch.int64, device=noise.device)
        x = self.project(noise).view(-1, *self.shape).contiguous(memory_format=torch.channels_last)
        for number, block in enumerate(self.blocks, 1):
            x = block(x, none if labels is None else labels)
            if self.attention is not None and number == self.attention_block:
                x = self.attention(x)
        return torch.tanh(self.output(F.relu(self.norm(x, none))).float())


class Discriminator(nn.Module):
    """The discriminator: images and labels to scores, which are higher for real images.

    Args:
        config: settings of the model.
        sizes: channels of images, and the number of labels.
    """

    def __init__(self, config: SAGANConfig, sizes: Sizes) -> None:
        super().__init__()
        normalised = config.spectral_norm is not SpectralNorms.none
        prepare = spectrally_normalised if normalised else _identity
        channels = [sizes.channels, *config.discriminator]
        self.blocks = nn.ModuleList(
            DownBlock(inputs, outputs, halves=number < config.halvings, first=not number, prepare=prepare)
            for number, (inputs, outputs) in enumerate(zip(channels, channels[1:], strict=False))
        )
        self.attention_block = config.discriminator_attention
        self.attention = FeatureMapAttention(channels[self.attention_block], prepare) if config.attention else None
        linear = nn.Linear(channels[-1], 1)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        self.output: nn.Linear = prepare(linear)
        self.projection = prepare(nn.Embedding(sizes.labels, channels[-1])) if sizes.labels else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score images.

        Args:
            images: (B, C, H, W), normalised to [-1, 1].
            labels: (B,), int64; None: the model has no labels.

        Returns:
            (B,), float32.
        """
        x = images.contiguous(memory_format=torch.channels_last)
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if self.attention is not None and number == self.attention_block:
                x = self.attention(x)
        features = F.relu(x).float().sum((2, 3))
        weight = self.output.weight
        if self.projection is not None and labels is not None:
            weight = weight + self.projection(labels)
        return (features * weight).sum(1) + self.output.bias


class SAGAN(nn.Module):
    """A generator and a discriminator, which are trained against each other.

    Args:
        config: settings of the model.
        sizes: channels and size of images, and the number of labels; 0: the model has no labels.
    """

    def __init__(self, config: SAGANConfig, sizes: Sizes) -> None:
        super().__init__()
        self.config, self.labels = config, sizes.labels
        self.generator = Generator(config, sizes)
        self.discriminator = Discriminator(config, sizes)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate images: see `Generator.forward`."""
        return self.generator(noise, labels)


def build(config: SAGANConfig, sizes: Sizes) -> SAGAN:
    """Return both networks for the images and labels of the data."""
    return SAGAN(config, sizes)
