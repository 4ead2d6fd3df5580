"""Heat maps of equal size in a grid, with one colour scale: all heads of a layer, or all positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tformer_cli.draw.cells import block_means, block_note, finite_note, scale_for
from tformer_cli.draw.drawing import FONT_PIXELS, MARGIN, ROW_PIXELS, Drawing, Pixels, Rectangle, Shape, Text
from tformer_cli.draw.heat_map import column_names, row_names, row_title_beside
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

CELL_PIXELS, PANEL_PIXELS, SHEET_PIXELS, GAP_PIXELS = 22, 210, 960, 14
MAX_PANELS, MAX_NAMED, NAME_PIXELS, MIN_TITLE_PIXELS = 256, 16, 110, 80
LARGER = 1.15
"""Factor by which a heat map of a small grid may exceed its place, so that its cells can be a pixel larger."""
LETTER_PIXELS = FONT_PIXELS + 2
"""Smallest distance at which names do not touch."""


@dataclass
class HeatMaps:
    """Matrices of one shape that are drawn as heat maps in a grid, with one colour scale.

    Attributes:
        values: (maps, rows, columns), float; or a sequence of matrices. At most 256 are drawn; matrices larger than
            their place in the grid are averaged in blocks.
        titles: a title above each; empty: none.
        rows: names of the rows, which are drawn if at most 16 are not empty and none overlap; empty: none.
        columns: names of the columns, drawn under the same conditions; empty: none.
        title: line above all of them.
        row_title: label of the rows.
        column_title: label of the columns.
        percent: whether the values are shares; their scale is then in percent.
        diverging: whether values of both signs differ in colour, as in `HeatMap`.
        limits: values at the two ends of the colour scale, as in `HeatMap`.
        grid_columns: number of heat maps in a row; 0: chosen automatically.
        note: a line below.
    """

    values: np.ndarray | Sequence[np.ndarray]
    titles: Sequence[str] = ()
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    title: str = ""
    row_title: str = ""
    column_title: str = ""
    percent: bool = False
    diverging: bool = False
    limits: tuple[float, float] | None = None
    grid_columns: int = 0
    note: str = ""


@dataclass(frozen=True)
class _Grid:
    """The places of the heat maps.

    Attributes:
        across: heat maps in a row of the grid.
        cell: side of a cell.
        size: width and height of a heat map.
        step: distances of the left and of the upper sides of neighbours.
        titles: titles above the heat maps; empty: none.
        rows: names of the rows, which are drawn; empty: none.
        columns: names of the columns, which are drawn; empty: none.
    """

    across: int
    cell: int
    size: tuple[int, int]
    step: tuple[int, int]
    titles: list[str]
    rows: list[str]
    columns: list[str]

    @property
    def names_above(self) -> int:
        """Return the height of the names of columns."""
        return (ROW_PIXELS if self.flat else widest(self.columns) + 6) * bool(self.columns)

    @property
    def flat(self) -> bool:
        """Return whether names of columns are horizontal."""
        return widest(self.columns) + 4 <= self.cell * smallest_distance(self.columns, 1)

    def shapes(self, images: Sequence[np.ndarray], left: float, top: float) -> Iterator[Shape]:
        """Yield the heat maps with their titles; those at the sides of the grid have names."""
        for number, image in enumerate(images):
            row, column = divmod(number, self.across)
            x, y = left + column * self.step[0], top + row * self.step[1]
            right, bottom = x + self.size[0], y + self.size[1]
            yield from (
                Pixels((x, y, right, bottom), image),
                Rectangle((x - 1, y - 1, right + 1, bottom + 1), "", "grid"),
            )
            if self.titles:
                above = y - (self.names_above if row == 0 else 0) - ROW_PIXELS / 2
                yield Text((x, above), self.titles[number])
            if column == 0:
                yield from row_names(self.rows, x, y, self.cell, 1)
            if row == 0:
                yield from column_names(self.columns, x, y, self.cell, 1, flat=self.flat)


def layout(picture: HeatMaps) -> Drawing:
    """Place the heat maps, their titles, the names at the left and upper side of the grid, and the scale."""
    panels = picture.values[:MAX_PANELS]
    side, across = _side(len(panels), picture)
    cell = max(1, min(CELL_PIXELS, side // max(np.shape(panels[0]))))
    reduced = [block_means(panel, side // cell) for panel in panels]
    block, matrices = reduced[0][1], [matrix for matrix, _ in reduced]
    scale = scale_for(matrices, picture.limits, diverging=picture.diverging, percent=picture.percent)
    grid = _grid(picture, across, cell, matrices[0].shape, block)
    row_title, column_title = printable(picture.row_title), printable(picture.column_title)
    left = MARGIN + ROW_PIXELS * bool(row_title) + (widest(grid.rows) + 6) * bool(grid.rows)
    right = left + across * grid.step[0]
    width = max(right + 4 + scale.width() + MARGIN, left + text_width(column_title) + MARGIN)
    heading, top = title_lines(picture.title, MARGIN, width - 2 * MARGIN)
    shapes: list[Shape] = [*heading]
    if column_title:
        shapes.append(Text((left, top + ROW_PIXELS / 2 + 2), column_title))
        top += ROW_PIXELS + 2
    top = max(top + grid.names_above + ROW_PIXELS * bool(grid.titles), MARGIN)
    shapes += grid.shapes([scale.colours(matrix) for matrix in matrices], left, top)
    bottom = top + (-(-len(panels) // across) - 1) * grid.step[1] + grid.size[1]
    shapes += [
        *row_title_beside(row_title, top, bottom),
        *scale.shapes(right + 4, top, max(bottom - top, 3 * ROW_PIXELS)),
    ]
    low = max(bottom, top + 3 * ROW_PIXELS) + 4
    notes, height = notes_below(_notes(picture, grid, block), MARGIN, low, width - 2 * MARGIN)
    return Drawing(width, low + height + 4, [*shapes, *notes], printable(picture.title) or "heat maps")


def _side(count: int, picture: HeatMaps) -> tuple[int, int]:
    """Return the longest side of a heat map, enlarged for up to 16 names, and the number of heat maps in a row."""
    few = 3 if count in (3, 5, 6, 9) else min(count, 4)
    across = picture.grid_columns or (few if count <= 16 else round(count**0.5 + 0.49))
    gap = GAP_PIXELS if picture.titles else GAP_PIXELS // 2
    side = max(24, min(PANEL_PIXELS, SHEET_PIXELS // across - gap))
    if across > 4:
        return side, across
    names = max(len(picture.rows), len(picture.columns))
    return max(round(LARGER * side), LETTER_PIXELS * names if names <= MAX_NAMED else 0), across


def _grid(picture: HeatMaps, across: int, cell: int, shape: tuple[int, ...], block: tuple[int, int]) -> _Grid:
    """Return the places of the heat maps; names of rows and columns are drawn if they are few and fit."""
    size = (shape[1] * cell, shape[0] * cell)
    rows, columns = (
        _drawn_names(reduced_names(names, size), cell)
        for names, size in zip((picture.rows, picture.columns), block, strict=True)
    )
    length = max(size[0], MIN_TITLE_PIXELS)
    titles = [shortened(printable(title), length) for title in picture.titles[:MAX_PANELS]]
    gap = GAP_PIXELS if titles else GAP_PIXELS // 2
    step = (max(size[0], widest(titles)) + gap, size[1] + gap + ROW_PIXELS * bool(titles))
    return _Grid(across, cell, size, step, titles, rows, columns)


def _drawn_names(names: Sequence[str], cell: int) -> list[str]:
    """Return the names of rows or columns; none if they are too many, or would overlap and are no marks of an axis."""
    drawn = dict(enumerated(names, -(-LETTER_PIXELS // cell)))
    if len(drawn) > MAX_NAMED or (all(names) and len(drawn) < len(names)):
        return []
    return [shortened(printable(drawn.get(number, "")), NAME_PIXELS) for number in range(len(names))]


def _notes(picture: HeatMaps, grid: _Grid, block: tuple[int, int]) -> list[str]:
    """Return the notes below: what is left out of the picture, and the picture's own note."""
    notes = [picture.note] if picture.note else []
    if len(picture.values) > MAX_PANELS:
        notes.append(f"The first {MAX_PANELS} of {len(picture.values):,} heat maps are drawn.")
    notes += block_note(block, np.shape(picture.values[0]))
    missing = [
        name
        for name, names, drawn in (("rows", picture.rows, grid.rows), ("columns", picture.columns, grid.columns))
        if names and not drawn
    ]
    if missing:
        notes.append(f"There are too many {' and '.join(missing)} to name them here.")
    return [*notes, *finite_note(picture.values[:MAX_PANELS])]
