"""Where pixels go, beside numpy's slices and Pillow's maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from tformer_cli.data.image.augment import _maps, _operations
from tformer_cli.data.image.colour import Operation
from tformer_cli.data.image.geometry import center, rectangle, resample, window

BLACK = torch.zeros(1, 1, 1)


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def smooth(size: int) -> np.ndarray:
    """(size, size, 3), uint8."""
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    waves = [np.sin(x / 7 + y / 11), np.cos(x / 9), np.sin(y / 8 - x / 13)]
    return np.round(127 + 120 * np.stack(waves, 2)).astype(np.uint8)


def test_the_middle_is_that_of_slices():
    sizes = torch.tensor([[9, 14], [8, 8], [13, 9], [8, 15]])
    pixels = noise(4, 3, 13, 15)
    centers = center(pixels, sizes, (8, 8))
    assert centers.dtype == torch.uint8
    for row, picture, (height, width) in zip(centers, pixels, sizes.tolist(), strict=True):
        top, left = (height - 8) // 2, (width - 8) // 2
        assert torch.equal(row, picture[:, top : top + 8, left : left + 8])


def test_windows_beyond_the_picture_see_its_nearest_pixel_and_say_so():
    pixels, sizes = noise(2, 1, 9, 9), torch.tensor([[6, 6], [6, 7]])  # what is beyond 6 and 7 must not be seen
    corners, flip = torch.tensor([[-2, 3], [4, -1]]), torch.tensor([False, True])
    windows, beyond = window(pixels, sizes, corners, flip, (6, 6))
    for i, (height, width) in enumerate(sizes.tolist()):
        rim = np.pad(pixels[i, 0, :height, :width].numpy(), 9, mode="edge")
        there = np.pad(np.zeros((height, width), dtype=bool), 9, constant_values=True)
        top, left = (corners[i] + 9).tolist()
        expected = [array[top : top + 6, left : left + 6] for array in (rim, there)]
        if flip[i]:
            expected = [array[:, ::-1] for array in expected]
        assert np.array_equal(windows[i, 0], expected[0]) and np.array_equal(beyond[i], expected[1])


@pytest.mark.parametrize("name", ["identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
@pytest.mark.parametrize("strength", [-1.0, 0.3])
def test_geometric_operations_do_as_pillow_does(name, strength):
    size, image = 65, Image.fromarray(smooth(65))
    operation = torch.tensor([Operation[name]])
    matrix = _maps(torch.eye(2)[None], torch.full((1, 2), (size - 1) / 2))
    matrix = matrix @ _operations(operation, torch.tensor([strength], dtype=torch.float64), (size, size))
    pixels = torch.from_numpy(smooth(65)).permute(2, 0, 1)[None]
    transformed = (
        resample(pixels, torch.tensor([[size, size]]), matrix, (size, size), BLACK)[0].permute(1, 2, 0).numpy() * 255
    )
    if name == "rotate":
        expected = image.rotate(30 * strength, Image.Resampling.BILINEAR)
    else:
        middle, by = size / 2, {"x": strength * 0.3, "y": strength * 0.3}
        far = strength * 150 / 331 * size
        data = {
            "identity": (1, 0, 0, 0, 1, 0),
            "shear_x": (1, by["x"], -by["x"] * middle, 0, 1, 0),
            "shear_y": (1, 0, 0, by["y"], 1, -by["y"] * middle),
            "translate_x": (1, 0, far, 0, 1, 0),
            "translate_y": (1, 0, 0, 0, 1, far),
        }[name]
        expected = image.transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    off = np.abs(transformed - np.array(expected))
    off[np.array(expected).sum(2) == 0] = 0  # at the rim one or the other is outside
    assert np.quantile(off, 0.97) < 1.5 and (transformed.sum(2) == 0).mean() == pytest.approx(
        (np.array(expected).sum(2) == 0).mean(), abs=0.02
    )


def test_what_is_shrunk_is_averaged():
    """Noise, shown at a quarter: every 4 x 4 pixels' mean, which Pillow's box filter gives, not single ones."""
    pixels = noise(1, 1, 128, 128)
    matrix = _maps(4 * torch.eye(2)[None], torch.full((1, 2), 63.5))
    shrunk = resample(pixels, torch.tensor([[128, 128]]), matrix, (32, 32), BLACK)[0, 0].numpy() * 255
    expected = np.array(Image.fromarray(pixels[0, 0].numpy()).resize((32, 32), Image.Resampling.BOX), dtype=float)
    assert np.corrcoef(shrunk.ravel(), expected.ravel())[0, 1] > 0.95
    assert shrunk.std() == pytest.approx(expected.std(), rel=0.15)


def test_the_canvas_changes_nothing():
    """Not its size, not what is in it beside the picture: maps that read beyond all rims."""
    picture, turn = noise(1, 3, 37, 45), math.radians(20)
    linear = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)
    matrix, sizes = _maps(1.37 * linear[None], torch.tensor([[22.0, 18.0]])), torch.tensor([[37, 45]])
    alone = resample(picture, sizes, matrix, (33, 33), BLACK + 0.25)
    for height, width in ((37, 46), (64, 65), (200, 130)):
        canvas = noise(1, 3, height, width)
        canvas[:, :, :37, :45] = picture
        assert torch.equal(resample(canvas, sizes, matrix, (33, 33), BLACK + 0.25), alone)
    assert (alone == 0.25).all(1).any()


def test_rectangles_cover_their_bounds():
    masks = rectangle(torch.tensor([[1, 2, 3, 4], [0, 0, 0, 5], [6, 6, 2, 2]]), (8, 8))
    assert masks.sum((1, 2)).tolist() == [12, 0, 4]
    assert masks[0, 1:4, 2:6].all() and masks[2, 6:, 6:].all()
