"""Series of points over a numeric axis: curves, scatter plots, calibration curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tformer_cli.draw.axes import (
    MARKER_PIXELS,
    Axis,
    error_bar,
    height_axis,
    inner_ticks,
    legend,
    marker,
    series_line,
    ticks,
)
from tformer_cli.draw.drawing import MARGIN, ROW_PIXELS, Drawing, Line, Point, Shape, Text
from tformer_cli.draw.lettering import notes_below, printable, shortened, text_width, title_lines, widest

PLOT_PIXELS, HEIGHT_PIXELS, SQUARE_PIXELS, MAX_POINTS, MAX_X_TICKS, LABEL_PIXELS = 400, 260, 340, 1000, 8, 140


@dataclass
class Curve:
    """A series of points.

    Attributes:
        name: name in the legend; empty: none.
        x: horizontal positions.
        y: values. Points that are not finite are left out.
        intervals: lower and upper end of the error bar of each point; empty: none.
        connected: whether lines connect the points, in their order.
        points: whether a marker is drawn at each point.
        labels: a text beside each point; empty: none.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    intervals: Sequence[tuple[float, float]] = ()
    connected: bool = True
    points: bool = True
    labels: Sequence[str] = ()


@dataclass
class Curves:
    """Series of points over a numeric axis.

    Attributes:
        curves: the series. Of more than 1,000 points of a series, 1,000 are drawn, evenly chosen.
        title: line above.
        x_title: label of the horizontal axis.
        y_title: label of the vertical axis, above it.
        identity: whether the line y = x is drawn; both axes are then equal.
        square: whether a unit is equally long on both axes.
        x_limits: positions that the horizontal axis contains, such as 0 and 1, besides those of the points.
        y_limits: values that the vertical axis contains, besides those of the points.
        note: a line below.
    """

    curves: Sequence[Curve]
    title: str = ""
    x_title: str = ""
    y_title: str = ""
    identity: bool = False
    square: bool = False
    x_limits: tuple[float, ...] = ()
    y_limits: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class _Plot:
    """The two axes of a plot."""

    x: Axis
    y: Axis

    def place(self, x: float, y: float) -> Point:
        """Return the pixels of a point."""
        return self.x.place(x), self.y.place(y)


@dataclass
class _Series:
    """The finite points of a curve, at most `MAX_POINTS` of them."""

    curve: Curve
    numbers: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        finite = np.isfinite(np.asarray(self.curve.x, np.float64)) & np.isfinite(np.asarray(self.curve.y, np.float64))
        numbers = finite.nonzero()[0]
        if len(numbers) > MAX_POINTS:
            numbers = numbers[np.linspace(0, len(numbers) - 1, MAX_POINTS).round().astype(int)]
        self.numbers = numbers.tolist()

    @property
    def places(self) -> list[Point]:
        """Return the points."""
        return [(float(self.curve.x[number]), float(self.curve.y[number])) for number in self.numbers]

    @property
    def size(self) -> int:
        """Return the size of a marker, in pixels."""
        return MARKER_PIXELS if len(self.numbers) <= 100 else 3 if len(self.numbers) <= 400 else 2

    def labels(self, x_axis: Axis) -> Iterator[tuple[int, float, str]]:
        """Yield the index among the points, the left end in pixels, and the text of each label."""
        for index, number in enumerate(self.numbers if self.curve.labels else ()):
            text = shortened(printable(self.curve.labels[number]), LABEL_PIXELS, small=True)
            if text:
                yield index, x_axis.place(float(self.curve.x[number])) + self.size + 3, text

    @property
    def ends(self) -> list[tuple[float, float]]:
        """Return the error bars of the points."""
        return [self.curve.intervals[number] for number in self.numbers] if self.curve.intervals else []


