"""Charts of scores, as SVG and as PNG: values of several series over named categories.

Series differ in colour (the palette of Okabe and Ito 2008, for all kinds of colour vision), in the shape of their
markers and in the dashes of their lines. The background is white, whatever surrounds the chart.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tformer_cli.data.core.media import shown
from tformer_cli.draw import FONT_PIXELS, font_for, png

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("circle", "square", "triangle", "diamond", "cross")
DASHES = ((), (6, 4), (2, 3), (8, 3, 2, 3))
AXIS, GRID, INK = "#555555", "#DDDDDD", "#000000"
MARKER_PIXELS, LINE_PIXELS, PLOT_PIXELS, SLOT_PIXELS, MIN_PIXELS = 5, 2, 260, 60, 420
TEXT_PIXELS = FONT_PIXELS + 6
MAX_TICKS = 6


@dataclass
class Series:
    """The values of a series, one for each category.

    Attributes:
        name: name in the legend.
        values: the values.
        intervals: lower and upper end of the error bar of each value; empty: no error bars.
    """

    name: str
    values: Sequence[float]
    intervals: Sequence[tuple[float, float]] = ()


@dataclass
class Chart:
    """A chart.

    Attributes:
        title: line above.
        categories: names along the horizontal axis.
        series: the series.
        x_title: label of the horizontal axis.
        y_title: label of the vertical axis, above it.
        connected: whether the categories have an order, so that lines connect the values of a series.
    """

    title: str
    categories: Sequence[str]
    series: Sequence[Series]
    x_title: str = ""
    y_title: str = ""
    connected: bool = False


@dataclass(frozen=True)
class Line:
    """A line between two points, in pixels from the top left."""

    begin: tuple[float, float]
    end: tuple[float, float]
    colour: str
    width: int = 1
    dashes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Polygon:
    """A filled shape; `corners` are in pixels from the top left. Two corners are those of a circle's box."""

    corners: tuple[tuple[float, float], ...]
    colour: str


@dataclass(frozen=True)
class Text:
    """A text beside a point: `start`, `middle` or `end` of the text is there, in the middle of its height."""

    place: tuple[float, float]
    text: str
    anchor: str = "start"


Shape = Line | Polygon | Text


@dataclass
class Drawing:
    """Shapes on a sheet of a size in pixels, in the order in which they are drawn."""

    width: int
    height: int
    shapes: list[Shape] = field(default_factory=list)


def chart_svg(chart: Chart) -> str:
    """Return a chart as SVG."""
    drawing = layout(chart)
    size = f'width="{drawing.width}" height="{drawing.height}" viewBox="0 0 {drawing.width} {drawing.height}"'
    font = f'font-family="sans-serif" font-size="{FONT_PIXELS}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    lines += map(_element, drawing.shapes)
    return "\n".join([*lines, "</svg>", ""])


def _element(shape: Shape) -> str:
    """Return a shape as an element of SVG."""
    match shape:
        case Line((x1, y1), (x2, y2), colour, width, dashes):
            dashed = f' stroke-dasharray="{" ".join(map(str, dashes))}"' if dashes else ""
            points = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            return f'<line {points} stroke="{colour}" stroke-width="{width}"{dashed}/>'
        case Polygon(((left, top), (right, bottom)), colour):
            centre = f'cx="{(left + right) / 2:.1f}" cy="{(top + bottom) / 2:.1f}"'
            return f'<circle {centre} r="{(right - left) / 2:.1f}" fill="{colour}"/>'
        case Polygon(corners, colour):
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
            return f'<polygon points="{points}" fill="{colour}"/>'
        case Text((x, y), text, anchor):
            place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" dominant-baseline="central" fill="{INK}"'
            return f"<text {place}>{html.escape(text)}</text>"


def chart_png(chart: Chart) -> bytes:
    """Return a chart as the bytes of a PNG file."""
    import numpy as np
    from PIL import Image, ImageDraw

    drawing = layout(chart)
    font = font_for("".join(shape.text for shape in drawing.shapes if isinstance(shape, Text)))
    image = Image.new("RGB", (drawing.width, drawing.height), "white")
    draw = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        match shape:
            case Line(begin, end, colour, width, dashes):
                for part in _parts(begin, end, dashes):
                    draw.line(part, colour, width)
            case Polygon((first, second), colour):
                draw.ellipse((*first, *second), colour)
            case Polygon(corners, colour):
                draw.polygon(corners, colour)
            case Text(place, text, anchor):
                draw.text(place, text, INK, font, anchor={"start": "lm", "middle": "mm", "end": "rm"}[anchor])
    return png(np.asarray(image))


