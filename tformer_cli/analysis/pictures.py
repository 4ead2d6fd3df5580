"""Pictures, drawn with Pillow (which TensorBoard brings along)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tformer_cli.segmentation import SPACE_MARK
from tformer_cli.tasks.base import HeatMap

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

CELL_PIXELS, FONT_PIXELS = 22, 13
LIGHT, DARK = np.array((250, 250, 252.0)), np.array((20, 60, 130.0))

FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "arial.ttf", "NotoSansCJK-Regular.ttc", "ipag.ttf",
    "fonts-japanese-gothic.ttf", "Hiragino Sans GB.ttc", "Arial Unicode.ttf", "msgothic.ttc", "wqy-zenhei.ttc",
)  # fmt: skip
"""Of the usual systems, by the file's name; Pillow's own lacks all but plain Latin."""


def font_for(text: str) -> FreeTypeFont | ImageFont:
    """The first font of this machine that has every character of a text; else the one that has most."""
    from PIL import ImageFont

    best, most = ImageFont.load_default(FONT_PIXELS), -1
    for name in FONTS:
        try:
            font = ImageFont.truetype(name, FONT_PIXELS)
        except OSError:
            continue
        absent = _drawn(font, "\uffff")
        known = sum(_drawn(font, character) != absent for character in set(text))
        if known > most:
            best, most = font, known
        if known == len(set(text)):
            break
    return best


def _drawn(font: FreeTypeFont, character: str) -> bytes:
    return bytes(font.getmask(character))  # pyright: ignore[reportArgumentType]  # a sequence, unknown to the stubs


def heat_map(picture: HeatMap) -> np.ndarray:
    """A matrix as a picture with named rows and columns; darkest where the value is highest.

    Returns:
        (height, width, 3), uint8.
    """
    from PIL import Image, ImageDraw

    row_names, column_names = (
        [name.replace(SPACE_MARK, "_") for name in part] for part in (picture.rows, picture.columns)
    )
    font = font_for("".join((*row_names, *column_names)))
    rows, columns = picture.values.shape
    left = max((int(font.getlength(name)) for name in row_names), default=0) + 8
    top = max((int(font.getlength(name)) for name in column_names), default=0) + 8
    values = picture.values.astype(np.float64)
    share = values / max(float(values.max()), 1e-12)
    cells = LIGHT + share[..., None].clip(0, 1) * (DARK - LIGHT)
    cells = cells.astype(np.uint8).repeat(CELL_PIXELS, axis=0).repeat(CELL_PIXELS, axis=1)
    image = Image.new("RGB", (left + columns * CELL_PIXELS, top + rows * CELL_PIXELS), "white")
    image.paste(Image.fromarray(cells), (left, top))
    draw = ImageDraw.Draw(image)
    for row, name in enumerate(row_names):
        place = (left - 5, top + (row + 0.5) * CELL_PIXELS)
        draw.text(place, name, "black", font, anchor="rm")
    for column, name in enumerate(column_names):
        label = Image.new("RGB", (top, CELL_PIXELS), "white")
        ImageDraw.Draw(label).text((3, CELL_PIXELS / 2), name, "black", font, anchor="lm")
        image.paste(label.rotate(90, expand=True), (left + column * CELL_PIXELS, 0))
    return np.asarray(image)
