"""A matrix as a heat map with named rows and columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tformer_cli.draw.cells import block_means, block_note, finite_note, scale_for
from tformer_cli.draw.drawing import FONT_PIXELS, MARGIN, ROW_PIXELS, Drawing, Pixels, Rectangle, Shape, Text
from tformer_cli.draw.lettering import (
    enumerated,
    notes_below,
    printable,
    reduced_names,
    shortened,
    smallest_distance,
    text_width,
    title_lines,
    widest,
)

CELL_PIXELS, MAX_CELLS, MAX_NAMED, NAME_PIXELS, TEXT_PIXELS, MIN_WIDTH_PIXELS = 22, 512, 64, 200, 240, 260
MARKED_PIXELS = 640
"""Greatest length of a side with the marks of an axis in place of names; marks need no room beside each cell."""


@dataclass
class HeatMap:
    """A matrix that is drawn as a heat map.

    Attributes:
        values: (rows, columns), float. More than 512 rows or columns are averaged in blocks.
        rows: names of the rows; empty: none. Those that would overlap are left out. Where some names are empty, the
            others are marks of an axis, such as round numbers.
        columns: names of the columns; empty: none.
        title: line above the matrix.
        row_title: label of the rows.
        column_title: label of the columns.
        percent: whether the values are shares; they are then written into the cells, in percent.
        texts: a text for each cell, (rows, columns), in place of its value; empty: none. They are drawn if there are at
            most 64 rows and columns.
        diverging: whether values of both signs differ in colour, and 0 is transparent; otherwise negative ones are
            drawn as 0.
        limits: values at the two ends of the colour scale; None: from 0 to the highest value (`diverging`: to the
            highest absolute value, in both directions).
        note: a line below.
        side: greatest length of each side of the matrix in pixels; 0: 22 pixels for each cell, up to 1,408, or up to
            640 for a side with the marks of an axis.
    """

    values: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    title: str = ""
    row_title: str = ""
    column_title: str = ""
    percent: bool = False
    texts: Sequence[Sequence[str]] = ()
    diverging: bool = False
    limits: tuple[float, float] | None = None
    note: str = ""
    side: int = 0


@dataclass(frozen=True)
class _Side:
    """The cells of one dimension: the names of all of them, their size, and the distance of drawn names in cells."""

    names: list[str]
    count: int
    cell: int
    step: int

    @property
    def length(self) -> int:
        """Return the length of all cells."""
        return self.count * self.cell

    @property
    def name_pixels(self) -> int:
        """Return the smallest distance of drawn names."""
        return self.cell * smallest_distance(self.names, self.step)


def _side(names: Sequence[str], count: int, block: int, cell: int, side: int) -> _Side:
    """Return the cells of a dimension: beyond 64 they shrink, and names are left out where they would overlap."""
    is_marked = bool(names) and not all(names)
    if side or is_marked:
        cell = max(1, min(cell, (side or MARKED_PIXELS) // max(1, count)))
    elif count > MAX_NAMED:
        cell = max(2, CELL_PIXELS * MAX_NAMED // count)
    drawn = [shortened(printable(name), NAME_PIXELS) for name in reduced_names(names, block)]
    return _Side(drawn, count, cell, -(-(FONT_PIXELS + 2) // cell))


def layout(picture: HeatMap) -> Drawing:
    """Place the matrix, its names, titles, scale and notes; the highest value is darkest."""
    values, block = block_means(picture.values, MAX_CELLS)
    scale = scale_for([values], picture.limits, diverging=picture.diverging, percent=picture.percent)
    written = _written(picture, values)
    cell = max(CELL_PIXELS, widest(text for row in written for text in row) + 6)
    sizes = (CELL_PIXELS if picture.texts else cell, cell)
    sides = (picture.side, picture.side)
    rows, columns = map(_side, (picture.rows, picture.columns), values.shape, block, sizes, sides)
    row_title, column_title = printable(picture.row_title), printable(picture.column_title)
    left = MARGIN + ROW_PIXELS * bool(row_title) + widest(rows.names) + 6 * bool(rows.names)
    right = left + columns.length
    width = max(right + 14 + scale.width() + MARGIN, left + text_width(column_title) + MARGIN, MIN_WIDTH_PIXELS)
    titles, top = title_lines(picture.title, MARGIN, width - 2 * MARGIN)
    shapes: list[Shape] = [*titles]
    if column_title:
        shapes.append(Text((left, top + ROW_PIXELS / 2 + 2), column_title))
        top += ROW_PIXELS + 4
    flat = widest(columns.names) + 6 <= columns.name_pixels
    top += (ROW_PIXELS if flat else widest(columns.names) + 6) * bool(columns.names)
    top = max(top, MARGIN)
    bottom = top + rows.length
    shapes += [*column_names(columns.names, left, top, columns.cell, columns.step, flat=flat)]
    shapes += [*row_names(rows.names, left, top, rows.cell, rows.step)]
    shapes += row_title_beside(row_title, top, bottom)
    shapes += [Pixels((left, top, right, bottom), scale.colours(values))] if values.size else []
    shapes.append(Rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="grid"))
    shapes += [*_in_cells(written, left, top, rows.cell, columns.cell)]
    scale_height = max(rows.length, 3 * ROW_PIXELS)
    shapes += [*scale.shapes(right + 14, top, scale_height)]
    low = max(bottom, top + min(scale_height, 3 * ROW_PIXELS)) + 4
    notes, height = notes_below(_notes(picture, rows, columns, block), MARGIN, low, width - 2 * MARGIN)
    return Drawing(width, low + height + 4, [*shapes, *notes], printable(picture.title) or "heat map")


def _notes(picture: HeatMap, rows: _Side, columns: _Side, block: tuple[int, int]) -> list[str]:
    """Return the notes below: what is left out of the picture, and the picture's own note."""
    notes = [picture.note] if picture.note else []
    notes += block_note(block, picture.values.shape)
    steps = [
        f"{side.step * size} {name}"
        for side, size, name in zip((rows, columns), block, ("rows", "columns"), strict=True)
        if side.names and all(side.names) and side.step * size > 1
    ]
    if steps:
        notes.append(f"One of {' and one of '.join(steps)} is named.")
    if (picture.percent or picture.texts) and max(rows.count, columns.count) > MAX_NAMED:
        notes.append(f"The cells are too small for {'texts' if picture.texts else 'numbers'}.")
    return [*notes, *finite_note([picture.values])]


