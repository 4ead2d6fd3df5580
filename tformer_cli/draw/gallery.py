"""Images with captions in a grid, optionally with a heat map over each image.

A heat map is an image of its own, partly transparent, so that one image under many heat maps is stored once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tformer_cli.draw.cells import scale_for
from tformer_cli.draw.drawing import FONT_PIXELS, MARGIN, Box, Drawing, Pixels, Point, Rectangle, Shape, Text
from tformer_cli.draw.lettering import notes_below, printable, shortened, title_lines

IMAGE_PIXELS, FRAME_PIXELS, GAP_PIXELS, MAX_IMAGES = 112, 4, 8, 256
CORRECT, WRONG = "#2E7D32", "#C62828"
HEAT = np.array((255, 80, 0.0))
HEAT_FINER = 2
"""Factor by which a stored heat map is finer than its weights; drawing it blends its pixels further."""
STORED_PIXELS = 256
"""Longest side of a stored image that has heat maps; a page may show it larger than the gallery does."""
MARK_PIXELS, MARK, MARK_OUTLINE = 7, "#00FFFF", "#000000"


@dataclass
class Gallery:
    """Images that are arranged in a grid.

    Attributes:
        images: each (height, width, 3 or 1), uint8. At most 256 are drawn.
        captions: one or more lines under each image.
        correct: whether the model's prediction is correct, shown by the colour of the frame; None: no frame.
        weights: heat map over each image, (rows, columns), float, None: that image has none; empty: only the images.
        columns: number of images in a row; 0: chosen automatically.
        title: line above.
        note: a line below.
        side: length of the longer side of each image in the drawing, in pixels.
        diverging: whether the heat maps have both signs: blue above 0 and orange below, over the image in pale grey;
            each has a scale of its own.
        marks: point of each image, as shares of its width and height, that a cyan square marks, None: that image has
            none; empty: no image has one.
    """

    images: list[np.ndarray]
    captions: list[str]
    correct: list[bool | None]
    weights: Sequence[np.ndarray | None] = field(default_factory=list)
    columns: int = 0
    title: str = ""
    note: str = ""
    side: int = IMAGE_PIXELS
    diverging: bool = False
    marks: Sequence[Point | None] = field(default_factory=list)


def layout(picture: Gallery) -> Drawing:
    """Place the images and captions; frames are green for correct predictions and red for wrong ones."""
    count = min(len(picture.images), MAX_IMAGES)
    captions = [[printable(line) for line in caption.split("\n")] for caption in picture.captions[:count]]
    lines = max((len(caption) for caption in captions if any(caption)), default=0)
    columns = picture.columns or max(1, round((count * 1.6) ** 0.5))
    highest = max((_size(image, picture.side)[1] for image in picture.images[:count]), default=picture.side)
    cell, cell_height = picture.side + 2 * FRAME_PIXELS, highest + 2 * FRAME_PIXELS
    step = (cell + GAP_PIXELS, cell_height + (lines * FONT_PIXELS + 5 if lines else 0) + GAP_PIXELS)
    width = columns * step[0]
    titles, above = title_lines(picture.title, MARGIN, width - 2 * MARGIN)
    shapes: list[Shape] = [*titles]
    for number, (caption, correct) in enumerate(zip(captions, picture.correct, strict=False)):
        left, top = number % columns * step[0] + GAP_PIXELS / 2, above + number // columns * step[1] + GAP_PIXELS / 2
        if correct is not None:
            box = (left, top, left + cell, top + cell_height)
            shapes.append(Rectangle(box, outline=CORRECT if correct else WRONG, width=FRAME_PIXELS))
        shapes += _image(picture, number, (left + cell / 2, top + cell_height / 2))
        for index, line in enumerate(caption):
            place = (left + cell / 2, top + cell_height + 2 + (index + 0.5) * FONT_PIXELS)
            shapes += [Text(place, shortened(line, step[0] - 2), "middle")] if line else []
    bottom = above - (-count // columns) * step[1]
    notes = [picture.note] if picture.note else []
    if count < len(picture.images):
        notes.append(f"The first {count} of {len(picture.images):,} images are drawn.")
    below, height = notes_below(notes, MARGIN, bottom, width - 2 * MARGIN)
    return Drawing(width, bottom + height, [*shapes, *below], printable(picture.title) or "images")


def _size(image: np.ndarray, side: int) -> tuple[int, int]:
    """Return the width and height of an image that is scaled to `side` pixels on its longer side."""
    height, width = (max(1, round(length * side / max(image.shape[:2]))) for length in image.shape[:2])
    return width, height


def reduced(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image in colour, (height, width, 3), reduced to at most `side` pixels on its longer side."""
    from PIL import Image

    values = image.repeat(3, axis=-1) if image.shape[-1] == 1 else image
    if max(image.shape[:2]) <= side:
        return values
    return np.asarray(Image.fromarray(values).resize(_size(image, side), Image.Resampling.LANCZOS))


def _image(picture: Gallery, number: int, middle: Point) -> list[Shape]:
    """Return an image around a point, its heat map, and its mark."""
    image, side = picture.images[number], picture.side
    values = reduced(image, max(side, STORED_PIXELS) if picture.weights else side)
    width, height = _size(image, side)
    left, top = math.floor(middle[0] - width / 2), math.floor(middle[1] - height / 2)
    box: Box = (left, top, left + width, top + height)
    pixelated = max(values.shape[:2]) <= side
    weights = picture.weights[number] if picture.weights else None
    if weights is None:
        shapes: list[Shape] = [Pixels(box, values, pixelated)]
    elif picture.diverging:
        colours = scale_for([weights], diverging=True).colours(weights)
        shapes = [Pixels(box, _pale(values), pixelated), Pixels(box, colours)]
    else:
        shapes = [Pixels(box, values, pixelated), Pixels(box, _heat(weights), pixelated=False)]
    mark = picture.marks[number] if picture.marks else None
    if mark is not None:
        x, y, half = left + mark[0] * width, top + mark[1] * height, MARK_PIXELS / 2
        shapes.append(Rectangle((x - half, y - half, x + half, y + half), fill=MARK, outline=MARK_OUTLINE))
    return shapes


def _pale(values: np.ndarray) -> np.ndarray:
    """Return an image in pale grey."""
    return (128 + values.mean(-1, keepdims=True) / 2).astype(np.uint8).repeat(3, axis=-1)  # rounded down: white is 255


def _heat(weights: np.ndarray) -> np.ndarray:
    """Return the colours of weights over an image, (rows, columns, 4): low ones darken it, high ones add red.

    A weight that is a share s of the largest one turns a pixel v into

        p + 0.35 s (HEAT - p),  p = (0.35 + 0.65 s) v.
    """
    from PIL import Image

    share = np.nan_to_num(255 * weights / max(float(np.nanmax(weights)), 1e-12)).clip(0, 255).astype(np.uint8)
    rows, columns = weights.shape
    finer = Image.fromarray(share).resize((HEAT_FINER * columns, HEAT_FINER * rows), Image.Resampling.BICUBIC)
    shares = np.asarray(finer, np.float64)[..., None] / 255
    opacity = 1 - (0.35 + 0.65 * shares) * (1 - 0.35 * shares)
    return np.concatenate((0.35 * shares * HEAT / opacity, 255 * opacity), -1).round().clip(0, 255).astype(np.uint8)
