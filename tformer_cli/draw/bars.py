"""Named values as horizontal bars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tformer_cli.draw.axes import Axis, ticks
from tformer_cli.draw.drawing import BLUE, MARGIN, ORANGE, ROW_PIXELS, Drawing, Line, Rectangle, Shape, Text
from tformer_cli.draw.lettering import notes_below, printable, rounded, shortened, title_lines, widest

PLOT_PIXELS, BAR_PIXELS, NAME_PIXELS, MAX_BARS = 320, 14, 260, 64


@dataclass
class Bars:
    """Named values that are drawn as horizontal bars, the first above; negative values run to the left.

    Attributes:
        names: names of the bars.
        values: the values. At most 64 are drawn.
        title: line above.
        x_title: label of the values.
        intervals: lower and upper end of the error bar of each value; empty: none.
        percent: whether the values are shares; they are then written in percent.
        note: a line below.
        name_pixels: greatest width of the names; longer ones are shortened.
    """

    names: Sequence[str]
    values: Sequence[float]
    title: str = ""
    x_title: str = ""
    intervals: Sequence[tuple[float, float]] = ()
    percent: bool = False
    note: str = ""
    name_pixels: int = NAME_PIXELS


def layout(picture: Bars) -> Drawing:
    """Place the names, the bars with their values beside them, and the axis."""
    values = [float(value) for value in picture.values[:MAX_BARS]]
    names = [shortened(printable(name), picture.name_pixels) for name in picture.names[: len(values)]]
    numbers = [_label(value, percent=picture.percent) for value in values]
    negative = widest(number for number, value in zip(numbers, values, strict=True) if value < 0)
    left = MARGIN + widest(names) + 8 + (negative + 6 if negative else 0)
    width = left + PLOT_PIXELS + widest(numbers) + 6 + MARGIN
    heading, top = title_lines(picture.title, MARGIN, width - 2 * MARGIN)
    top += 4
    bottom = top + ROW_PIXELS * len(values) + 4
    ends = [end for interval in picture.intervals for end in interval]
    axis = Axis(ticks([0.0, *values, *ends]), left, left + PLOT_PIXELS)
    shapes: list[Shape] = [*heading, *_axis(axis, top, bottom, percent=picture.percent)]
    for row, (name, value, number) in enumerate(zip(names, values, numbers, strict=True)):
        y = top + 2 + ROW_PIXELS * (row + 0.5)
        shapes.append(Text((MARGIN + widest(names), y), name, "end"))
        if math.isfinite(value):
            interval = picture.intervals[row] if picture.intervals else None
            shapes += _bar(axis, y, value, number, interval)
    zero = axis.place(0.0)
    shapes.append(Line(((zero, top), (zero, bottom)), "muted"))
    bottom += ROW_PIXELS
    if picture.x_title:
        place = (left + PLOT_PIXELS / 2, bottom + ROW_PIXELS / 2)
        shapes.append(Text(place, printable(picture.x_title), "middle", colour="muted"))
        bottom += ROW_PIXELS
    notes = [picture.note] if picture.note else []
    if len(values) < len(picture.values):
        notes.append(f"The first {len(values)} of {len(picture.values):,} bars are drawn.")
    below, height = notes_below(notes, MARGIN, bottom, width - 2 * MARGIN)
    return Drawing(width, bottom + height + 6, [*shapes, *below], printable(picture.title) or "bars")


def _axis(axis: Axis, top: float, bottom: float, *, percent: bool) -> Iterator[Shape]:
    """Yield the vertical lines and their values below."""
    labels = [_label(tick, percent=True) for tick in axis.ticks] if percent else axis.labels
    for tick, label in zip(axis.ticks, labels, strict=True):
        x = axis.place(tick)
        yield Line(((x, top), (x, bottom)), "grid")
        yield Text((x, bottom + ROW_PIXELS / 2), label, "middle", colour="muted")


def _bar(axis: Axis, y: float, value: float, number: str, interval: tuple[float, float] | None) -> Iterator[Shape]:
    """Yield a bar with its error bar, and its value beside them."""
    zero, end = axis.place(0.0), axis.place(value)
    box = (min(zero, end), y - BAR_PIXELS / 2, max(zero, end), y + BAR_PIXELS / 2)
    if value:
        yield Rectangle(box, BLUE if value > 0 else ORANGE)
    interval = interval if interval and all(map(math.isfinite, interval)) else None
    low, high = map(axis.place, interval) if interval else (end, end)
    if interval:
        for line in (((low, y), (high, y)), ((low, y - 4), (low, y + 4)), ((high, y - 4), (high, y + 4))):
            yield Line(line)
    place, anchor = (max(end, high) + 5, "start") if value >= 0 else (min(end, low) - 5, "end")
    yield Text((place, y), number, anchor)


def _label(value: float, *, percent: bool) -> str:
    return f"{rounded(100 * value)} %" if percent else rounded(value)
