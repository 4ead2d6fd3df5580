"""A spectrogram with marks and an axis of time; and recordings, which are played rather than drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tformer_cli.draw.cells import Scale, block_means
from tformer_cli.draw.drawing import FONT_PIXELS, MARGIN, RED, ROW_PIXELS, Drawing, Line, Pixels, Rectangle, Shape, Text
from tformer_cli.draw.lettering import broken, notes_below, printable, text_width, title_lines, widest

FRAME_WIDTH_PIXELS, BIN_PIXELS, MIN_PIXELS = 3, 2, 240
WIDTHS = (1000, 2000, 3000)
"""Widths to try, in columns of pixels, until the names of marks do not overlap; the first fits on a page."""
TICK_SECONDS, TICK_PIXELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600), 40
LIGHT, DARK = np.array((250, 250, 252.0)), np.array((20, 60, 130.0))


@dataclass
class Strip:
    """Rows of values over time, which are drawn below a spectrogram on its axis of time.

    Attributes:
        values: (rows, columns), 0 to 1.
        names: names of the rows.
        column_frames: width of a column in frames of the spectrogram.
        title: line above.
        marks: columns and texts above them; a text without space is left out.
        begin_frames: frames of the spectrogram before the first column.
    """

    values: np.ndarray
    names: list[str]
    column_frames: float = 1.0
    title: str = ""
    marks: list[tuple[int, str]] = field(default_factory=list)
    begin_frames: float = 0.0


@dataclass
class Spectrogram:
    """A spectrogram: time runs to the right, frequency upwards.

    Attributes:
        values: (frames, bins), float. More than 1,000 frames are averaged in blocks; if the names of marks need more
            room, only more than 2,000 or 3,000.
        marks: frames and their names, each drawn as a vertical line with the name above it.
        caption: a line below.
        frame_seconds: time between two frames, for the time axis; 0: no axis.
        title: line above.
        begin_seconds: time of the first frame.
        strips: rows of values below.
    """

    values: np.ndarray
    marks: list[tuple[int, str]] = field(default_factory=list)
    caption: str = ""
    frame_seconds: float = 0.0
    title: str = ""
    begin_seconds: float = 0.0
    strips: list[Strip] = field(default_factory=list)


@dataclass
class Sound:
    """A recording for playback.

    Attributes:
        samples: (N,), float32 from -1 to 1.
        rate: samples per second.
        caption: its transcript.
    """

    samples: np.ndarray
    rate: int
    caption: str = ""


def layout(picture: Spectrogram) -> Drawing:
    """Place the spectrogram, names above the frames of marks, the axis of time and the caption."""
    frames, columns = picture.values.shape[0], _columns(picture)
    values, (block, _) = block_means(picture.values, columns)
    low, high = np.nanpercentile(values, (1, 99.5)) if np.isfinite(values).any() else (0.0, 1.0)
    cells = _colours(np.nan_to_num((values.T[::-1] - low) / max(high - low, 1e-12)))  # low frequencies below
    frame_pixels = _frame_pixels(frames, columns)
    bin_pixels = max(BIN_PIXELS, MIN_PIXELS // 2 // cells.shape[0])
    image_width, image_height = round(frames * frame_pixels), cells.shape[0] * bin_pixels
    left = max((widest(map(printable, strip.names)) + 10 for strip in picture.strips), default=0)
    marks = [(left + frame * frame_pixels, printable(name)) for frame, name in picture.marks]
    width = int(max(left + image_width, MIN_PIXELS, *(x + 4 + text_width(name) for x, name in marks), 0))
    titles, top = title_lines(picture.title, 4, width - 8)
    above, top = top, top + 2 * ROW_PIXELS * bool(marks)
    bottom: float = top + image_height
    shapes: list[Shape] = [
        *titles,
        Pixels((left, top, left + image_width, bottom), cells),
        *_marks(marks, above, bottom),
    ]
    for strip in picture.strips:
        begin = left + frame_pixels * strip.begin_frames
        below, bottom = _strip(strip, begin, bottom + 6, frame_pixels * strip.column_frames, columns)
        shapes += below
    if picture.frame_seconds:
        sides = (left, left + image_width)
        shapes += [*_time_axis(bottom, sides, frame_pixels / picture.frame_seconds, picture.begin_seconds)]
        bottom += ROW_PIXELS + 4
    caption = broken(printable(" ".join(picture.caption.split())), width - MARGIN)
    shapes += [Text((4, bottom + 3 + ROW_PIXELS * (row + 0.5)), line) for row, line in enumerate(caption)]
    bottom += ROW_PIXELS * len(caption) + 4
    note = [f"Each column is the mean of {block} of the {frames:,} frames."] if block > 1 else []
    notes, height = notes_below(note, 4, bottom, width - MARGIN)
    return Drawing(width, int(bottom + height), [*shapes, *notes], printable(picture.title) or "spectrogram")


def _frame_pixels(frames: int, columns: int) -> float:
    """Return the width of a frame in pixels: at most 3 if `columns` are enough, but more in short recordings."""
    block = -(-frames // columns)
    return max(1, min(FRAME_WIDTH_PIXELS, columns // frames), MIN_PIXELS // frames) / block


def _columns(picture: Spectrogram) -> int:
    """Return the smallest number of columns in which the names of marks, which stand in two rows, do not overlap."""
    marks, frames = picture.marks, picture.values.shape[0]
    distances = [
        (later - frame, text_width(printable(name)) + 6)
        for (frame, name), (later, _) in zip(marks, marks[2:], strict=False)
    ]
    for columns in WIDTHS:
        if all(distance * _frame_pixels(frames, columns) >= width for distance, width in distances):
            return columns
    return WIDTHS[-1]


def _colours(shares: np.ndarray) -> np.ndarray:
    """Return shares from 0 to 1 as colours, (bins, frames, 3), uint8.

    They are opaque, unlike the colours of a heat map: the spectrum of a sound needs all shades between light and dark.
    64 shades halve the size of the file.
    """
    shares = np.round(shares.clip(0, 1) * 63)[..., None] / 63
    return (LIGHT + shares * (DARK - LIGHT)).astype(np.uint8)


def _marks(marks: list[tuple[float, str]], top: float, bottom: float) -> Iterator[Shape]:
    """Yield lines and names, in two rows, so that neighbouring names do not overlap."""
    for number, (x, name) in enumerate(marks):
        y = top + 2 + number % 2 * (ROW_PIXELS - 1)
        yield Line(((x, y + FONT_PIXELS), (x, bottom)), RED)
        yield Text((x + 2, y + FONT_PIXELS / 2), name)


def _strip(strip: Strip, left: float, top: float, column_pixels: float, most: int) -> tuple[list[Shape], float]:
    """Return the shapes of a strip, with at most `most` rows and columns of cells, and its lower end."""
    shapes: list[Shape] = []
    if strip.title:
        shapes.append(Text((left, top + ROW_PIXELS / 2), printable(strip.title), colour="muted"))
        top += ROW_PIXELS
    ends = [left, left]  # of the texts in the two rows above the cells
    for column, text in strip.marks:
        x, name = left + (column + 0.5) * column_pixels, printable(text)
        half = text_width(name) / 2
        row = next((row for row in (0, 1) if x - half >= ends[row]), None)
        if row is not None:
            shapes.append(Text((x, top + ROW_PIXELS * (row + 0.5)), name, "middle"))
            ends[row] = x + half + 2
    top += 2 * ROW_PIXELS * bool(strip.marks)
    rows, columns = strip.values.shape
    bottom, right = top + rows * ROW_PIXELS, left + columns * column_pixels
    values, _ = block_means(strip.values, most)
    shapes.append(Pixels((left, top, right, bottom), Scale(0.0, 1.0).colours(values)))
    shapes.append(Rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="grid"))
    for row, name in enumerate(strip.names):
        shapes.append(Text((left - 6, top + (row + 0.5) * ROW_PIXELS), printable(name), "end"))
    return shapes, bottom


def _time_axis(top: float, sides: tuple[float, float], second_pixels: float, begin_seconds: float) -> Iterator[Shape]:
    """Yield ticks with seconds below a spectrogram, as dense as their labels allow."""
    left, right = sides
    step = next(step for step in TICK_SECONDS if step * second_pixels >= TICK_PIXELS or step == TICK_SECONDS[-1])
    first = math.ceil(begin_seconds / step - 1e-9)
    for tick in range(first, first + int((right - left) / (step * second_pixels)) + 1):
        x, seconds = left + round((tick * step - begin_seconds) * second_pixels), tick * step
        if x > right:
            break
        yield Line(((x, top), (x, top + 4)))
        label = f"{seconds:g} s" if not tick else f"{seconds:g}"
        anchor = "start" if x < left + 12 else "end" if x > right - 12 else "middle"
        yield Text((x, top + 6 + FONT_PIXELS / 2), label, anchor)