def layout(picture: Curves) -> Drawing:
    """Place the title, the legend, the axes and the points of all series."""
    series = [_Series(curve) for curve in picture.curves]
    x_axis, y_axis, size = _scales(picture, series)
    names = [printable(curve.name) for curve in picture.curves]
    left = MARGIN + 8 + widest(y_axis.labels)
    right = left + size[0]
    width = int(max(right + 16, left + text_width(printable(picture.x_title)) + MARGIN))
    across = replace(x_axis, first=left, last=right)
    ends = (x + text_width(label, small=True) for each in series for _, x, label in each.labels(across))
    width = max(width, math.ceil(max(ends, default=0)) + MARGIN)
    heading, top = title_lines(picture.title, MARGIN, width - 2 * MARGIN)
    key, height = _legend(picture.curves, names, top, width - 2 * MARGIN)
    top += height + (ROW_PIXELS if picture.y_title else 0) + 8
    bottom = top + size[1]
    plot = _Plot(across, replace(y_axis, first=bottom, last=top))
    shapes: list[Shape] = [*heading, *key, *_axes(picture, plot)]
    for number, each in enumerate(series):
        shapes += _points(plot, number, each)
    low = bottom + ROW_PIXELS * (1 + bool(picture.x_title)) + 4
    notes = [picture.note] if picture.note else []
    most = max((len(curve.x) for curve in picture.curves), default=0)
    if most > MAX_POINTS:
        notes.append(f"Of {most:,} points of a series, at most {MAX_POINTS:,} are drawn, evenly chosen.")
    below, height = notes_below(notes, MARGIN, low, width - 2 * MARGIN)
    return Drawing(width, int(low + height + 6), [*shapes, *below], printable(picture.title) or "chart")


def _scales(picture: Curves, series: Sequence[_Series]) -> tuple[Axis, Axis, tuple[float, float]]:
    """Return both axes without their places, and the width and the height of the area between them."""
    across = [x for each in series for x, _ in each.places] + list(picture.x_limits)
    heights = [y for each in series for _, y in each.places] + list(picture.y_limits)
    heights += [end for each in series for ends in each.ends for end in ends]
    if picture.identity:
        across = heights = across + heights
    if picture.identity or picture.square:
        axes = (Axis(ticks(across), 0, 1), Axis(ticks(heights), 0, 1))
        spreads = [axis.ticks[-1] - axis.ticks[0] for axis in axes]
        return *axes, (SQUARE_PIXELS * spreads[0] / max(spreads), SQUARE_PIXELS * spreads[1] / max(spreads))
    x_ticks = inner_ticks(across, MAX_X_TICKS)
    low, high = min([*across, x_ticks[0]]), max([*across, x_ticks[-1]])
    pad = 0.02 * (high - low)
    return Axis(x_ticks, 0, 1, (low - pad, high + pad)), Axis(ticks(heights), 0, 1), (PLOT_PIXELS, HEIGHT_PIXELS)


def _legend(curves: Sequence[Curve], names: Sequence[str], top: float, width: float) -> tuple[list[Shape], int]:
    """Return the legend; none if only one series is there and has no name."""
    if not any(names):
        return [], 0
    lines, markers = [curve.connected for curve in curves], [curve.points for curve in curves]
    return legend(names, MARGIN, top, width, lines, markers)


def _axes(picture: Curves, plot: _Plot) -> Iterator[Shape]:
    """Yield the lines, values and labels of both axes, and the identity line."""
    left, right, top, bottom = plot.x.first, plot.x.last, plot.y.last, plot.y.first
    yield from height_axis(plot.y, left, right)
    for tick, label in zip(plot.x.ticks, plot.x.labels, strict=True):
        x = plot.x.place(tick)
        yield from (Line(((x, top), (x, bottom)), "grid"), Line(((x, bottom), (x, bottom + 4)), "muted"))
        yield Text((x, bottom + ROW_PIXELS / 2 + 3), label, "middle", colour="muted")
    yield Line(((left, bottom), (right, bottom)), "muted")
    if picture.y_title:
        yield Text((MARGIN, top - ROW_PIXELS / 2 - 4), printable(picture.y_title), colour="muted")
    if picture.x_title:
        place = ((left + right) / 2, bottom + 1.5 * ROW_PIXELS + 4)
        yield Text(place, printable(picture.x_title), "middle", colour="muted")
    if picture.identity:
        low = max(plot.x.ticks[0], plot.y.ticks[0])
        high = min(plot.x.ticks[-1], plot.y.ticks[-1])
        yield Line((plot.place(low, low), plot.place(high, high)), "muted", 1, (4, 4))


def _points(plot: _Plot, number: int, series: _Series) -> Iterator[Shape]:
    """Yield the lines, error bars, markers and labels of a series."""
    curve, places = series.curve, [plot.place(x, y) for x, y in series.places]
    if curve.connected and len(places) > 1:
        yield series_line(number, places)
    for (x, _), ends in zip(places, series.ends, strict=False):
        if all(map(math.isfinite, ends)):
            yield from error_bar(number, x, *map(plot.y.place, ends))
    if curve.points:
        yield from (marker(number, place, series.size) for place in places)
    for index, x, label in series.labels(plot.x):
        yield Text((x, places[index][1]), label, small=True)
