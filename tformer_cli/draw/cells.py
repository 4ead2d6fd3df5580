"""Matrices as coloured cells: their colours, their scale, and their reduction to a size that can be drawn.

A value of 0 is transparent and the highest one opaque, so that low values show the light or dark page behind them. A
scale with both signs is orange below 0 and blue above.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tformer_cli.draw.drawing import BLUE, FONT_PIXELS, ORANGE, Pixels, Rectangle, Shape, Text
from tformer_cli.draw.lettering import rounded, widest

BAR_PIXELS, MAX_BAR_PIXELS = 12, 200


def rgb(colour: str) -> tuple[int, int, int]:
    """Return the channels of a colour "#RRGGBB"."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


@dataclass(frozen=True)
class Scale:
    """The values at the two ends of a colour scale.

    Attributes:
        low: value without colour, or, if the scale is diverging, the lowest value.
        high: value of the full colour.
        diverging: whether 0 has no colour and negative values have another colour than positive ones.
        percent: whether values are shares; their labels are then in percent.
    """

    low: float
    high: float
    diverging: bool = False
    percent: bool = False

    def shares(self, values: np.ndarray) -> np.ndarray:
        """Return the position of values on the scale: from 0 to 1, or from -1 to 1 if it is diverging; NaN is 0."""
        if self.diverging:
            shares = values / max(abs(self.low), abs(self.high), 1e-12)
        else:
            shares = (values - self.low) / max(self.high - self.low, 1e-12)
        return np.nan_to_num(shares, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0 if self.diverging else 0.0, 1.0)

    def colours(self, values: np.ndarray) -> np.ndarray:
        """Return values, (rows, columns), as colours with opacity: (rows, columns, 4), uint8."""
        shares = self.shares(values)
        colours = np.empty((*shares.shape, 4), np.uint8)
        colours[..., :3] = np.where(shares[..., None] < 0, rgb(ORANGE), rgb(BLUE))
        colours[..., 3] = np.round(255 * np.abs(shares))
        return colours

    def label(self, value: float) -> str:
        """Return a value with three digits."""
        if self.percent:
            return f"{rounded(100 * value)} %"
        return rounded(value)

    def labels(self) -> list[tuple[float, str]]:
        """Return the labelled values of the scale: its ends, and 0 between them."""
        inner = [0.0] if self.diverging and self.low < 0 < self.high else []
        return [(value, self.label(value)) for value in (self.high, *inner, self.low)]

    def width(self) -> int:
        """Return the width of the drawn scale with its labels."""
        return BAR_PIXELS + 4 + widest(label for _, label in self.labels())

    def shapes(self, left: float, top: float, height: float) -> Iterator[Shape]:
        """Yield the scale as a bar, its highest value above, with labels to its right."""
        height = min(height, MAX_BAR_PIXELS)
        box = (left, top, left + BAR_PIXELS, top + height)
        yield Pixels(box, self.colours(np.linspace(self.high, self.low, 64)[:, None]), pixelated=False)
        yield Rectangle(box, outline="muted")
        spread = max(self.high - self.low, 1e-12)
        for value, label in self.labels():
            y = top + (self.high - value) / spread * height
            y = min(max(y, top + FONT_PIXELS / 2 - 2), top + height - FONT_PIXELS / 2 + 2)
            yield Text((left + BAR_PIXELS + 4, y), label)


def scale_for(
    matrices: Sequence[np.ndarray],
    limits: tuple[float, float] | None = None,
    *,
    diverging: bool = False,
    percent: bool = False,
) -> Scale:
    """Return the colour scale of some matrices: between the given limits, or up to the highest (absolute) value."""
    if limits:
        return Scale(*limits, diverging=diverging, percent=percent)
    highest = 0.0
    for matrix in matrices:
        finite = matrix[np.isfinite(matrix)]
        if finite.size:
            highest = max(highest, float(finite.max()), -float(finite.min()) if diverging else 0.0)
    highest = highest or 1.0
    return Scale(-highest if diverging else 0.0, highest, diverging=diverging, percent=percent)


def block_means(values: np.ndarray, most: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Average a matrix in blocks, so that at most `most` rows and columns remain.

    Returns:
        The means of the finite values of each block, float64, and the rows and columns of a block. (1, 1): unchanged.
    """
    tall, wide = (max(1, -(-size // most)) for size in values.shape)
    if (tall, wide) == (1, 1):
        return values.astype(np.float64), (1, 1)
    starts, rows = range(0, values.shape[1], wide), []
    for top in range(0, values.shape[0], tall):  # a row of blocks at a time, which bounds the memory
        part = values[top : top + tall].astype(np.float64)
        finite = np.isfinite(part)
        sums = np.add.reduceat(np.where(finite, part, 0).sum(0), starts)
        counts = np.add.reduceat(finite.sum(0), starts)
        rows.append(np.where(counts, sums / np.maximum(counts, 1), np.nan))
    return np.stack(rows), (tall, wide)


def finite_note(matrices: Iterable[np.ndarray]) -> list[str]:
    """Return a note on the number of values that are not finite; an empty list if all are."""
    missing = sum(int(np.size(values) - np.isfinite(values).sum()) for values in matrices)
    return [f"{missing:,} {'values are' if missing > 1 else 'value is'} not finite."] if missing else []


def block_note(block: tuple[int, int], shape: Sequence[int]) -> list[str]:
    """Return a note that each cell is the mean of a block of a matrix; an empty list if cells are single values."""
    if block == (1, 1):
        return []
    return [f"Each cell is the mean of {block[0]} x {block[1]} of the {shape[0]:,} x {shape[1]:,} values."]
