"""Angles as rows of clocks with one hand each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tformer_cli.draw.drawing import BLUE, MARGIN, ROW_PIXELS, Circle, Drawing, Line, Shape, Text
from tformer_cli.draw.lettering import notes_below, printable, shortened, title_lines, widest

DIAL_PIXELS, GAP_PIXELS, NAME_PIXELS, MAX_ROWS, MAX_COLUMNS = 34, 6, 200, 32, 32


@dataclass
class Dials:
    """Rows of clocks: a hand points to the top at 0 and turns clockwise.

    Attributes:
        names: names of the rows, to their left. At most 32 are drawn.
        columns: names of the columns, below. At most 32 are drawn.
        turns: the angle of each hand, (rows, columns), in turns; NaN: no hand.
        title: line above.
        column_title: label of the columns.
        note: a line below.
    """

    names: Sequence[str]
    columns: Sequence[str]
    turns: np.ndarray
    title: str = ""
    column_title: str = ""
    note: str = ""


def layout(picture: Dials) -> Drawing:
    """Place the clocks of each row beside its name, and the names of the columns below."""
    turns = np.asarray(picture.turns, np.float64)[:MAX_ROWS, :MAX_COLUMNS]
    names = [shortened(printable(name), NAME_PIXELS) for name in picture.names[: len(turns)]]
    left, step = MARGIN + widest(names) + 8, DIAL_PIXELS + GAP_PIXELS
    across = step * turns.shape[1]
    width = int(left + across + MARGIN)
    heading, top = title_lines(picture.title, MARGIN, width - 2 * MARGIN)
    top += 4
    shapes: list[Shape] = [*heading]
    for row, (name, angles) in enumerate(zip(names, turns.tolist(), strict=True)):
        y = top + (row + 0.5) * step
        shapes.append(Text((left - 8, y), name, "end"))
        for column, angle in enumerate(angles):
            shapes += _dial(left + (column + 0.5) * step, y, angle)
    low = top + len(turns) * step + ROW_PIXELS / 2
    for column, name in enumerate(picture.columns[: turns.shape[1]]):
        place = (left + (column + 0.5) * step, low)
        shapes.append(Text(place, shortened(printable(name), step), "middle", small=True, colour="muted"))
    shapes.append(Text((left + across / 2, low + ROW_PIXELS), printable(picture.column_title), "middle"))
    notes, height = notes_below(_notes(picture), MARGIN, low + 2 * ROW_PIXELS, width - 2 * MARGIN)
    return Drawing(
        width, int(low + 2 * ROW_PIXELS + height), [*shapes, *notes], printable(picture.title) or "clocks"
    )  # fmt: skip


def _dial(x: float, y: float, turn: float) -> list[Shape]:
    """Return a clock and its hand."""
    dial: list[Shape] = [Circle((x, y), DIAL_PIXELS / 2, "grid")]
    if not math.isfinite(turn):
        return dial
    length, angle = DIAL_PIXELS / 2 - 2, 2 * math.pi * turn
    tip = (x + length * math.sin(angle), y - length * math.cos(angle))
    return [*dial, Line(((x, y), tip), BLUE, 3), Circle((x, y), 2, BLUE)]


def _notes(picture: Dials) -> list[str]:
    """Return the note, and what is left out."""
    notes = [picture.note] if picture.note else []
    for what, count, most in (("rows", len(picture.names), MAX_ROWS), ("columns", len(picture.columns), MAX_COLUMNS)):
        if count > most:
            notes.append(f"The first {most} of {count:,} {what} are drawn.")
    return notes
