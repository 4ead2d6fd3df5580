"""Augmentation of batches of images, on the device of the batch.

The augmentation of an image is a function of (seed, epoch, sample). It does not depend on the other images of the
batch, the size of their common canvas, or the number of workers, ranks and micro-batches, to the last bit. See
docs/augmentation.md for each setting and its source.

B images, C channels, H and W height and width of the canvas, R and S height and width of the model's input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import AugmentConfig, Crop, ImageDataConfig
from tformer_cli.data.core.device import to_device
from tformer_cli.data.core.uniforms import numbers, sequences, uniforms
from tformer_cli.data.image import colour
from tformer_cli.data.image.colour import COLOUR_OPERATIONS, Operation
from tformer_cli.data.image.geometry import center, fill, rectangle, resample, window

__all__ = ["Augmentation", "Stream", "blend", "center", "denormalise", "draw_blends", "normalise", "uniforms"]

Stream = IntEnum(
    "Stream", "crop flip rotation scale brightness contrast saturation hue operations erase noise mix", start=0
)
"""Streams of random numbers, one for each purpose, so that no setting changes the draws of another.

Other modules use streams from 32 on.
"""

JITTER = {
    Stream.brightness: colour.brightness, Stream.contrast: colour.contrast, Stream.saturation: colour.saturation
}  # fmt: skip
"""Colour changes in the order in which they are applied; the streams have the names of the settings."""

TRIES = 10
"""Number of crops that a resized crop tries before it takes the largest one in the centre."""
STRONGEST = 30
"""Magnitude M of RandAugment at which an operation has its full strength."""
TURN, SHEAR, TRANSLATION = math.radians(30), 0.3, 150 / 331
"""Full strengths of RandAugment's geometric operations; the last is a share of R and S (Cubuk et al. 2019, table 6)."""
ERASED_AREA, ERASED_ASPECT = (0.02, 0.33), (0.3, 3.3)
"""Limits of the share of the image's area, and of the aspect ratio (height over width), of an erased rectangle."""
QUANTILES = 4096
"""Number of steps in the table of a Beta distribution."""

Draw = Callable[[int, int], Tensor]
"""A function that returns the random numbers of a batch: (count, stream) to (B, count)."""


def normalise(pixels: Tensor, data: ImageDataConfig) -> Tensor:
    """Subtract the mean and divide by the standard deviation.

    Args:
        pixels: (B, C, R, S), uint8 levels, or float32 in [0, 1].
        data: mean and standard deviation, as shares of the brightest level.

    Returns:
        (B, C, R, S), float32.
    """
    images = _shares(pixels) if pixels.dtype == torch.uint8 else pixels
    return (images - _channels(data.mean, images)).div_(_channels(data.std, images))


def denormalise(images: Tensor, data: ImageDataConfig) -> Tensor:
    """Invert `normalise`: (B, C, R, S), float32, as shares of the brightest level."""
    return images * _channels(data.std, images) + _channels(data.mean, images)


def _shares(pixels: Tensor) -> Tensor:
    """Convert levels, uint8, to shares of the brightest level, float32."""
    return pixels.float().div_(255)


def _channels(values: list[float], images: Tensor) -> Tensor:
    """Return values for each channel, or a value for all channels, as (C or 1, 1, 1)."""
    return to_device(torch.tensor(values), images.device).view(-1, 1, 1)


