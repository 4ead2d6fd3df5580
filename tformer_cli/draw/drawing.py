"""Drawings: lists of shapes, from which both formats are made (`vector.py`: SVG, `raster.py`: pixels).

Places are in pixels from the top left. A colour is a role, whose shade follows the reader's light or dark setting, or
a fixed "#RRGGBB". Fixed colours are legible on both backgrounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""

FONT_PIXELS, SMALL_PIXELS, ROW_PIXELS, MARGIN = 13, 11, 18, 8
"""Sizes of text and of small text, the distance of lines of text, and the margin around a drawing."""

ROLES = {
    "ink": ("#000000", "#E8E8E8"),
    "muted": ("#595959", "#A6A6A6"),
    "grid": ("#DDDDDD", "#3C4046"),
    "background": ("#FFFFFF", "#15171A"),
}
"""The shade of each role on a light and on a dark page."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "ink")
"""The colours of series: the palette of Okabe and Ito (2008), for all kinds of colour vision."""

BLUE, ORANGE, RED = "#2F7FD0", "#C8641A", "#D32F2F"
"""Positive values, negative values and marks: each has a contrast of at least 3:1 with both backgrounds."""


@dataclass(frozen=True)
class Line:
    """A line through two points or more; `dashes` are the lengths of its visible and invisible parts in turn."""

    points: tuple[Point, ...]
    colour: str = "ink"
    width: float = 1
    dashes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Polygon:
    """A filled polygon."""

    corners: tuple[Point, ...]
    colour: str


@dataclass(frozen=True)
class Circle:
    """A filled circle."""

    centre: Point
    radius: float
    colour: str


@dataclass(frozen=True)
class Rectangle:
    """A rectangle with a filling, an outline inside its box, or both.

    Attributes:
        box: its sides.
        fill: colour inside; empty: none.
        outline: colour of the outline; empty: none.
        width: width of the outline.
        opacity: opacity of the filling, from 0 to 1.
    """

    box: Box
    fill: str = ""
    outline: str = ""
    width: float = 1
    opacity: float = 1.0


@dataclass(frozen=True)
class Text:
    """One line of text.

    Attributes:
        place: a point at the middle of the text's height.
        text: printable text.
        anchor: whether the left end (`start`), the middle or the right end (`end`) of the text is at `place`. The
            left end of a text that runs upwards is its lower end.
        upright: whether the text runs upwards.
        bold: whether the text is bold.
        small: whether the text is small.
        colour: its colour.
    """

    place: Point
    text: str
    anchor: str = "start"
    upright: bool = False
    bold: bool = False
    small: bool = False
    colour: str = "ink"


@dataclass(frozen=True, eq=False)
class Pixels:
    """An image that fills a box.

    Attributes:
        box: its sides.
        values: (height, width, 3), or (height, width, 4) with opacity; uint8.
        pixelated: whether pixels stay visible as rectangles when the image is enlarged; otherwise they are blended.
    """

    box: Box
    values: np.ndarray
    pixelated: bool = True


Shape = Line | Polygon | Circle | Rectangle | Text | Pixels


@dataclass
class Drawing:
    """Shapes on a sheet, in the order in which they are drawn.

    Attributes:
        width: width of the sheet.
        height: height of the sheet.
        shapes: the shapes.
        description: text alternative of the drawing.
    """

    width: int
    height: int
    shapes: list[Shape] = field(default_factory=list)
    description: str = ""
