"""A text as a row of tokens that are shaded by a weight, or several such rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tformer_cli.draw.cells import Scale, scale_for
from tformer_cli.draw.drawing import BLUE, MARGIN, ORANGE, ROW_PIXELS, Drawing, Rectangle, Shape, Text
from tformer_cli.draw.lettering import (
    notes_below,
    printable,
    runs_leftwards,
    shortened,
    text_width,
    title_lines,
    widest,
)

SHEET_PIXELS, LEAST_PIXELS, TOKEN_PIXELS, GAP_PIXELS, NAME_PIXELS, MAX_TOKENS, MAX_ROWS = 720, 240, 22, 3, 140, 1024, 64


@dataclass
class TokenRow:
    """A text as tokens with a weight each.

    Attributes:
        tokens: the tokens. At most 1,024 are drawn.
        weights: a weight for each; NaN and 0: no shade.
        name: name of the row, to its left.
        query: position of a token that is framed; None: none.
    """

    tokens: Sequence[str]
    weights: Sequence[float] | np.ndarray
    name: str = ""
    query: int | None = None


@dataclass
class Tokens:
    """Rows of tokens that are shaded by their weights; rows wrap, and Arabic or Hebrew runs from right to left.

    Attributes:
        rows: the rows. At most 64 are drawn.
        title: line above.
        percent: whether the weights are shares; their scale is then in percent.
        diverging: whether weights of both signs differ in colour, as in `HeatMap`.
        limits: weights at the two ends of the colour scale, as in `HeatMap`; None: from the weights of all rows.
        note: a line below.
        width: largest width of the picture in pixels.
    """

    rows: Sequence[TokenRow]
    title: str = ""
    percent: bool = False
    diverging: bool = False
    limits: tuple[float, float] | None = None
    note: str = ""
    width: int = SHEET_PIXELS


def layout(picture: Tokens) -> Drawing:
    """Place the tokens of each row in lines, each as a box that is as opaque as its weight is high."""
    rows = [
        TokenRow(row.tokens[:MAX_TOKENS], np.asarray(row.weights[:MAX_TOKENS], np.float64), row.name, row.query)
        for row in picture.rows[:MAX_ROWS]
    ]
    scale = scale_for(
        [np.asarray(row.weights) for row in rows], picture.limits, diverging=picture.diverging, percent=picture.percent
    )
    names = [shortened(printable(row.name), NAME_PIXELS) for row in rows]
    left = MARGIN + (widest(names) + 8 if any(names) else 0)
    beside = 14 + scale.width() + MARGIN
    right = min(picture.width - beside, left + max((_length(row.tokens) for row in rows), default=0))
    least = max(LEAST_PIXELS, text_width(printable(picture.title), bold=True) + 2 * MARGIN)
    width = max(right + beside, min(least, picture.width))
    heading, top = title_lines(picture.title, MARGIN, width - 2 * MARGIN)
    first = y = top + 4
    shapes: list[Shape] = [*heading]
    for row, name in zip(rows, names, strict=True):
        shapes += [Text((left - 8, y + TOKEN_PIXELS / 2), name, "end", colour="muted")] if name else []
        tokens, lines = _row(row, scale, (left, right), y)
        shapes += tokens
        y += lines * (TOKEN_PIXELS + GAP_PIXELS) + (GAP_PIXELS + 2 if lines > 1 else 0)
    shapes += scale.shapes(right + 14, first, max(y - first - GAP_PIXELS, 3 * ROW_PIXELS))
    low = max(y, first + 3 * ROW_PIXELS) + 2
    notes, height = notes_below(_notes(picture), MARGIN, low, width - 2 * MARGIN)
    return Drawing(width, int(low + height + 4), [*shapes, *notes], printable(picture.title) or "tokens")


def _box_width(text: str) -> int:
    """Return the width of a token with its box."""
    return max(text_width(text) + 8, 14)


def _length(tokens: Sequence[str]) -> int:
    """Return the width of a row in one line."""
    return sum(_box_width(printable(token)) + GAP_PIXELS for token in tokens) - GAP_PIXELS


def _row(row: TokenRow, scale: Scale, sides: tuple[float, float], top: float) -> tuple[list[Shape], int]:
    """Return the tokens of a row between two sides, and the number of lines that they take."""
    (left, right), shapes, line, used = sides, [], 0, 0.0
    texts = [shortened(printable(token), right - left - 8) for token in row.tokens]
    shares = scale.shares(np.asarray(row.weights))
    leftwards = runs_leftwards(texts)
    for number, (text, share) in enumerate(zip(texts, shares.tolist(), strict=True)):
        length = _box_width(text)
        if used and used + length > right - left:
            line, used = line + 1, 0.0
        x = right - used - length if leftwards else left + used
        y = top + line * (TOKEN_PIXELS + GAP_PIXELS)
        box = (x, y, x + length, y + TOKEN_PIXELS)
        if share:
            shapes.append(Rectangle(box, BLUE if share > 0 else ORANGE, opacity=abs(share)))
        framed = number == row.query
        shapes.append(Rectangle(box, outline="ink" if framed else "grid", width=2 if framed else 1))
        shapes.append(Text((x + length / 2, y + TOKEN_PIXELS / 2), text, "middle"))
        used += length + GAP_PIXELS
    return shapes, line + 1


def _notes(picture: Tokens) -> list[str]:
    """Return the notes below: the picture's own note, and what is left out."""
    notes = [picture.note] if picture.note else []
    longest = max(len(row.tokens) for row in picture.rows)
    if longest > MAX_TOKENS:
        notes.append(f"The first {MAX_TOKENS:,} of {longest:,} tokens are drawn.")
    if len(picture.rows) > MAX_ROWS:
        notes.append(f"The first {MAX_ROWS} of {len(picture.rows):,} rows are drawn.")
    return notes
