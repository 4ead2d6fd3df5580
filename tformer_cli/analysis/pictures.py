"""Pictures, drawn with Pillow (which TensorBoard brings along)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from tformer_cli.segmentation import SPACE_MARK
from tformer_cli.tasks.base import Gallery, HeatMap, Picture, Spectrogram

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

CELL_PIXELS, FONT_PIXELS = 22, 13
LIGHT, DARK = np.array((250, 250, 252.0)), np.array((20, 60, 130.0))

IMAGE_PIXELS, FRAME_PIXELS = 112, 4
RIGHT, WRONG, NEITHER = "#2e7d32", "#c62828", "#ffffff"
HEAT = np.array((255, 80, 0.0))
FRAME_WIDTH_PIXELS, BIN_PIXELS, LEAST_PIXELS, WIDEST_PIXELS, MARK = 3, 2, 240, 3000, "#c62828"

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


def draw(picture: Picture) -> np.ndarray:
    """Any picture that a task gives: (height, width, 3), uint8."""
    if isinstance(picture, Gallery):
        return gallery(picture)
    return spectrogram(picture) if isinstance(picture, Spectrogram) else heat_map(picture)


def png(pixels: np.ndarray) -> bytes:
    """An image, (height, width, 3) uint8, as a PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def gallery(picture: Gallery) -> np.ndarray:
    """Images in a grid, framed green where the model was right and red where it was wrong, with their captions.

    Returns:
        (height, width, 3), uint8.
    """
    from PIL import Image, ImageDraw

    font = font_for("".join(picture.captions))
    caption_pixels = FONT_PIXELS + 5 if any(picture.captions) else 0
    columns = picture.columns or max(1, round((len(picture.images) * 1.6) ** 0.5))
    cell = IMAGE_PIXELS + 2 * FRAME_PIXELS
    size = (columns * (cell + 8), -(-len(picture.images) // columns) * (cell + caption_pixels + 8))
    sheet = Image.new("RGB", size, "white")
    drawing = ImageDraw.Draw(sheet)
    for number, (image, caption, right) in enumerate(zip(picture.images, picture.captions, picture.right, strict=True)):
        left, top = number % columns * (cell + 8), number // columns * (cell + caption_pixels + 8)
        frame = NEITHER if right is None else RIGHT if right else WRONG
        drawing.rectangle((left, top, left + cell - 1, top + cell - 1), frame)
        pixels = image.repeat(3, axis=-1) if image.shape[-1] == 1 else image
        shown = Image.fromarray(pixels).resize((IMAGE_PIXELS, IMAGE_PIXELS), Image.Resampling.NEAREST)
        if picture.weights:
            shown = _heated(shown, picture.weights[number])
        sheet.paste(shown, (left + FRAME_PIXELS, top + FRAME_PIXELS))
        while caption and font.getlength(caption) > cell:
            caption = caption[:-1]
        drawing.text((left + cell / 2, top + cell + 2), caption, "black", font, anchor="mt")
    return np.asarray(sheet)


def _heated(image: Image.Image, weights: np.ndarray) -> Image.Image:
    """An image, dark where the weights are low and glowing where they are high."""
    from PIL import Image

    share = Image.fromarray((255 * weights / max(float(weights.max()), 1e-12)).astype(np.uint8))
    share = np.asarray(share.resize(image.size, Image.Resampling.BICUBIC), np.float64)[..., None] / 255
    pixels = np.asarray(image, np.float64) * (0.35 + 0.65 * share)
    return Image.fromarray((pixels + 0.35 * share * (HEAT - pixels)).clip(0, 255).astype(np.uint8))


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


def _lines(text: str, font: FreeTypeFont | ImageFont, width_pixels: int) -> list[str]:
    """A text's words in lines that are not wider, but for single words."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width_pixels:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def spectrogram(picture: Spectrogram) -> np.ndarray:
    """Sound as a picture, darkest where it is loudest; what is marked stands above the frame where it begins.

    Returns:
        (height, width, 3), uint8.
    """
    from PIL import Image, ImageDraw

    font = font_for("".join((*(name for _, name in picture.marks), picture.caption)))
    values = picture.values.astype(np.float64).T[::-1]  # low frequencies below
    low, high = np.percentile(values, (1, 99.5))
    share = ((values - low) / max(high - low, 1e-12)).clip(0, 1)
    bins, frames = share.shape
    width_pixels = max(1, min(FRAME_WIDTH_PIXELS, WIDEST_PIXELS // frames), LEAST_PIXELS // frames)
    bin_pixels = max(BIN_PIXELS, LEAST_PIXELS // 2 // bins)
    cells = (LIGHT + share[..., None] * (DARK - LIGHT)).astype(np.uint8)
    cells = cells.repeat(bin_pixels, axis=0).repeat(width_pixels, axis=1)
    line = FONT_PIXELS + 5
    top = 2 * line if picture.marks else 0
    ends = [frame * width_pixels + 4 + int(font.getlength(name)) for frame, name in picture.marks]
    width = max(cells.shape[1], *ends, LEAST_PIXELS)
    caption = _lines(picture.caption, font, width - 8)
    image = Image.new("RGB", (width, top + cells.shape[0] + line * len(caption) + 4), "white")
    image.paste(Image.fromarray(cells), (0, top))
    drawing = ImageDraw.Draw(image)
    for number, (frame, name) in enumerate(picture.marks):  # names in two rows, so that they do not run together
        x, y = frame * width_pixels, 2 + number % 2 * (line - 1)
        drawing.line((x, y + FONT_PIXELS, x, top + cells.shape[0]), MARK)
        drawing.text((x + 2, y), name, "black", font)
    for number, text in enumerate(caption):
        drawing.text((4, top + cells.shape[0] + 3 + line * number), text, "black", font)
    return np.asarray(image)
