"""Pictures, drawn with Pillow (which TensorBoard brings along)."""

from __future__ import annotations

import numpy as np

from tformer_cli.tasks.base import HeatMap

CELL_PIXELS, FONT_PIXELS = 22, 13
LIGHT, DARK = np.array((250, 250, 252.0)), np.array((20, 60, 130.0))


def heat_map(picture: HeatMap) -> np.ndarray:
    """A matrix as a picture with named rows and columns; darkest where the value is highest.

    Returns:
        (height, width, 3), uint8.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_PIXELS)
    rows, columns = picture.values.shape
    left = max((int(font.getlength(name)) for name in picture.rows), default=0) + 8
    top = max((int(font.getlength(name)) for name in picture.columns), default=0) + 8
    values = picture.values.astype(np.float64)
    share = values / max(float(values.max()), 1e-12)
    cells = LIGHT + share[..., None].clip(0, 1) * (DARK - LIGHT)
    cells = cells.astype(np.uint8).repeat(CELL_PIXELS, axis=0).repeat(CELL_PIXELS, axis=1)
    image = Image.new("RGB", (left + columns * CELL_PIXELS, top + rows * CELL_PIXELS), "white")
    image.paste(Image.fromarray(cells), (left, top))
    draw = ImageDraw.Draw(image)
    for row, name in enumerate(picture.rows):
        place = (left - 5, top + (row + 0.5) * CELL_PIXELS)
        draw.text(place, name, "black", font, anchor="rm")
    for column, name in enumerate(picture.columns):
        label = Image.new("RGB", (top, CELL_PIXELS), "white")
        ImageDraw.Draw(label).text((3, CELL_PIXELS / 2), name, "black", font, anchor="lm")
        image.paste(label.rotate(90, expand=True), (left + column * CELL_PIXELS, 0))
    return np.asarray(image)
