"""Images with captions in a grid, perhaps with a heat map over each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tformer_cli.draw.cells import scale_for
from tformer_cli.draw.drawing import FONT_PIXELS, MARGIN, Box, Drawing, Pixels, Rectangle, Shape, Text
from tformer_cli.draw.lettering import notes_below, printable, shortened, title_lines

IMAGE_PIXELS, FRAME_PIXELS, GAP_PIXELS, MAX_IMAGES = 112, 4, 8, 256
CORRECT, WRONG = "#2E7D32", "#C62828"
HEAT = np.array((255, 80, 0.0))


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
        middle = (left + cell / 2, top + cell_height / 2)
        weights = picture.weights[number] if picture.weights else None
        shapes.append(_image(picture.images[number], weights, middle, picture.side, diverging=picture.diverging))
        for index, line in enumerate(caption):
            place = (left + cell / 2, top + cell_height + 2 + (index + 0.5) * FONT_PIXELS)
            shapes += [Text(place, shortened(line, cell), "middle")] if line else []
    bottom = above - (-count // columns) * step[1]
    notes = [picture.note] if picture.note else []
    if count < len(picture.images):
        notes.append(f"The first {count} of {len(picture.images):,} images are drawn.")
    below, height = notes_below(notes, MARGIN, bottom, width - 2 * MARGIN)
    return Drawing(width, bottom + height, [*shapes, *below], printable(picture.title) or "images")


def _size(image: np.ndarray, side: int) -> tuple[int, int]:
    """Return width and height of an image in the drawing, in pixels: its longer side has `side`."""
    height, width = (max(1, round(length * side / max(image.shape[:2]))) for length in image.shape[:2])
    return width, height


def _image(
    image: np.ndarray, weights: np.ndarray | None, middle: tuple[float, float], side: int, *, diverging: bool
) -> Pixels:
    """Return an image around a point; one that is larger than its place is reduced, so that it takes little space."""
    from PIL import Image

    values = image.repeat(3, axis=-1) if image.shape[-1] == 1 else image
    width, height = _size(image, side)
    if max(image.shape[:2]) > side:
        values = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.LANCZOS))
    elif weights is not None:
        values = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.NEAREST))
    if weights is not None:
        values = _signed(values, weights) if diverging else _heated(values, weights)
    left, top = math.floor(middle[0] - width / 2), math.floor(middle[1] - height / 2)
    box: Box = (left, top, left + width, top + height)
    return Pixels(box, values)


def _signed(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cover an image in pale grey with the colours of weights of both signs; weights of 0 leave it as it is."""
    from PIL import Image

    colours = scale_for([weights], diverging=True).colours(weights)
    enlarged = Image.fromarray(colours).resize((values.shape[1], values.shape[0]), Image.Resampling.NEAREST)
    over = np.asarray(enlarged, np.float64)
    grey = 128 + values.astype(np.float64).mean(-1, keepdims=True) / 2
    opacity = over[..., 3:] / 255
    return (grey * (1 - opacity) + over[..., :3] * opacity).round().astype(np.uint8)


def _heated(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Blend an image with a heat map of weights: low weights darken the image, high ones add red."""
    from PIL import Image

    share = np.nan_to_num(255 * weights / max(float(np.nanmax(weights)), 1e-12)).clip(0, 255).astype(np.uint8)
    size = (values.shape[1], values.shape[0])
    shares = np.asarray(Image.fromarray(share).resize(size, Image.Resampling.BICUBIC), np.float64)[..., None] / 255
    pixels = values.astype(np.float64) * (0.35 + 0.65 * shares)
    return (pixels + 0.35 * shares * (HEAT - pixels)).clip(0, 255).astype(np.uint8)