def row_title_beside(title: str, top: float, bottom: float) -> Iterator[Text]:
    """Yield the upright title beside rows: at their middle, or further up if it is longer than they are."""
    title = shortened(title, bottom - 4)
    if title:
        length = text_width(title)
        place = (top + bottom) / 2 if length < bottom - top else bottom - length / 2
        yield Text((MARGIN + FONT_PIXELS / 2, place), title, "middle", upright=True)


def row_names(names: Sequence[str], left: float, top: float, cell: float, step: int) -> Iterator[Text]:
    """Yield names to the left of their rows, at least `step` rows apart."""
    for row, name in enumerated(names, step):
        yield Text((left - 6, top + (row + 0.5) * cell), name, "end")


def column_names(
    names: Sequence[str], left: float, top: float, cell: float, step: int, *, flat: bool
) -> Iterator[Text]:
    """Yield names above their columns, at least `step` columns apart, horizontal (`flat`) or running upwards."""
    for column, name in enumerated(names, step):
        x = left + (column + 0.5) * cell
        if flat:
            yield Text((x, top - ROW_PIXELS / 2), name, "middle")
        else:
            yield Text((x, top - 5), name, upright=True)


def _written(picture: HeatMap, values: np.ndarray) -> list[list[str]]:
    """Return what is written into the cells: texts, shares in percent, or nothing."""
    if max(values.shape) > MAX_NAMED:
        return []
    if picture.texts:
        return [[shortened(printable(text), TEXT_PIXELS) for text in row] for row in picture.texts]
    return [[_percent(value) for value in row] for row in values.tolist()] if picture.percent else []


def _in_cells(written: list[list[str]], left: float, top: float, height: float, width: float) -> Iterator[Text]:
    """Yield the texts of cells of a height and a width."""
    for row, texts in enumerate(written):
        for column, text in enumerate(texts):
            if text:
                yield Text((left + (column + 0.5) * width, top + (row + 0.5) * height), text, "middle")


def _percent(share: float) -> str:
    """Return a share in percent as text for a cell; empty for 0."""
    return "" if share == 0 or share != share else "<1" if abs(share) < 0.005 else f"{100 * share:.0f}"