class Augmentation:
    """The augmentation of training images.

    The order is: crop, flip, rotation and scale, and RandAugment's geometric operations in one resampling, or without
    resampling if images are shifted by whole pixels; brightness, contrast, saturation, hue; RandAugment's colour
    operations in the drawn order; random erasing; normalisation. Pixels outside the image have the mean colour, which
    is 0 after normalisation.

    Args:
        config: settings of the augmentation.
        data: size, mean and standard deviation of images.
        seed: seed of the run.
    """

    def __init__(self, config: AugmentConfig, data: ImageDataConfig, seed: int) -> None:
        self.config, self.data, self.seed = config, data, seed

    @torch.no_grad()
    def __call__(self, pixels: Tensor, sizes: Tensor, samples: Tensor, epoch: int) -> Tensor:
        """Augment a batch.

        Args:
            pixels: (B, C, H, W), uint8; images of different sizes, each in the upper left corner of its canvas.
            sizes: their heights and widths, (B, 2), int64; on the CPU, to avoid a synchronisation with the device.
            samples: their indices in the data, (B,), int64; on the CPU, like `sizes`.
            epoch: counts from 0.

        Returns:
            (B, C, R, S), float32, normalised.
        """
        sizes, samples = sizes.cpu(), samples.cpu()
        draw = partial(uniforms, self.seed, epoch, samples)
        drawn = draw(2 * self.config.operations, Stream.operations)
        operations = (drawn[:, ::2] * len(Operation)).long()
        strengths = torch.where(drawn[:, 1::2] < 0.5, -1, 1) * (self.config.magnitude / STRONGEST)
        images = self._geometry(pixels, sizes, draw, operations, strengths)
        images = self._colour(images, draw)
        for index in range(self.config.operations):
            for operation in COLOUR_OPERATIONS:
                rows = (operations[:, index] == operation).nonzero()[:, 0]
                if len(rows):
                    strength = to_device(strengths[rows, index, None, None, None], images.device)
                    rows = to_device(rows, images.device)
                    images[rows] = colour.operate(operation, images[rows], strength)
        if self.config.erase:
            self._erase(images, samples, draw, epoch)
        return normalise(images, self.data)

    def _geometry(self, pixels: Tensor, sizes: Tensor, draw: Draw, operations: Tensor, strengths: Tensor) -> Tensor:
        """Return the geometrically transformed images, (B, C, R, S), float32 in [0, 1]."""
        config, shape, mean = self.config, self.data.height_width, _channels(self.data.mean, pixels)
        size = torch.tensor(shape)
        flip = draw(1, Stream.flip)[:, 0] < config.flip
        if config.crop is Crop.resized:
            corners, extents = _part(sizes, draw(4 * TRIES, Stream.crop).double(), config, shape)
        else:
            padding = config.padding if config.crop is Crop.padded else 0
            shift = (draw(2, Stream.crop) * (2 * padding + 1)).long() - padding
            corners, extents = (sizes - size) // 2 + shift, size.expand_as(sizes)
            if not (config.rotation or config.scale or config.operations):
                cropped, beyond = window(pixels, sizes, corners, flip, shape)
                return fill(_shares(cropped), beyond, mean) if padding else _shares(cropped)
        extents = extents.double()
        matrices = _maps(torch.diag_embed(extents / size).flip(1, 2), (corners + (extents - 1) / 2).flip(1))
        matrices[:, 0, 0] *= torch.where(flip, -1, 1)
        turn = (2 * draw(1, Stream.rotation)[:, 0].double() - 1) * math.radians(config.rotation)
        ratio = torch.exp((1 - 2 * draw(1, Stream.scale).double()) * math.log1p(config.scale))
        matrices = matrices @ _maps(_rotations(turn) * ratio[:, None])
        for index in range(config.operations):
            matrices = matrices @ _operations(operations[:, index], strengths[:, index].double(), shape)
        return resample(pixels, sizes, matrices, shape, mean)

    def _colour(self, images: Tensor, draw: Draw) -> Tensor:
        for stream, change in JITTER.items():
            if limit := getattr(self.config, stream.name):
                low = max(0.0, 1 - limit)
                factor = low + (1 + limit - low) * draw(1, stream)
                images = change(images, to_device(factor[:, :, None, None], images.device))
        if self.config.hue:
            turn = (2 * draw(1, Stream.hue) - 1) * self.config.hue
            images = colour.hue(images, to_device(turn[:, :, None, None], images.device))
        return images

    def _erase(self, images: Tensor, samples: Tensor, draw: Draw, epoch: int) -> None:
        """Erase a random rectangle in place: each of its pixels gets a random colour (Zhong et al. 2020, algorithm 1).

        The share of the area is uniform, and so is the logarithm of the aspect ratio among those that fit, so nothing
        is rejected. The aspect ratio is relative to that of the image.
        """
        size, (low, high) = self.data.height_width, ERASED_AREA
        chance, area, aspect, row, column = draw(5, Stream.erase).double().unbind(1)
        area = low + (high - low) * area
        flattest, highest = area.clamp(min=ERASED_ASPECT[0]).log(), (1 / area).clamp(max=ERASED_ASPECT[1]).log()
        aspect = torch.exp(flattest + (highest - flattest) * aspect)
        height, width = (
            (side * (area * by).sqrt()).round().clamp(1, side)
            for side, by in zip(size, (aspect, 1 / aspect), strict=True)
        )
        top, left = (row * (size[0] - height + 1)).floor(), (column * (size[1] - width + 1)).floor()
        height *= chance < self.config.erase
        erased = rectangle(to_device(torch.stack((top, left, height, width), 1).long(), images.device), size)
        picture, y, x = erased.nonzero(as_tuple=True)
        keys = to_device(sequences(self.seed, epoch, samples, Stream.noise), images.device)[picture]
        for channel in range(images.shape[1]):
            images[picture, channel, y, x] = numbers(keys, (channel * size[0] + y) * size[1] + x)


