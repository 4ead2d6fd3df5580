"""Drawings as pixels, on a white background, drawn with Pillow."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tformer_cli.draw.drawing import (
    FONT_PIXELS,
    ROLES,
    SMALL_PIXELS,
    Circle,
    Drawing,
    Line,
    Pixels,
    Point,
    Polygon,
    Rectangle,
    Shape,
    Text,
)
from tformer_cli.draw.lettering import font_for, text_width

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

FINER = 4
"""Slanted edges are drawn larger by this factor and reduced, which smooths them."""

ANCHORS = {"start": "lm", "middle": "mm", "end": "rm"}


def png(values: np.ndarray) -> bytes:
    """Return an image, (height, width, 3 or 4) uint8, as the bytes of a PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def pixels(drawing: Drawing) -> np.ndarray:
    """Return a drawing as pixels: (height, width, 3), uint8."""
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", (drawing.width, drawing.height), _shade("background"))
    canvas = ImageDraw.Draw(sheet)
    for shape in drawing.shapes:
        _draw(sheet, canvas, shape)
    return np.asarray(sheet)


def _shade(colour: str) -> str:
    return ROLES[colour][0] if colour in ROLES else colour


def _draw(sheet: Image.Image, canvas: ImageDraw.ImageDraw, shape: Shape) -> None:
    """Draw a shape on a sheet; `canvas` draws on the same sheet."""
    match shape:
        case Line(points, colour, width, dashes):
            parts = visible_parts(points, dashes)
            if len({x for x, _ in points}) == 1 or len({y for _, y in points}) == 1:
                for part in parts:
                    canvas.line(part, _shade(colour), round(width))
            else:
                _smooth(sheet, list(parts), colour, width, _line(width))
        case Polygon(corners, colour):
            _smooth(sheet, [corners], colour, 0, lambda finer, points: finer.polygon(points, 255))
        case Circle((x, y), radius, colour):
            box = ((x - radius, y - radius), (x + radius, y + radius))
            _smooth(sheet, [box], colour, 0, lambda finer, points: finer.ellipse(points, 255))
        case Rectangle():
            _rectangle(sheet, canvas, shape)
        case Text():
            _text(sheet, canvas, shape)
        case Pixels():
            _pixels(sheet, shape)


def _line(width: float) -> Callable[[ImageDraw.ImageDraw, list[Point]], None]:
    return lambda finer, points: finer.line(points, 255, round(width * FINER), "curve")


def _smooth(
    sheet: Image.Image,
    parts: Sequence[Sequence[Point]],
    colour: str,
    width: float,
    paint: Callable[[ImageDraw.ImageDraw, list[Point]], None],
) -> None:
    """Draw a shape with smooth edges: `paint` draws each of its parts, enlarged, on a canvas of its own."""
    from PIL import Image, ImageDraw

    margin = width / 2 + 1
    (left, *_, right), (top, *_, bottom) = (
        sorted(values) for values in zip(*(point for part in parts for point in part), strict=True)
    )
    left, top = math.floor(left - margin), math.floor(top - margin)
    size = (math.ceil(right + margin) - left, math.ceil(bottom + margin) - top)
    mask = Image.new("L", (size[0] * FINER, size[1] * FINER))
    finer = ImageDraw.Draw(mask)
    for part in parts:
        paint(finer, [((x - left) * FINER, (y - top) * FINER) for x, y in part])
    sheet.paste(_shade(colour), (left, top), mask.reduce(FINER))


def visible_parts(points: Sequence[Point], dashes: tuple[int, ...]) -> Iterator[list[Point]]:
    """Yield the visible parts of a line: of each pair of lengths in `dashes` the first."""
    if not dashes:
        yield list(points)
        return
    part, number, rest = [points[0]], 0, float(dashes[0])
    for begin, end in zip(points, points[1:], strict=False):
        length, position = math.dist(begin, end), 0.0
        while length - position > rest:  # a dash, or a gap, ends before the next point
            position += rest
            share = position / length
            place = (begin[0] + share * (end[0] - begin[0]), begin[1] + share * (end[1] - begin[1]))
            if number % 2 == 0:
                yield [*part, place]
            part, number = [place], number + 1
            rest = float(dashes[number % len(dashes)])
        rest -= length - position
        part.append(end)
    if number % 2 == 0:
        yield part


def _rectangle(sheet: Image.Image, canvas: ImageDraw.ImageDraw, shape: Rectangle) -> None:
    from PIL import Image

    left, top, right, bottom = map(round, shape.box)
    if right <= left or bottom <= top:
        return
    if shape.fill and shape.opacity < 1:
        mask = Image.new("L", (right - left, bottom - top), round(255 * shape.opacity))
        sheet.paste(_shade(shape.fill), (left, top), mask)
    elif shape.fill:
        canvas.rectangle((left, top, right - 1, bottom - 1), _shade(shape.fill))
    if shape.outline:
        canvas.rectangle((left, top, right - 1, bottom - 1), outline=_shade(shape.outline), width=round(shape.width))


def _text(sheet: Image.Image, canvas: ImageDraw.ImageDraw, shape: Text) -> None:
    from PIL import Image, ImageDraw

    font: Any = font_for(shape.text, SMALL_PIXELS if shape.small else FONT_PIXELS, bold=shape.bold)
    (x, y), colour = shape.place, _shade(shape.colour)
    if not shape.upright:
        canvas.text((x, y), shape.text, colour, font, anchor=ANCHORS[shape.anchor])
        return
    length, height = text_width(shape.text, bold=shape.bold, small=shape.small) + 2, 2 * FONT_PIXELS
    mask = Image.new("L", (length, height))
    ImageDraw.Draw(mask).text((1, height / 2), shape.text, 255, font, anchor="lm")
    below = {"start": 0, "middle": length / 2, "end": length}[shape.anchor]
    sheet.paste(colour, (round(x - height / 2), round(y + below - length)), mask.rotate(90, expand=True))


def _pixels(sheet: Image.Image, shape: Pixels) -> None:
    from PIL import Image

    left, top, right, bottom = map(round, shape.box)
    size = (max(1, right - left), max(1, bottom - top))
    image = Image.fromarray(shape.values)
    smaller = size[0] < image.width or size[1] < image.height
    method = Image.Resampling.BICUBIC
    if shape.pixelated:
        method = Image.Resampling.BOX if smaller else Image.Resampling.NEAREST
    if image.size != size:
        image = image.resize(size, method)
    if image.mode == "RGBA":
        sheet.paste(image.convert("RGB"), (left, top), image.getchannel("A"))
    else:
        sheet.paste(image, (left, top))
