"""Operations on colours beside Pillow's, which are independent of ours."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from tformer_cli.data.image import colour
from tformer_cli.data.image.colour import COLOUR_OPERATIONS, Operation

STRENGTHS = (-1.0, -0.3, 0.0, 0.3, 0.5, 1.0)  # a tenth of RandAugment's magnitudes -30, -9, 0, 9, 15, 30


def pictures(channels: int, seed: int = 0) -> np.ndarray:
    """Noise, noise of few levels, slopes and a single colour, (4, 24, 40, channels), uint8."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (24, 40, channels))
    few = random.integers(90, 130, (24, 40, channels))
    slopes = (
        np.linspace(20, 220, 24)[:, None, None] * np.linspace(0.3, 1, 40)[:, None] * np.array([1, 0.7, 0.4])[:channels]
    )
    return np.stack((noise, few, slopes, np.full_like(noise, 77))).astype(np.uint8)


def ours(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def theirs(operation: Operation, image: Image.Image, strength: float) -> Image.Image:
    """With the ranges of AutoAugment's table 6."""
    factor = 1 + 0.9 * strength
    match operation:
        case Operation.autocontrast:
            return ImageOps.autocontrast(image)
        case Operation.equalize:
            return ImageOps.equalize(image)
        case Operation.solarize:
            return ImageOps.solarize(image, 255 - 255 * abs(strength))
        case Operation.posterize:
            return ImageOps.posterize(image, 8 - round(4 * abs(strength)))
        case Operation.color:
            return ImageEnhance.Color(image).enhance(factor)
        case Operation.contrast:
            return ImageEnhance.Contrast(image).enhance(factor)
        case Operation.brightness:
            return ImageEnhance.Brightness(image).enhance(factor)
        case Operation.sharpness:
            return ImageEnhance.Sharpness(image).enhance(factor)
    raise AssertionError(operation)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", COLOUR_OPERATIONS, ids=lambda operation: operation.name)
def test_operations_do_as_pillow_does(operation, channels):
    images = pictures(channels)
    for strength in STRENGTHS:
        changed = colour.operate(operation, ours(images), torch.full((len(images), 1, 1, 1), strength))
        assert changed.dtype == torch.float32 and changed.min() >= 0 and changed.max() <= 1
        for row, image in zip(colour.levels(changed), images, strict=True):
            expected = np.array(theirs(operation, Image.fromarray(image.squeeze()), strength)).reshape(image.shape)
            off = np.abs(row.permute(1, 2, 0).numpy() - expected)
            exact = operation in (Operation.equalize, Operation.posterize, Operation.solarize)
            assert off.max() <= (0 if exact else 2)  # Pillow cuts off what is behind the point, here and there


def test_geometric_operations_are_not_of_colours():
    with pytest.raises(ValueError, match="rotate"):
        colour.operate(Operation.rotate, torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 1, 1))


def test_there_are_the_fourteen_of_the_paper():
    assert len(Operation) == 14 and len(COLOUR_OPERATIONS) == 8


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.25, 0.5])
def test_hue_turns_as_colorsys_does(turn):
    images = pictures(3)
    changed = colour.hue(ours(images), torch.full((4, 1, 1, 1), turn)).permute(0, 2, 3, 1).reshape(-1, 3)
    for row, pixel in list(zip(changed.tolist(), (images / 255).reshape(-1, 3), strict=True))[::7]:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        assert row == pytest.approx(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), abs=1e-5)


def test_grey_pictures_have_no_saturation_and_no_hue():
    images, half = ours(pictures(1)), torch.full((4, 1, 1, 1), 0.5)
    assert torch.equal(colour.saturation(images, half), images) and torch.equal(colour.hue(images, half), images)
