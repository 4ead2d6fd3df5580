"""Figures of a run (heat maps, galleries of images and spectrograms), drawn with Pillow."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tformer_cli.data.core.media import shown
from tformer_cli.tokenizers.segmentation import SPACE_MARK

if TYPE_CHECKING:
    from PIL import Image, ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

CELL_PIXELS, FONT_PIXELS = 22, 13
LIGHT, DARK = np.array((250, 250, 252.0)), np.array((20, 60, 130.0))

IMAGE_PIXELS, FRAME_PIXELS = 112, 4
CORRECT, WRONG, NEITHER = "#2e7d32", "#c62828", "#ffffff"
HEAT = np.array((255, 80, 0.0))
FRAME_WIDTH_PIXELS, BIN_PIXELS, MIN_PIXELS, MAX_PIXELS, MARK = 3, 2, 240, 3000, "#c62828"
TICK_SECONDS, TICK_PIXELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300), 40
SCALE_PIXELS = 12

FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "arial.ttf", "NotoSansCJK-Regular.ttc", "ipag.ttf",
    "fonts-japanese-gothic.ttf", "Hiragino Sans GB.ttc", "Arial Unicode.ttf", "msgothic.ttc", "wqy-zenhei.ttc",
)  # fmt: skip
"""File names of fonts on common systems, since Pillow's default font has only Latin characters."""


@dataclass
class HeatMap:
    """A matrix that is drawn as a heat map.

    Attributes:
        values: (rows, columns), float.
        rows: names of the rows.
        columns: names of the columns.
        title: line above the matrix.
        row_title: label of the rows.
        column_title: label of the columns.
        percent: whether the values are shares; they are then written into the cells, in percent.
    """

    values: np.ndarray
    rows: list[str]
    columns: list[str]
    title: str = ""
    row_title: str = ""
    column_title: str = ""
    percent: bool = False


@dataclass
class Gallery:
    """Images that are arranged in a grid.

    Attributes:
        images: each (height, width, 3 or 1), uint8.
        captions: one or two lines under each image.
        correct: whether the model's prediction is correct, shown by the colour of the frame; None: no frame.
        weights: heat map over each image, (rows, columns), float; empty: only the images.
        columns: number of images in a row; 0: chosen automatically.
    """

    images: list[np.ndarray]
    captions: list[str]
    correct: list[bool | None]
    weights: list[np.ndarray] = field(default_factory=list)
    columns: int = 0


@dataclass
class Spectrogram:
    """A spectrogram: time runs to the right, frequency upwards.

    Attributes:
        values: (frames, bins), float.
        marks: frames and their names, each drawn as a vertical line with the name above it.
        caption: a line below.
        frame_seconds: time between two frames, for the time axis; 0: no axis.
    """

    values: np.ndarray
    marks: list[tuple[int, str]] = field(default_factory=list)
    caption: str = ""
    frame_seconds: float = 0.0


@dataclass
class Sound:
    """A recording for playback.

    Attributes:
        samples: (N,), float32 from -1 to 1.
        rate: samples per second.
        caption: its transcript.
    """

    samples: np.ndarray
    rate: int
    caption: str = ""


Picture = HeatMap | Gallery | Spectrogram


def font_for(text: str) -> FreeTypeFont | ImageFont:
    """Return the first font of this machine that has all characters of a text, or the font that has most of them."""
    from PIL import ImageFont

    best, best_count = ImageFont.load_default(FONT_PIXELS), -1
    for name in FONTS:
        try:
            font = ImageFont.truetype(name, FONT_PIXELS)
        except OSError:
            continue
        missing = _drawn(font, "\uffff")
        count = sum(_drawn(font, character) != missing for character in set(text))
        if count > best_count:
            best, best_count = font, count
        if count == len(set(text)):
            break
    return best


def _drawn(font: FreeTypeFont, character: str) -> bytes:
    return bytes(font.getmask(character))  # pyright: ignore[reportArgumentType]  # a sequence, unknown to the stubs


def draw(picture: Picture) -> np.ndarray:
    """Draw a figure of any kind: (height, width, 3), uint8."""
    if isinstance(picture, Gallery):
        return gallery(picture)
    return spectrogram(picture) if isinstance(picture, Spectrogram) else heat_map(picture)


