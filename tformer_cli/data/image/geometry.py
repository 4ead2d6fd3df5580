"""Geometric operations on images: shifts by whole pixels, or a linear map with one resampling.

B images, C channels, H and W height and width of the canvas, R and S height and width of the output.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.data.core.device import to_device

SUBPIXELS = 256
"""Positions are rounded to this fraction of a pixel, see `resample`."""
IMAGES_AT_ONCE = 16
"""Number of images that are resampled at a time, so that they fit into the processor's cache."""


def center(pixels: Tensor, sizes: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop the centre of each image, without resampling.

    Args:
        pixels: (B, C, H, W), uint8; each image in the upper left corner.
        sizes: heights and widths of the images, (B, 2), int64, none less than `size`.
        size: R and S.

    Returns:
        (B, C, R, S), uint8.
    """
    sizes = sizes.cpu()
    return window(pixels, sizes, (sizes - torch.tensor(size)) // 2, torch.zeros(len(sizes), dtype=torch.bool), size)[0]


def window(
    pixels: Tensor, sizes: Tensor, corners: Tensor, flip: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Crop a rectangle of whole pixels of each image.

    Args:
        pixels: (B, C, H, W).
        sizes: heights and widths of the images, (B, 2), int64, on the CPU.
        corners: row and column of the upper left pixel, which may be outside, (B, 2), int64, on the CPU.
        flip: whether to mirror it left to right, (B,), bool, on the CPU.
        size: R and S.

    Returns:
        (B, C, R, S), padded with the nearest pixel of the image, and the mask of the padding, (B, R, S), bool.
    """
    rows, columns = (corners[:, axis, None] + torch.arange(side) for axis, side in enumerate(size))
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    nearest_rows, nearest_columns = (
        positions.clamp(min=0).minimum(sizes[:, axis, None] - 1) for axis, positions in enumerate((rows, columns))
    )
    beyond_rows = to_device(rows != nearest_rows, pixels.device)
    beyond_columns = to_device(columns != nearest_columns, pixels.device)
    nearest_rows, nearest_columns = (to_device(part, pixels.device) for part in (nearest_rows, nearest_columns))
    index = (nearest_rows[:, :, None] * pixels.shape[3] + nearest_columns[:, None]).flatten(1)
    cropped = pixels.flatten(2).gather(2, index[:, None].expand(-1, pixels.shape[1], -1))
    return cropped.unflatten(2, size), beyond_rows[:, :, None] | beyond_columns[:, None]


def resample(pixels: Tensor, sizes: Tensor, matrices: Tensor, size: tuple[int, int], outside: Tensor) -> Tensor:
    """Apply a linear map to each image with one bilinear resampling.

    If the map shrinks an image, several points per output pixel, at most 1.5 pixels apart, are read and averaged.
    Points are rounded to 1/256 pixel and the canvas is padded to powers of two. Float32 then represents them exactly,
    and the size of the canvas has no effect.

    Args:
        pixels: (B, C, H, W), uint8; each image in the upper left corner.
        sizes: heights and widths of the images, (B, 2), int64, on the CPU.
        matrices: (B, 3, 3), float64, on the CPU. They map (x, y, 1) of the output, in pixels from its centre, to that
            of the image, in pixels from the centre of its upper left pixel.
        size: R and S.
        outside: colour outside the image, in [0, 1], (C or 1, 1, 1).

    Returns:
        (B, C, R, S), float32 in [0, 1].
    """
    apart = matrices[:, 0, :2].hypot(matrices[:, 1, :2]).amax(1)  # distance in the image between adjacent output pixels
    finer = (apart / 1.5 - 1e-9).ceil().clamp(min=1).long()
    images = torch.empty(len(pixels), pixels.shape[1], *size, device=pixels.device)
    for times in finer.unique().tolist():
        for rows in (finer == times).nonzero()[:, 0].split(IMAGES_AT_ONCE):
            device_rows = to_device(rows, pixels.device)
            images[device_rows] = _bilinear(pixels[device_rows], sizes[rows], matrices[rows], size, outside, times)
    return images


def _positions(matrices: Tensor, size: tuple[int, int], times: int, axis: int) -> tuple[Tensor, Tensor]:
    """Return the x (axis 0) or y (axis 1) to which a map takes output points, in subpixels, as two summands.

    Returns:
        The summand that depends on the column, (B, 1, S * times), and the summand that depends on the row,
        (B, R * times, 1), float32.
    """
    rows, columns = ((torch.arange(side * times, dtype=torch.float64) + 0.5) / times - side / 2 for side in size)
    across, down, start = (SUBPIXELS * matrices[:, axis]).unbind(1)
    return (across[:, None] * columns + start[:, None]).float()[:, None], (down[:, None] * rows).float()[:, :, None]


def _bilinear(
    pixels: Tensor, sizes: Tensor, matrices: Tensor, size: tuple[int, int], outside: Tensor, times: int
) -> Tensor:
    """Resample images as `resample` does, with the mean of `times` x `times` points for each output pixel."""
    height, width = (1 << (side - 1).bit_length() for side in pixels.shape[2:])
    source = functional.pad(pixels, (0, width - pixels.shape[3], 0, height - pixels.shape[2])).float()
    grid = source.new_empty(len(pixels), size[0] * times, size[1] * times, 2)
    beyond = []
    for axis, side in enumerate((width, height)):
        across, down = _positions(matrices, size, times, axis)
        last = SUBPIXELS * (sizes[:, 1 - axis, None, None] - 1).float()
        lowest, highest = across.amin(2, True) + down.amin(1, True), across.amax(2, True) + down.amax(1, True)
        leaves = bool(((lowest < 1 - SUBPIXELS / 2) | (highest > last + SUBPIXELS / 2 - 1)).any())
        last, positions = to_device(last, pixels.device), to_device(across, pixels.device)
        if down.any():  # otherwise all are one row, or one column
            positions = positions + to_device(down, pixels.device)
        positions = positions.round()
        if leaves:
            beyond.append((positions < -SUBPIXELS / 2) | (positions > last + SUBPIXELS / 2))
        grid[..., axis] = positions.clamp_(min=0).minimum(last) * (2 / (SUBPIXELS * side)) + (1 / side - 1)
    resampled = functional.grid_sample(source, grid, mode="bilinear", align_corners=False).div_(255)
    for part in beyond:
        fill(resampled, part, outside)
    return functional.avg_pool2d(resampled, times) if times > 1 else resampled


def fill(images: Tensor, beyond: Tensor, outside: Tensor) -> Tensor:
    """Fill the pixels beyond the image with a colour, in place; `torch.where` takes twice as long on a CPU.

    Args:
        images: (B, C, R, S), float32, finite.
        beyond: (B, R or 1, S or 1), bool.
        outside: (C or 1, 1, 1).

    Returns:
        `images`.
    """
    weight = beyond[:, None].float()
    return images.mul_(1 - weight).add_(weight * outside)


def rectangle(bounds: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the mask of a rectangle.

    Args:
        bounds: top, left, height, width in pixels, (B, 4), int64; the mask is empty if height or width is 0.
        size: R and S.

    Returns:
        (B, R, S), bool.
    """
    top, left, height, width = bounds[:, :, None].unbind(1)
    down, across = (torch.arange(side, device=bounds.device) for side in size)
    rows, columns = (down >= top) & (down < top + height), (across >= left) & (across < left + width)
    return rows[:, :, None] & columns[:, None]
