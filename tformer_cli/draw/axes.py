"""What charts share: round numbers along an axis, and the lines, markers and legend of series."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tformer_cli.draw.drawing import COLOURS, ROW_PIXELS, Circle, Line, Point, Polygon, Shape, Text
from tformer_cli.draw.lettering import text_width

MARKERS = ("circle", "square", "triangle", "diamond", "cross")
DASHES = ((), (6, 4), (2, 3), (8, 3, 2, 3))
MARKER_PIXELS, WIDTH_PIXELS, KEY_PIXELS, MAX_TICKS = 5, 2, 32, 6


@dataclass(frozen=True)
class Axis:
    """A numeric axis: its labelled values, and the pixels of the first and the last of them."""

    ticks: Sequence[float]
    first: float
    last: float

    def place(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.first + (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0]) * (self.last - self.first)

    @property
    def labels(self) -> list[str]:
        """Return the ticks as text, with the decimals in which neighbours differ."""
        return labels(self.ticks)


def ticks(values: Sequence[float]) -> list[float]:
    """Return at most `MAX_TICKS` + 1 round numbers that enclose all finite values."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    spread = max(high - low, abs(high) / 100, 1e-6)
    unit = 10.0 ** math.floor(math.log10(spread / MAX_TICKS))
    step = next(size * unit for size in (1, 2, 5, 10, 20) if spread / (size * unit) <= MAX_TICKS - 1)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def labels(ticks: Sequence[float]) -> list[str]:
    """Return ticks as text, with the decimals in which neighbours differ."""
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    if decimals > 4:
        return [f"{tick:.3g}" for tick in ticks]
    return [f"{tick:,.{decimals}f}" if abs(tick) >= 10_000 else f"{tick:.{decimals}f}" for tick in ticks]


def colour_of(number: int) -> str:
    """Return the colour of a series."""
    return COLOURS[number % len(COLOURS)]


def series_line(number: int, begin: Point, end: Point) -> Line:
    """Return a line of a series."""
    return Line(begin, end, colour_of(number), WIDTH_PIXELS, DASHES[number % len(DASHES)])


def error_bar(number: int, x: float, low: float, high: float) -> Iterator[Line]:
    """Yield the error bar of a value of a series between two heights."""
    for begin, end in (((x, low), (x, high)), ((x - 4, low), (x + 4, low)), ((x - 4, high), (x + 4, high))):
        yield Line(begin, end, colour_of(number))


def marker(number: int, place: Point, size: float = MARKER_PIXELS) -> Polygon | Circle:
    """Return the marker of a series at a point."""
    (x, y), colour = place, colour_of(number)
    match MARKERS[number % len(MARKERS)]:
        case "circle":
            return Circle(place, size, colour)
        case "square":
            corners = [(-size, -size), (size, -size), (size, size), (-size, size)]
        case "triangle":
            corners = [(0, -size - 1), (size + 1, size), (-size - 1, size)]
        case "diamond":
            corners = [(0, -size - 2), (size + 2, 0), (0, size + 2), (-size - 2, 0)]
        case _:
            arm, end = size // 3, size + 1
            corners = [
                (-arm, -end), (arm, -end), (arm, -arm), (end, -arm), (end, arm), (arm, arm),
                (arm, end), (-arm, end), (-arm, arm), (-end, arm), (-end, -arm), (-arm, -arm),
            ]  # fmt: skip
    return Polygon(tuple((x + right, y + down) for right, down in corners), colour)


def legend(
    names: Sequence[str], left: float, top: float, width: float, *, lines: bool = True, markers: bool = True
) -> tuple[list[Shape], int]:
    """Return the marker, the line and the name of each series, side by side where they fit; and their height."""
    shapes: list[Shape] = []
    x, row = left, 0
    for number, name in enumerate(names):
        length = KEY_PIXELS + text_width(name)
        if x > left and x + length > left + width:
            x, row = left, row + 1
        y = top + ROW_PIXELS * (row + 0.5) + 2
        shapes += [series_line(number, (x, y), (x + 24, y))] if lines else []
        shapes += [marker(number, (x + 12, y))] if markers else []
        shapes.append(Text((x + KEY_PIXELS, y), name))
        x += length + 16
    return shapes, (ROW_PIXELS * (row + 1) + 4) * bool(names)


def height_axis(axis: Axis, left: float, right: float) -> Iterator[Shape]:
    """Yield the horizontal lines of a chart with their values to the left."""
    for tick, label in zip(axis.ticks, axis.labels, strict=True):
        y = axis.place(tick)
        yield from (Line((left, y), (right, y), "grid"), Text((left - 6, y), label, "end", colour="muted"))
