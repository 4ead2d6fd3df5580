"""Operations on the colours of pictures, and the fourteen operations of RandAugment.

Each takes pictures (B, C, S, S), float32 in [0, 1], of which C is 3 (red, green, blue) or 1 (grey), and gives as many;
what differs by picture is (B, 1, 1, 1). What a picture becomes does not depend on the others of its batch, to the last
bit: sums over pixels are of whole levels (0 to 255), so that the order of adding does not matter.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""

Operation = IntEnum(
    "Operation",
    "identity autocontrast equalize rotate solarize color posterize contrast brightness sharpness "
    "shear_x shear_y translate_x translate_y",
    start=0,
)
"""The operations of RandAugment (Cubuk et al. 2020, section 3.1), of which the geometric ones are in `augment.py`."""

COLOUR_OPERATIONS = (
    Operation.autocontrast, Operation.equalize, Operation.solarize, Operation.color, Operation.posterize,
    Operation.contrast, Operation.brightness, Operation.sharpness,
)  # fmt: skip


def operate(operation: Operation, images: Tensor, strength: Tensor) -> Tensor:
    """One of the colour operations of RandAugment.

    Args:
        operation: of `COLOUR_OPERATIONS`.
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
    """The whole level, 0 to 255, that is nearest; float32."""
    return (images * 255).round()


def grey(images: Tensor) -> Tensor:
    """Luminance, (B, 1, S, S)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue


def blend(images: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    """`images` where the factor is 1, `others` where it is 0; between them, and beyond."""
    return (others + factor * (images - others)).clamp(0, 1)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Times the factor."""
    return (images * factor).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean luminance of the picture, or towards it."""
    pixels = images.shape[2] * images.shape[3]
    mean = levels(grey(images)).sum((1, 2, 3), keepdim=True, dtype=torch.int64).float() / (255 * pixels)
    return blend(images, mean, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Away from grey, or towards it; a grey picture stays as it is."""
    return images if images.shape[1] == 1 else blend(images, grey(images), factor)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the circle of colours by a share of it; a grey picture stays as it is.

    In hue, chroma and value a channel is value - chroma * min(k, 4 - k, 1), at least 0, with k = n + 6 hue modulo 6 and
    n = 5, 3, 1 for red, green, blue (Smith 1978, written without cases).
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    divisor = chroma.clamp(min=1e-8)
    sixths = torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4)
    sixths = torch.where(value == red, (green - blue) / divisor, sixths)
    places = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1)
    k = (places + (sixths[:, None] + 6 * turn)).remainder(6)
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the smoothed picture, or towards it: 3 x 3 means whose middle counts five times; the rim stays."""
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    squares = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = (squares + 4 * images[:, :, 1:-1, 1:-1]) / 13
    return blend(images, smooth, factor)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert what is at least `threshold`, a level between 0 and 255."""
    return torch.where(levels(images) >= threshold, 1 - images, images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep so many bits of the eight of a level."""
    step = torch.ldexp(torch.ones_like(bits), 8 - bits)
    return (levels(images) / step).floor() * step / 255


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel from its darkest to its brightest level to all levels."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-8), images)


def equalize(images: Tensor) -> Tensor:
    """Make all levels of a channel about equally frequent, as Pillow does."""
    found = levels(images).long().flatten(2)
    counts = found.new_zeros(*found.shape[:2], 256).scatter_add_(2, found, torch.ones_like(found))
    brightest = counts.gather(2, found.amax(2, keepdim=True))
    step = (found.shape[2] - brightest) // 255
    table = ((step // 2 + counts.cumsum(2) - counts) // step.clamp(min=1)).clamp(max=255)
    equal = (table.gather(2, found).float() / 255).view_as(images)
    return torch.where(step[..., None] > 0, equal, images)