def _parts(
    begin: tuple[float, float], end: tuple[float, float], dashes: tuple[int, ...]
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Yield the visible parts of a dashed line: of each pair of lengths in `dashes` the first."""
    length = math.dist(begin, end)
    if not dashes or not length:
        yield begin, end
        return

    def point(at: float) -> tuple[float, float]:
        share = min(at, length) / length
        return begin[0] + share * (end[0] - begin[0]), begin[1] + share * (end[1] - begin[1])

    position, number = 0.0, 0
    while position < length:
        size = dashes[number % len(dashes)]
        if number % 2 == 0:
            yield point(position), point(position + size)
        position, number = position + size, number + 1


@dataclass(frozen=True)
class Frame:
    """The area of the values: its sides, the width of a category, and the values of the horizontal lines."""

    left: float
    top: float
    slot: float
    categories: int
    ticks: Sequence[float]

    @property
    def right(self) -> float:
        """Return the right side."""
        return self.left + self.slot * self.categories

    @property
    def bottom(self) -> float:
        """Return the lower side."""
        return self.top + PLOT_PIXELS

    def height_of(self, value: float) -> float:
        """Return the vertical place of a value."""
        return self.bottom - (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0]) * PLOT_PIXELS


def layout(chart: Chart) -> Drawing:
    """Place the title, the legend, the axes and the values of a chart."""
    categories, names = list(map(shown, chart.categories)), [shown(series.name) for series in chart.series]
    titles = title, y_title, x_title = [shown(text) for text in (chart.title, chart.y_title, chart.x_title)]
    ticks = _ticks(chart.series)
    labels = [f"{tick:.{_decimals(ticks)}f}" for tick in ticks]
    font = font_for("".join((*categories, *names, *titles, *labels)))
    widths = {text: int(font.getlength(text)) for text in (*categories, *names, *titles, *labels)}
    left = 16 + max(widths[label] for label in labels)
    slot = max(SLOT_PIXELS, (MIN_PIXELS - left - 12) / len(categories), *(widths[name] + 12 for name in categories))
    slot = slot if chart.connected else max(slot, 24 * len(names))
    frame = Frame(left, (len(names) + 2) * TEXT_PIXELS + 8, slot, len(categories), ticks)
    width = max(int(frame.right), 40 + max(widths[name] for name in names), *(widths[text] for text in titles)) + 12
    shapes = [Text((8, TEXT_PIXELS / 2 + 2), title), Text((8, frame.top - TEXT_PIXELS / 2 - 4), y_title)]
    shapes += [*_legend(names, connected=chart.connected), *_axes(frame, labels, categories, x_title)]
    for number, series in enumerate(chart.series):
        shift = 0.5 if chart.connected else (number + 1) / (len(names) + 1)
        shapes += _values(frame, number, series, shift, connected=chart.connected)
    return Drawing(width, int(frame.bottom) + TEXT_PIXELS * (1 + bool(x_title)) + 8, shapes)


def _legend(names: Sequence[str], *, connected: bool) -> Iterator[Shape]:
    """Yield the marker, the line and the name of each series."""
    for number, name in enumerate(names):
        y = TEXT_PIXELS * (number + 1.5) + 2
        yield from _line_of(number, (8, y), (32, y)) if connected else ()
        yield from (_marker(number, (20, y)), Text((40, y), name))


def _axes(frame: Frame, labels: Sequence[str], categories: Sequence[str], x_title: str) -> Iterator[Shape]:
    """Yield the horizontal lines with their values, and the names of the categories."""
    for tick, label in zip(frame.ticks, labels, strict=True):
        y = frame.height_of(tick)
        yield from (Line((frame.left, y), (frame.right, y), GRID), Text((frame.left - 6, y), label, "end"))
    yield Line((frame.left, frame.bottom), (frame.right, frame.bottom), AXIS)
    for number, name in enumerate(categories):
        yield Text((frame.left + (number + 0.5) * frame.slot, frame.bottom + TEXT_PIXELS / 2 + 2), name, "middle")
    if x_title:
        yield Text(((frame.left + frame.right) / 2, frame.bottom + 1.5 * TEXT_PIXELS + 2), x_title, "middle")


def _values(frame: Frame, number: int, series: Series, shift: float, *, connected: bool) -> Iterator[Shape]:
    """Yield lines, error bars and markers of a series; `shift` is their place within a category, from 0 to 1."""
    columns = [frame.left + (place + shift) * frame.slot for place in range(frame.categories)]
    points = [(x, frame.height_of(value)) for x, value in zip(columns, series.values, strict=True)]
    for begin, end in zip(points, points[1:], strict=False) if connected else ():
        yield from _line_of(number, begin, end)
    for x, ends in zip(columns, series.intervals, strict=False):
        low, high = map(frame.height_of, ends)
        for begin, end in (((x, low), (x, high)), ((x - 4, low), (x + 4, low)), ((x - 4, high), (x + 4, high))):
            yield Line(begin, end, _colour(number))
    yield from (_marker(number, point) for point in points)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _line_of(number: int, begin: tuple[float, float], end: tuple[float, float]) -> Iterator[Line]:
    """Yield a line of a series."""
    yield Line(begin, end, _colour(number), LINE_PIXELS, DASHES[number % len(DASHES)])


def _marker(number: int, place: tuple[float, float]) -> Polygon:
    """Return the marker of a series at a point."""
    (x, y), size = place, MARKER_PIXELS
    match MARKERS[number % len(MARKERS)]:
        case "circle":
            corners = [(-size, -size), (size, size)]
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
    return Polygon(tuple((x + right, y + down) for right, down in corners), _colour(number))


def _ticks(series: Sequence[Series]) -> list[float]:
    """Return at most `MAX_TICKS` + 1 round numbers that enclose all values and their error bars."""
    heights = [
        height for each in series for height in (*each.values, *(end for ends in each.intervals for end in ends))
    ]
    low, high = min(heights), max(heights)
    spread = max(high - low, abs(high) / 100, 1e-6)
    unit = 10.0 ** math.floor(math.log10(spread / MAX_TICKS))
    step = next(size * unit for size in (1, 2, 5, 10, 20) if spread / (size * unit) <= MAX_TICKS - 1)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _decimals(ticks: Sequence[float]) -> int:
    """Return the number of decimals in which neighbouring ticks differ."""
    return max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
