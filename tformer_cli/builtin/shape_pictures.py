"""Pictures of scenes of shapes: where each shape lies, its colour, and drawing it.

Lengths are shares of the picture's side; (0, 0) is the upper left corner.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from tformer_cli.builtin.draws import Draws
from tformer_cli.builtin.shape_captions import Scene

OVERSAMPLING = 4
"""Pixels drawn in each direction for one pixel of the picture."""
RADII = {"small": (0.088, 0.096), "large": (0.135, 0.146)}
"""Half the side of the square that contains a shape."""
MARGIN, GAP, SEPARATION = 0.02, 0.03, 0.08
"""Least distances: between a shape and the border, two shapes of a group, and two groups."""
OVERLAP = 0.12
"""Two groups side by side share at least this height, and two groups one above the other this width."""
HSV = {
    "red": ((-8, 8), (0.8, 1.0), (0.7, 1.0)),
    "orange": ((22, 34), (0.85, 1.0), (0.9, 1.0)),
    "yellow": ((48, 62), (0.85, 1.0), (0.85, 1.0)),
    "green": ((95, 150), (0.75, 1.0), (0.45, 0.8)),
    "blue": ((205, 240), (0.75, 1.0), (0.7, 1.0)),
    "purple": ((268, 295), (0.6, 0.9), (0.5, 0.8)),
    "pink": ((320, 340), (0.4, 0.65), (0.9, 1.0)),
    "black": ((0, 360), (0.0, 0.3), (0.0, 0.2)),
}
"""Least and greatest hue in degrees, saturation and value."""
BACKGROUND = ((0, 360), (0.0, 0.12), (0.75, 1.0))


def _star(points: int, inner: float) -> list[tuple[float, float]]:
    """Return the corners of a star with one point on top, in a circle of radius 1."""
    angles = [math.pi * corner / points for corner in range(2 * points)]
    radii = [inner if corner % 2 else 1.0 for corner in range(2 * points)]
    return [(radius * math.sin(angle), -radius * math.cos(angle)) for radius, angle in zip(radii, angles, strict=True)]


def _cross(half_width: float) -> list[tuple[float, float]]:
    """Return the corners of an upright cross with arms of length 1."""
    corners = [(half_width, -1.0), (half_width, -half_width), (1.0, -half_width)]
    quarters = []
    for _ in range(4):
        quarters += corners
        corners = [(-y, x) for x, y in corners]
    return quarters


CORNERS: dict[str, list[tuple[float, float]]] = {
    "circle": [],  # has none
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": [(0.0, -0.87), (1.0, 0.87), (-1.0, 0.87)],
    "star": _star(5, 0.4),
    "cross": _cross(0.3),
}
"""Corners of the shapes in a square from (-1, -1) to (1, 1)."""


class Drawn(NamedTuple):
    """A shape in a picture.

    Attributes:
        shape: one of `CORNERS`.
        x: distance of its centre from the left border.
        y: distance of its centre from the upper border.
        radius: half the side of the square that contains it.
        colour: red, green and blue from 0 to 255.
    """

    shape: str
    x: float
    y: float
    radius: float
    colour: tuple[int, int, int]


def arrange(scene: Scene, draws: Draws) -> list[list[Drawn]]:
    """Return the shapes of each group, with places, sizes and colours drawn at random.

    Two shapes never overlap. If the scene has a relation, it holds between each shape of the first group and each
    shape of the second, and none of the other three relations holds between the groups.
    """
    radii = [[draws.between(*RADII[group.size]) for _ in range(group.number)] for group in scene.groups]
    is_upright = scene.relation in ("above", "below") if scene.relation else draws.choose((False, True))
    is_reversed = scene.relation in ("right of", "below")
    bands = _bands(radii[::-1] if is_reversed else radii, draws)
    bands = bands[::-1] if is_reversed else bands
    along = [[draws.between(low + r, high - r) for r in group] for group, (low, high) in zip(radii, bands, strict=True)]
    across = [_row(group, draws) for group in radii]
    while _shared(radii, across) < OVERLAP:
        across = [_row(group, draws) for group in radii]
    x, y = (across, along) if is_upright else (along, across)
    return [
        [Drawn(group.shape, *each, colour=_rgb(HSV[group.colour], draws)) for each in zip(*places, strict=True)]
        for group, *places in zip(scene.groups, x, y, radii, strict=True)
    ]


def _bands(radii: Sequence[Sequence[float]], draws: Draws) -> list[tuple[float, float]]:
    """Divide the side among the groups, and return where the band of each begins and ends."""
    if len(radii) == 1:
        return [(MARGIN, 1 - MARGIN)]
    widths = [2 * max(group) for group in radii]
    free = 1 - 2 * MARGIN - SEPARATION - sum(widths)
    middle = MARGIN + widths[0] + draws.between(0.2, 0.8) * free
    return [(MARGIN, middle), (middle + SEPARATION, 1 - MARGIN)]


def _row(radii: Sequence[float], draws: Draws) -> list[float]:
    """Return centres of the shapes of a group that stand in a row from border to border, at random distances."""
    free = 1 - 2 * MARGIN - 2 * sum(radii) - GAP * (len(radii) - 1)
    centres, start = [], MARGIN
    for radius, offset in zip(radii, sorted(draws.between(0, free) for _ in radii), strict=True):
        centres.append(start + offset + radius)
        start += 2 * radius + GAP
    return centres


def _shared(radii: Sequence[Sequence[float]], centres: Sequence[Sequence[float]]) -> float:
    """Return the length that all groups share, from the first to the last shape of each; negative if none."""
    starts = [group[0] - sizes[0] for group, sizes in zip(centres, radii, strict=True)]
    ends = [group[-1] + sizes[-1] for group, sizes in zip(centres, radii, strict=True)]
    return min(ends) - max(starts)


def _rgb(limits: Sequence[tuple[float, float]], draws: Draws) -> tuple[int, int, int]:
    hue, saturation, value = (draws.between(*limit) for limit in limits)
    red, green, blue = colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(scene: Scene, draws: Draws, image_size: int) -> np.ndarray:
    """Return a picture of a scene, (image_size, image_size, 3), uint8."""
    side = image_size * OVERSAMPLING
    image = Image.new("RGB", (side, side), _rgb(BACKGROUND, draws))
    canvas = ImageDraw.Draw(image)
    for shape, x, y, radius, colour in (each for group in arrange(scene, draws) for each in group):
        corners = CORNERS[shape] or [(-1, -1), (1, 1)]
        points = [(round((x + radius * right) * side), round((y + radius * down) * side)) for right, down in corners]
        (canvas.polygon if CORNERS[shape] else canvas.ellipse)(points, fill=colour)
    return np.array(image.reduce(OVERSAMPLING))
