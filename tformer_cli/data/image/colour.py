"""Operations on the colours of images, and the fourteen operations of RandAugment.

Each takes and returns images (B, C, S, S), float32 in [0, 1], where C is 3 (red, green, blue) or 1 (grey). Parameters
of each image are (B, 1, 1, 1). The result for an image does not depend on the others of its batch, to the last bit:
sums over pixels are of integer levels (0 to 255), so that the order of summation does not matter.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from tformer_cli.data.core.device import to_device

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luminance (ITU-R BT.601)."""

Operation = IntEnum(
    "Operation",
    "identity autocontrast equalize rotate solarize color posterize contrast brightness sharpness "
    "shear_x shear_y translate_x translate_y",
    start=0,
)
"""The operations of RandAugment (Cubuk et al. 2020, section 3.1); the geometric ones are in `augment.py`."""

COLOUR_OPERATIONS = (
    Operation.autocontrast, Operation.equalize, Operation.solarize, Operation.color, Operation.posterize,
    Operation.contrast, Operation.brightness, Operation.sharpness,
)  # fmt: skip


def operate(operation: Operation, images: Tensor, strength: Tensor) -> Tensor:
    """Apply one of the colour operations of RandAugment.

    Args:
        operation: one of `COLOUR_OPERATIONS`.
        images: (B, C, S, S), in [0, 1].
        strength: M / 30 of the paper with a sign, (B, 1, 1, 1), in [-1, 1]. The ranges are those of AutoAugment
            (Cubuk et al. 2019, table 6): factors 0.1 to 1.9, 8 to 4 bits, thresholds 255 to 0.

    Raises:
        ValueError: if the operation does not change colours.
    """
    factor, size = 1 + 0.9 * strength, strength.abs()
    match operation:
        case Operation.autocontrast:
            return autocontrast(images)
        case Operation.equalize:
            return equalize(images)
        case Operation.solarize:
            return solarize(images, 255 * (1 - size))
        case Operation.color:
            return saturation(images, factor)
        case Operation.posterize:
            return posterize(images, 8 - (4 * size).round())
        case Operation.contrast:
            return contrast(images, factor)
        case Operation.brightness:
            return brightness(images, factor)
        case Operation.sharpness:
            return sharpness(images, factor)
        case _:
            raise ValueError(f"{operation!r} does not change colours")


def levels(images: Tensor) -> Tensor:
    """Round to the nearest levels, 0 to 255, float32."""
    return (images * 255).round()


def grey(images: Tensor) -> Tensor:
    """Return the luminance, (B, 1, S, S)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue


def blend(images: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    """Interpolate, or extrapolate, between `others` (factor 0) and `images` (factor 1)."""
    return (others + factor * (images - others)).clamp(0, 1)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by the factor."""
    return (images * factor).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move pixels away from the mean luminance of the image (factor over 1), or towards it."""
    pixels = images.shape[2] * images.shape[3]
    mean = levels(grey(images)).sum((1, 2, 3), keepdim=True, dtype=torch.int64).float() / (255 * pixels)
    return blend(images, mean, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move pixels away from grey (factor over 1), or towards it; grey images are unchanged."""
    return images if images.shape[1] == 1 else blend(images, grey(images), factor)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Rotate the hues by a share of the circle of colours; grey images are unchanged.

    A channel is value - chroma * max(0, min(k, 4 - k, 1)) with k = (n + 6 hue) mod 6 and n = 5, 3, 1 for red, green,
    blue (Smith 1978, written without cases).
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    divisor = chroma.clamp(min=1e-8)
    sixths = torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4)
    sixths = torch.where(value == red, (green - blue) / divisor, sixths)
    offsets = to_device(torch.tensor([5.0, 3.0, 1.0]), images.device).view(1, 3, 1, 1)
    k = (offsets + (sixths[:, None] + 6 * turn)).remainder(6)
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Move pixels away from the smoothed image (factor over 1), or towards it.

    It is smoothed by weighted means of 3 x 3 pixels, in which the centre has the weight 5; border pixels are unchanged.
    """
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    squares = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = (squares + 4 * images[:, :, 1:-1, 1:-1]) / 13
    return blend(images, smooth, factor)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert pixels whose level, 0 to 255, is at least `threshold`."""
    return torch.where(levels(images) >= threshold, 1 - images, images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the given number of the eight bits of each level."""
    step = torch.ldexp(torch.ones_like(bits), 8 - bits)
    return (levels(images) / step).floor() * step / 255


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel from its darkest to its brightest level to all levels."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-8), images)


def equalize(images: Tensor) -> Tensor:
    """Make all levels of a channel about equally frequent, as Pillow does."""
    pixel_levels = levels(images).long().flatten(2)
    counts = pixel_levels.new_zeros(*pixel_levels.shape[:2], 256).scatter_add_(
        2, pixel_levels, torch.ones_like(pixel_levels)
    )
    brightest = counts.gather(2, pixel_levels.amax(2, keepdim=True))
    step = (pixel_levels.shape[2] - brightest) // 255
    table = ((step // 2 + counts.cumsum(2) - counts) // step.clamp(min=1)).clamp(max=255)
    equal = (table.gather(2, pixel_levels).float() / 255).view_as(images)
    return torch.where(step[..., None] > 0, equal, images)