def _part(sizes: Tensor, drawn: Tensor, config: AugmentConfig, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Draw a crop of each image with random area and aspect ratio (Szegedy et al. 2015, section 6, as in torchvision).

    It is the first of `TRIES` crops that fits. If none fits, it is the largest central crop with an allowed aspect
    ratio.

    Args:
        sizes: heights and widths, (B, 2), int64.
        drawn: random numbers, (B, 4 TRIES), float64.
        config: the smallest area and the largest aspect ratio, relative to that of `shape`.
        shape: R and S.

    Returns:
        Upper left corners and extents in whole pixels, (B, 2), int64 each.
    """
    image_sizes = sizes[:, None]  # (B, 1, 2)
    area, aspect, *position = drawn.unflatten(1, (4, TRIES)).unbind(1)
    area = (config.area_low + (1 - config.area_low) * area) * sizes.prod(1, keepdim=True)
    upright = shape[0] / shape[1]
    aspect = torch.exp((2 * aspect - 1) * math.log(config.aspect)) * upright
    extents = torch.stack((area * aspect, area / aspect), 2).sqrt().round().long()
    corners = (torch.stack(position, 2) * (image_sizes - extents + 1)).long()
    limits = torch.tensor((upright, 1 / upright), dtype=torch.float64) * config.aspect
    largest = image_sizes.minimum((image_sizes.flip(2) * limits).round().long().clamp(min=1))
    extents, corners = torch.cat((extents, largest), 1), torch.cat((corners, (image_sizes - largest) // 2), 1)
    first = ((extents > 0) & (extents <= image_sizes)).all(2).byte().argmax(1)
    rows = torch.arange(len(sizes))
    return corners[rows, first], extents[rows, first]


def _maps(linear: Tensor, shift: Tensor | None = None) -> Tensor:
    """Return the maps of (x, y, 1), (B, 3, 3), float64, from their linear parts, (B, 2, 2), and shifts, (B, 2)."""
    matrices = torch.eye(3, dtype=torch.float64).repeat(len(linear), 1, 1)
    matrices[:, :2, :2] = linear
    if shift is not None:
        matrices[:, :2, 2] = shift
    return matrices


def _rotations(turn: Tensor) -> Tensor:
    """Return rotations, (B, 2, 2), by angles in radians, (B,)."""
    cosine, sine = turn.cos(), turn.sin()
    return torch.stack((cosine, -sine, sine, cosine), 1).unflatten(1, (2, 2))


def _operations(operations: Tensor, strengths: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the maps, (B, 3, 3), of RandAugment's operations, (B,); the identity for operations on colours."""

    def strength(operation: Operation) -> Tensor:
        return torch.where(operations == operation, strengths, 0.0)

    linear = _rotations(strength(Operation.rotate) * TURN)
    linear[:, 0, 1] += strength(Operation.shear_x) * SHEAR
    linear[:, 1, 0] += strength(Operation.shear_y) * SHEAR
    shift = torch.stack((strength(Operation.translate_x), strength(Operation.translate_y)), 1)
    return _maps(linear, shift * TRANSLATION * torch.tensor(shape[::-1]))


def draw_blends(
    config: AugmentConfig, size: tuple[int, int], samples: Tensor, epoch: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Draw how images are blended with their partners.

    They are blended by mixup (Zhang et al. 2018, eq. 1) or CutMix (Yun et al. 2019, eqs. 1 and 2). If both are on, each
    is applied half of the time.

    Args:
        config: alphas; if both are 0, partners have no weight.
        size: R and S.
        samples: indices of the images in the data, (B,), int64.
        epoch: counts from 0.
        seed: seed of the run.

    Returns:
        The weight of each image in its target, (B,), float32, and the rectangle that its partner covers: top, left,
        height and width, (B, 4), int64, with height and width 0 for mixup. With CutMix the weight is the share of
        pixels.
    """
    sides = torch.tensor(size)
    chance, drawn, row, column = uniforms(seed, epoch, samples, 4, Stream.mix).double().unbind(1)
    shares = beta_quantile(config.mixup, drawn).float() if config.mixup else torch.ones(len(samples))
    boxes = torch.zeros(len(samples), 4, dtype=torch.int64)
    if config.cutmix:
        cut = chance < (0.5 if config.mixup else 1)
        half = (sides * (1 - beta_quantile(config.cutmix, drawn)).sqrt()[:, None]).long() // 2
        middle = (sides * torch.stack((row, column), 1)).long()
        corners, ends = ((middle + sign * half).clamp(min=0).minimum(sides) for sign in (-1, 1))
        extents = ends - corners
        shares = torch.where(cut, 1 - extents.prod(1) / sides.prod(), shares)
        boxes = torch.where(cut[:, None], torch.cat((corners, extents), 1), boxes)
    return shares, boxes


def blend(images: Tensor, partners: Tensor, shares: Tensor, boxes: Tensor) -> Tensor:
    """Return blended images, (B, C, R, S).

    Args:
        images: (B, C, R, S), augmented and normalised.
        partners: a partner for each, with the shape of `images`.
        shares: weight of each image where its rectangle is empty, (B,), float32.
        boxes: the rectangle that the partner covers: top, left, height and width, (B, 4), int64.
    """
    covered = rectangle(boxes, (images.shape[2], images.shape[3]))
    is_cut = (boxes[:, 2:] > 0).all(1)
    weight = torch.where(is_cut[:, None, None], (~covered).float(), shares[:, None, None])[:, None]
    return images * weight + partners * (1 - weight)


def beta_quantile(alpha: float, probability: Tensor) -> Tensor:
    """Return quantiles of Beta(alpha, alpha), interpolated in a table.

    Quantiles of uniform random numbers have the Beta distribution.

    Args:
        alpha: more than 0.
        probability: float64 in [0, 1), of any shape.

    Returns:
        Numbers in [0, 1] with the shape of `probability`, float64.
    """
    cumulative, powers = _beta_table(alpha)
    lower = torch.minimum(probability, 1 - probability)  # the distribution is symmetric
    after = torch.searchsorted(cumulative, lower).clamp(1, QUANTILES)
    before = after - 1
    part = (lower - cumulative[before]) / (cumulative[after] - cumulative[before]).clamp(min=1e-300)
    quantile = (powers[before] + part * (powers[after] - powers[before])) ** (1 / min(alpha, 1.0))
    return torch.where(probability < 0.5, quantile, 1 - quantile)


@lru_cache
def _beta_table(alpha: float) -> tuple[Tensor, Tensor]:
    """Return the lower half of Beta(alpha, alpha)'s distribution function, and the x^p of its steps, float64.

    p is min(alpha, 1). The density of x has a pole at 0 if alpha is less than 1, and that of x^p has none.
    """
    power = min(alpha, 1.0)
    powers = torch.linspace(0, 0.5**power, QUANTILES + 1, dtype=torch.float64)
    x = powers ** (1 / power)
    density = torch.exp(torch.xlogy(alpha - power, 2 * x) + torch.xlogy(alpha - 1, 2 * (1 - x)))
    cumulative = functional.pad(torch.cumulative_trapezoid(density), (1, 0))
    return cumulative / (2 * cumulative[-1]), powers