def png(pixels: np.ndarray) -> bytes:
    """Return an image, (height, width, 3) uint8, as the bytes of a PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def gallery(picture: Gallery) -> np.ndarray:
    """Draw images with captions in a grid; frames are green for correct predictions and red for wrong ones.

    Returns:
        (height, width, 3), uint8.
    """
    from PIL import Image, ImageDraw

    captions = [[shown(line) for line in caption.split("\n")] for caption in picture.captions]
    font = font_for("".join(line for caption in captions for line in caption))
    lines = max((len(caption) for caption in captions if any(caption)), default=0)
    caption_pixels = lines * FONT_PIXELS + 5 if lines else 0
    columns = picture.columns or max(1, round((len(picture.images) * 1.6) ** 0.5))
    cell = IMAGE_PIXELS + 2 * FRAME_PIXELS
    size = (columns * (cell + 8), -(-len(picture.images) // columns) * (cell + caption_pixels + 8))
    sheet = Image.new("RGB", size, "white")
    drawing = ImageDraw.Draw(sheet)
    for number, (image, caption, correct) in enumerate(zip(picture.images, captions, picture.correct, strict=True)):
        left, top = number % columns * (cell + 8), number // columns * (cell + caption_pixels + 8)
        frame = NEITHER if correct is None else CORRECT if correct else WRONG
        drawing.rectangle((left, top, left + cell - 1, top + cell - 1), frame)
        inner = _enlarged(image)
        if picture.weights:
            inner = _heated(inner, picture.weights[number])
        inside = (left + FRAME_PIXELS, top + FRAME_PIXELS)
        drawing.rectangle((*inside, inside[0] + IMAGE_PIXELS - 1, inside[1] + IMAGE_PIXELS - 1), NEITHER)
        sheet.paste(
            inner, (inside[0] + (IMAGE_PIXELS - inner.width) // 2, inside[1] + (IMAGE_PIXELS - inner.height) // 2)
        )
        for index, line in enumerate(caption):
            drawing.text(
                (left + cell / 2, top + cell + 2 + index * FONT_PIXELS),
                _cut(line, font, cell),
                "black",
                font,
                anchor="mt",
            )
    return np.asarray(sheet)


def _enlarged(image: np.ndarray) -> Image.Image:
    """Return an image whose longer side fills its cell."""
    from PIL import Image

    pixels = image.repeat(3, axis=-1) if image.shape[-1] == 1 else image
    height, width = (max(1, round(side * IMAGE_PIXELS / max(image.shape[:2]))) for side in image.shape[:2])
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def _cut(text: str, font: FreeTypeFont | ImageFont, width_pixels: float) -> str:
    """Return a text truncated to a width."""
    while text and font.getlength(text) > width_pixels:
        text = text[:-1]
    return text


def _heated(image: Image.Image, weights: np.ndarray) -> Image.Image:
    """Blend an image with a heat map of weights: low weights darken the image, high ones add red."""
    from PIL import Image

    share = Image.fromarray((255 * weights / max(float(weights.max()), 1e-12)).astype(np.uint8))
    share = np.asarray(share.resize(image.size, Image.Resampling.BICUBIC), np.float64)[..., None] / 255
    pixels = np.asarray(image, np.float64) * (0.35 + 0.65 * share)
    return Image.fromarray((pixels + 0.35 * share * (HEAT - pixels)).clip(0, 255).astype(np.uint8))


def heat_map(picture: HeatMap) -> np.ndarray:
    """Draw a matrix with named rows and columns, titles and a scale; the highest value is darkest.

    Returns:
        (height, width, 3), uint8.
    """
    from PIL import Image, ImageDraw

    row_names, column_names = (
        [shown(name.replace(SPACE_MARK, "_")) for name in part] for part in (picture.rows, picture.columns)
    )
    title, row_title, column_title = map(shown, (picture.title, picture.row_title, picture.column_title))
    font = font_for("".join((*row_names, *column_names, title, row_title, column_title)))
    values = picture.values.astype(np.float64)
    numbers = [[_percent(value) for value in row] for row in values.tolist()] if picture.percent else []
    widest = max((int(font.getlength(text)) for row in numbers for text in row), default=0)
    cell, line = max(CELL_PIXELS, widest + 6), FONT_PIXELS + 5
    rows, columns = values.shape
    names_left, names_top = (
        max((int(font.getlength(name)) for name in part), default=0) + 8 for part in (row_names, column_names)
    )
    left = names_left + line * bool(row_title)
    top = names_top + line * (bool(title) + bool(column_title))
    maximum = max(float(values.max(initial=0)), 1e-12)
    share = (values / maximum).clip(0, 1)
    cells = LIGHT + share[..., None] * (DARK - LIGHT)
    cells = cells.astype(np.uint8).repeat(cell, axis=0).repeat(cell, axis=1)
    highest = _short(maximum, percent=picture.percent)
    scale = int(font.getlength(highest)) + SCALE_PIXELS + 24
    right = left + columns * cell
    title_width = max(map(int, map(font.getlength, (title, column_title)))) + left + 8
    image = Image.new("RGB", (max(right + scale, title_width), max(top + rows * cell + 6, top + 3 * line)), "white")
    image.paste(Image.fromarray(cells), (left, top))
    draw = ImageDraw.Draw(image)
    draw.text((4, line / 2), title, "black", font, anchor="lm")
    draw.text((left, line * (bool(title) + 0.5)), column_title, "black", font, anchor="lm")
    for row, name in enumerate(row_names):
        draw.text((left - 5, top + (row + 0.5) * cell), name, "black", font, anchor="rm")
    for column, name in enumerate(column_names):
        upright = _upright(name, font, names_top, cell)
        image.paste(upright, (left + column * cell, top - names_top))
    if row_title:
        length = max(int(font.getlength(row_title)) + 6, rows * cell)
        image.paste(_upright(row_title, font, length, line), (0, max(0, top + rows * cell - length)))
    for row, texts in enumerate(numbers):
        for column, text in enumerate(texts):
            colour = "white" if share[row, column] > 0.5 else "black"
            draw.text((left + (column + 0.5) * cell, top + (row + 0.5) * cell), text, colour, font, anchor="mm")
    _scale(image, right + 14, top, max(rows * cell, 2 * line), highest, font)
    return np.asarray(image)


def _percent(share: float) -> str:
    """Return a share in percent as text for a cell; empty for 0."""
    return "" if share == 0 else "<1" if share < 0.005 else f"{100 * share:.0f}"


def _short(value: float, *, percent: bool) -> str:
    return f"{100 * value:.3g} %" if percent else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _upright(text: str, font: FreeTypeFont | ImageFont, length: int, width: int) -> Image.Image:
    """Draw a text that runs upwards."""
    from PIL import Image, ImageDraw

    label = Image.new("RGB", (length, width), "white")
    ImageDraw.Draw(label).text((3, width / 2), text, "black", font, anchor="lm")
    return label.rotate(90, expand=True)


def _scale(image: Image.Image, left: int, top: int, height: int, maximum: str, font: FreeTypeFont | ImageFont) -> None:
    """Draw the colour scale, from 0 at the bottom to the highest value at the top."""
    from PIL import Image, ImageDraw

    share = np.linspace(1, 0, height)[:, None, None]
    bar = (LIGHT + share * (DARK - LIGHT)).astype(np.uint8).repeat(SCALE_PIXELS, axis=1)
    image.paste(Image.fromarray(bar), (left, top))
    drawing = ImageDraw.Draw(image)
    drawing.rectangle((left, top, left + SCALE_PIXELS - 1, top + height - 1), outline="#888888")
    drawing.text((left + SCALE_PIXELS + 4, top), maximum, "black", font, anchor="lt")
    drawing.text((left + SCALE_PIXELS + 4, top + height - 1), "0", "black", font, anchor="lb")


def _lines(text: str, font: FreeTypeFont | ImageFont, width_pixels: int) -> list[str]:
    """Break a text into lines of at most a width; a word that is wider has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width_pixels:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def spectrogram(picture: Spectrogram) -> np.ndarray:
    """Draw a spectrogram; high values are dark, and the names of marks are above their frames.

    Returns:
        (height, width, 3), uint8.
    """
    from PIL import Image, ImageDraw

    marks = [(frame, shown(name)) for frame, name in picture.marks]
    words = shown(" ".join(picture.caption.split()))
    font = font_for("".join((*(name for _, name in marks), words)))
    values = picture.values.astype(np.float64).T[::-1]  # low frequencies below
    low, high = np.percentile(values, (1, 99.5))
    share = ((values - low) / max(high - low, 1e-12)).clip(0, 1)
    bins, frames = share.shape
    width_pixels = max(1, min(FRAME_WIDTH_PIXELS, MAX_PIXELS // frames), MIN_PIXELS // frames)
    bin_pixels = max(BIN_PIXELS, MIN_PIXELS // 2 // bins)
    cells = (LIGHT + share[..., None] * (DARK - LIGHT)).astype(np.uint8)
    cells = cells.repeat(bin_pixels, axis=0).repeat(width_pixels, axis=1)
    line = FONT_PIXELS + 5
    top = 2 * line if marks else 0
    ends = [frame * width_pixels + 4 + int(font.getlength(name)) for frame, name in marks]
    width = max(cells.shape[1], *ends, MIN_PIXELS)
    caption = _lines(words, font, width - 8)
    axis = line + 4 if picture.frame_seconds else 0
    image = Image.new("RGB", (width, top + cells.shape[0] + axis + line * len(caption) + 4), "white")
    image.paste(Image.fromarray(cells), (0, top))
    drawing = ImageDraw.Draw(image)
    for number, (frame, name) in enumerate(marks):  # names in two rows, so that they do not overlap
        x, y = frame * width_pixels, 2 + number % 2 * (line - 1)
        drawing.line((x, y + FONT_PIXELS, x, top + cells.shape[0]), MARK)
        drawing.text((x + 2, y), name, "black", font)
    if axis:
        _time_axis(drawing, top + cells.shape[0], cells.shape[1], width_pixels / picture.frame_seconds, font)
    for number, text in enumerate(caption):
        drawing.text((4, top + cells.shape[0] + axis + 3 + line * number), text, "black", font)
    return np.asarray(image)


def _time_axis(
    drawing: ImageDraw.ImageDraw, top: int, width: int, second_pixels: float, font: FreeTypeFont | ImageFont
) -> None:
    """Draw ticks with seconds below a spectrogram, as dense as their labels allow."""
    step = next(step for step in TICK_SECONDS if step * second_pixels >= TICK_PIXELS or step == TICK_SECONDS[-1])
    for tick in range(int(width / (step * second_pixels)) + 1):
        x, seconds = round(tick * step * second_pixels), tick * step
        drawing.line((x, top, x, top + 4), "black")
        label = f"{seconds:g} s" if not tick else f"{seconds:g}"
        anchor = "lt" if x < 12 else "rt" if x > width - 12 else "mt"
        drawing.text((x, top + 6), label, "black", font, anchor=anchor)
