"""Values of several series over named categories, with error bars.

Series differ in colour, in the shape of their markers and in the dashes of their lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tformer_cli.draw.axes import Axis, error_bar, height_axis, legend, marker, series_line, ticks
from tformer_cli.draw.drawing import MARGIN, ROW_PIXELS, Drawing, Line, Shape, Text
from tformer_cli.draw.lettering import printable, text_width, title_lines, widest

PLOT_PIXELS, SLOT_PIXELS, MIN_PIXELS = 260, 60, 420


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
    """Values over named categories.

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


def layout(chart: Chart) -> Drawing:
    """Place the title, the legend, the axes and the values of a chart."""
    categories, names = list(map(printable, chart.categories)), [printable(series.name) for series in chart.series]
    y_title, x_title = printable(chart.y_title), printable(chart.x_title)
    heights = [
        height for each in chart.series for height in (*each.values, *(end for ends in each.intervals for end in ends))
    ]
    rounded = ticks(heights)
    left = MARGIN + 8 + widest(Axis(rounded, 0, 0).labels)
    slot = max(SLOT_PIXELS, (MIN_PIXELS - left - 12) / len(categories), widest(categories) + 12)
    slot = slot if chart.connected else max(slot, 24 * len(names))
    right = left + slot * len(categories)
    width = int(max(right + 12, 48 + widest(names) + MARGIN, left + text_width(x_title) + MARGIN))
    titles, top = title_lines(chart.title, MARGIN, width - 2 * MARGIN)
    key, height = legend(names, MARGIN, top, width - 2 * MARGIN, [chart.connected] * len(names), [True] * len(names))
    top += height + ROW_PIXELS + 4
    shapes: list[Shape] = [*titles, *key, Text((MARGIN, top - ROW_PIXELS / 2 - 2), y_title, colour="muted")]
    axis = Axis(rounded, top + 4 + PLOT_PIXELS, top + 4)
    bottom = axis.first
    shapes += [*height_axis(axis, left, right), Line(((left, bottom), (right, bottom)), "muted")]
    for number, name in enumerate(categories):
        shapes.append(Text((left + (number + 0.5) * slot, bottom + ROW_PIXELS / 2 + 2), name, "middle"))
    if x_title:
        place = ((left + right) / 2, bottom + 1.5 * ROW_PIXELS + 2)
        shapes.append(Text(place, x_title, "middle", colour="muted"))
    for number, series in enumerate(chart.series):
        shift = _shift(chart, number)
        columns = [left + (place + shift) * slot for place in range(len(categories))]
        shapes += _values(axis, number, series, columns, connected=chart.connected)
    return Drawing(width, int(bottom) + ROW_PIXELS * (1 + bool(x_title)) + 8, shapes, printable(chart.title) or "chart")


def _shift(chart: Chart, number: int) -> float:
    """Return the horizontal place of a series within each category, from 0 to 1.

    Lines share the middle; with error bars they are a little apart, so that none hides another.
    """
    if not chart.connected:
        return (number + 1) / (len(chart.series) + 1)
    apart = 0.06 if any(series.intervals for series in chart.series) else 0.0
    return 0.5 + apart * (number - (len(chart.series) - 1) / 2)


def _values(axis: Axis, number: int, series: Series, columns: Sequence[float], *, connected: bool) -> Iterator[Shape]:
    """Yield lines, error bars and markers of a series; values that are not finite are left out."""
    points = [(x, axis.place(value)) for x, value in zip(columns, series.values, strict=True) if math.isfinite(value)]
    if connected and len(points) > 1:
        yield series_line(number, points)
    for x, ends in zip(columns, series.intervals, strict=False):
        if all(map(math.isfinite, ends)):
            yield from error_bar(number, x, *map(axis.place, ends))
    yield from (marker(number, point) for point in points)
