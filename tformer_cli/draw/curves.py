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
from tformer_cli.draw.drawing import MARGIN, ROW_PIXELS, SMALL_PIXELS, Box, Drawing, Line, Point, Shape, Text
from tformer_cli.draw.lettering import notes_below, printable, shortened, text_width, title_lines, widest

PLOT_PIXELS, HEIGHT_PIXELS, SQUARE_PIXELS, MAX_POINTS, MAX_X_TICKS, LABEL_PIXELS = 400, 260, 340, 1000, 8, 140
LABEL_PLACES = ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1))
"""Where a label may be: on the right or left of its point, and above or below it, in heights of the text."""


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
        labels: a text beside each point; empty: none. A text that finds no free place is left out.
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

    @property
    def labels(self) -> list[str]:
        """Return the text beside each point, in the same order; empty: none."""
        texts = [self.curve.labels[number] for number in self.numbers] if self.curve.labels else []
        return [shortened(printable(text), LABEL_PIXELS, small=True) for text in texts]

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
    labels = _labels(_Plot(across, replace(y_axis, first=size[1], last=0)), series)
    ends = (label.place[0] + text_width(label.text, small=True) for label in labels)
    width = max(width, math.ceil(max(ends, default=0)) + MARGIN)
    heading, top = title_lines(picture.title, MARGIN, width - 2 * MARGIN)
    key, height = _legend(picture.curves, names, top, width - 2 * MARGIN)
    top += height + (ROW_PIXELS if picture.y_title else 0) + 8
    bottom = top + size[1]
    plot = _Plot(across, replace(y_axis, first=bottom, last=top))
    shapes: list[Shape] = [*heading, *key, *_axes(picture, plot)]
    for number, each in enumerate(series):
        shapes += _points(plot, number, each)
    shapes += [replace(label, place=(label.place[0], label.place[1] + top)) for label in labels]
    low = bottom + ROW_PIXELS * (1 + bool(picture.x_title)) + 4
    notes = [picture.note] if picture.note else []
    if hidden := sum(map(bool, (text for each in series for text in each.labels))) - len(labels):
        notes.append(f"{hidden:,} label{' has' if hidden == 1 else 's have'} no room.")
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
    places = {x for x in across if math.isfinite(x)}
    if len(places) == 1:  # such as the only layer of a model
        (x,) = places
        return Axis([x], 0, 1, (x - 1, x + 1)), Axis(ticks(heights), 0, 1), (PLOT_PIXELS, HEIGHT_PIXELS)
    x_ticks = inner_ticks(across, MAX_X_TICKS)
    low, high = min([*across, x_ticks[0]]), max([*across, x_ticks[-1]])
    pad = 0.02 * (high - low)
    return Axis(x_ticks, 0, 1, (low - pad, high + pad)), Axis(ticks(heights), 0, 1), (PLOT_PIXELS, HEIGHT_PIXELS)


def _legend(curves: Sequence[Curve], names: Sequence[str], top: float, width: float) -> tuple[list[Shape], int]:
    """Return the legend and its height; it is empty if no series has a name."""
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
    """Yield the lines, error bars and markers of a series."""
    curve, places = series.curve, [plot.place(x, y) for x, y in series.places]
    if curve.connected and len(places) == 1 and not curve.points:
        yield series_line(number, [(plot.x.first, places[0][1]), (plot.x.last, places[0][1])])
    elif curve.connected and len(places) > 1:
        yield series_line(number, places)
    for (x, _), ends in zip(places, series.ends, strict=False):
        if all(map(math.isfinite, ends)):
            yield from error_bar(number, x, *map(plot.y.place, ends))
    if curve.points:
        yield from (marker(number, place, series.size) for place in places)


def _labels(plot: _Plot, series: Sequence[_Series]) -> list[Text]:
    """Return the texts beside the points: at the first place that covers no other point and no other text."""
    taken = [_around(plot.place(*place), each.size) for each in series for place in each.places]
    labels = list[Text]()
    named = [(place, each.size, text) for each in series for place, text in zip(each.places, each.labels, strict=False)]
    for place, size, text in named:
        x, y = plot.place(*place)
        width, gap = text_width(text, small=True), size + 3
        for right, down in LABEL_PLACES:
            begin = x + gap if right > 0 else x - gap - width if right < 0 else x - width / 2
            middle = y + down * (SMALL_PIXELS if right else gap + SMALL_PIXELS / 2)
            box = (begin, middle - SMALL_PIXELS / 2, begin + width, middle + SMALL_PIXELS / 2)
            inside = box[0] >= plot.x.first and plot.y.last <= middle <= plot.y.first
            if text and inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                labels.append(Text((begin, middle), text, small=True))
                break
    return labels


def _around(place: Point, size: float) -> Box:
    """Return the box of a marker."""
    return place[0] - size, place[1] - size, place[0] + size, place[1] + size


def _overlap(box: Box, other: Box) -> bool:
    """Return whether two boxes share an area."""
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
