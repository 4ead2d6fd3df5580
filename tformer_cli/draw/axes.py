"""Parts that several charts share: round numbers along an axis, and the lines, markers and legend of series."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tformer_cli.draw.drawing import COLOURS, ROW_PIXELS, Circle, Line, Point, Polygon, Shape, Text
from tformer_cli.draw.lettering import text_width

MARKERS = ("circle", "square", "triangle", "diamond", "cross")
DASHES = ((), (6, 4), (2, 3), (8, 3, 2, 3))
MARKER_PIXELS, WIDTH_PIXELS, KEY_PIXELS, MAX_TICKS = 5, 2, 32, 7
BEYOND = 0.01
"""Share of the range of values that may lie beyond the outermost ticks: for -0.1 to 100, ticks begin at 0, not -20."""


@dataclass(frozen=True)
class Axis:
    """A numeric axis.

    Attributes:
        ticks: the labelled values.
        first: pixel of the lower end.
        last: pixel of the upper end.
        ends: values at the two ends; empty: the first and the last tick.
    """

    ticks: Sequence[float]
    first: float
    last: float
    ends: tuple[float, ...] = ()

    def place(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high = self.ends or (self.ticks[0], self.ticks[-1])
        return self.first + (value - low) / (high - low) * (self.last - self.first)

    @property
    def labels(self) -> list[str]:
        """Return the ticks as text."""
        return labels(self.ticks)


def ticks(values: Sequence[float]) -> list[float]:
    """Return at most `MAX_TICKS` round numbers that enclose all finite values up to a share `BEYOND` of their range."""
    low, high = _range(values)

    def enclosing(step: float) -> tuple[int, int]:
        beyond = BEYOND * (high - low) / step + 1e-9
        first = math.floor(low / step + beyond)
        return first, max(math.ceil(high / step - beyond), first + 1)

    return _multiples(enclosing, (high - low) / MAX_TICKS, MAX_TICKS)


def inner_ticks(values: Sequence[float], most: int) -> list[float]:
    """Return at most `most` round numbers between the lowest and the highest finite value, both included.

    They are whole numbers if all values are.
    """
    low, high = _range(values)
    whole = all(float(value).is_integer() for value in values if math.isfinite(value))

    def enclosed(step: float) -> tuple[int, int]:
        return math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)

    inner = _multiples(enclosed, max((high - low) / most, float(whole)), most)
    return inner if len(inner) > 1 else ticks(values)


def _multiples(ends: Callable[[float], tuple[int, int]], least: float, most: int) -> list[float]:
    """Return the multiples of the smallest round distance, from about `least` on, that gives at most `most` of them.

    `ends` returns the first and the last multiple of a distance.
    """
    unit = 10.0 ** math.floor(math.log10(least))
    steps = (size * unit * 10.0**power for power in itertools.count() for size in (1, 2, 5))
    ranges = ((step, *ends(step)) for step in steps if step >= least * (1 - 1e-9))
    step, first, last = next((step, first, last) for step, first, last in ranges if last - first < most)
    return [number * step for number in range(first, last + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and the highest finite value; a range without extent is widened."""
    finite = [float(value) for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    return low, max(high, low + abs(high) / 100, low + 1e-6)


def labels(ticks: Sequence[float]) -> list[str]:
    """Return ticks as text, with the decimals in which neighbours differ."""
    if len(ticks) == 1:
        return [f"{ticks[0]:g}"]
    power = math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9)
    decimals = max(0, -power)
    if decimals > 4:
        digits = max(3, math.floor(math.log10(max(map(abs, ticks)))) - power + 1)
        return [f"{tick:.{digits}g}" for tick in ticks]
    return [f"{tick:,.{decimals}f}" if abs(tick) >= 10_000 else f"{tick:.{decimals}f}" for tick in ticks]


def colour_of(number: int) -> str:
    """Return the colour of a series."""
    return COLOURS[number % len(COLOURS)]


def series_line(number: int, points: Sequence[Point]) -> Line:
    """Return the line of a series."""
    return Line(tuple(points), colour_of(number), WIDTH_PIXELS, DASHES[number % len(DASHES)])


def error_bar(number: int, x: float, low: float, high: float) -> Iterator[Line]:
    """Yield the error bar of a value of a series between two heights."""
    for begin, end in (((x, low), (x, high)), ((x - 4, low), (x + 4, low)), ((x - 4, high), (x + 4, high))):
        yield Line((begin, end), colour_of(number))


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
    names: Sequence[str], left: float, top: float, width: float, lines: Sequence[bool], markers: Sequence[bool]
) -> tuple[list[Shape], int]:
    """Return the marker, the line and the name of each series, side by side where they fit; and their height.

    Args:
        names: names of the series.
        left: left end.
        top: upper end.
        width: width that is available.
        lines: whether each series has a line.
        markers: whether each series has markers.
    """
    shapes: list[Shape] = []
    x, row = left, 0
    for number, name in enumerate(names):
        length = KEY_PIXELS + text_width(name)
        if x > left and x + length > left + width:
            x, row = left, row + 1
        y = top + ROW_PIXELS * (row + 0.5) + 2
        shapes += [series_line(number, [(x, y), (x + 24, y)])] if lines[number] else []
        shapes += [marker(number, (x + 12, y))] if markers[number] else []
        shapes.append(Text((x + KEY_PIXELS, y), name))
        x += length + 16
    return shapes, (ROW_PIXELS * (row + 1) + 4) * bool(names)


def height_axis(axis: Axis, left: float, right: float) -> Iterator[Shape]:
    """Yield the horizontal lines of a chart with their values to the left."""
    for tick, label in zip(axis.ticks, axis.labels, strict=True):
        y = axis.place(tick)
        yield from (Line(((left, y), (right, y)), "grid"), Text((left - 6, y), label, "end", colour="muted"))
