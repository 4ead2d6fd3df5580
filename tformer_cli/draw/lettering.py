"""Text in drawings: fonts of this machine, widths, lines and notes."""

from __future__ import annotations

import bisect
import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tformer_cli.data.core.media import shown
from tformer_cli.draw.drawing import FONT_PIXELS, ROW_PIXELS, SMALL_PIXELS, Text
from tformer_cli.tokenizers.segmentation import SPACE_MARK

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "arial.ttf", "NotoSansCJK-Regular.ttc", "ipag.ttf",
    "fonts-japanese-gothic.ttf", "Hiragino Sans GB.ttc", "Arial Unicode.ttf", "msgothic.ttc", "wqy-zenhei.ttc",
    "NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf",
)  # fmt: skip
"""File names of fonts on common systems, since Pillow's default font has only Latin characters."""

BOLD_FONTS = ("DejaVuSans-Bold.ttf", "NotoSans-Bold.ttf", "Arial Bold.ttf", "arialbd.ttf", "NotoSansCJK-Bold.ttc")

MAX_CHARACTERS = 2_000
"""Number of characters of a single line that are measured; more do not fit into a picture."""

JOINERS = "\u200c\u200d"
"""Invisible characters that Persian, Indian scripts and emoji need."""


def printable(text: str) -> str:
    """Return a text on one line, as it is drawn: unprintable characters are escaped, SentencePiece's space is "_"."""
    return re.sub(f"[^{JOINERS}]+", lambda part: shown(part[0]), text.replace(SPACE_MARK, "_"))


@functools.cache
def _font(name: str, size: int) -> FreeTypeFont | None:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@functools.lru_cache(65_536)
def _has(name: str, character: str) -> bool:
    """Return whether a font has a character: whether it is drawn differently from a missing character."""
    font = _font(name, FONT_PIXELS)
    return font is not None and _picture(font, character) != _picture(font, "\uffff")


def _picture(font: FreeTypeFont, character: str) -> bytes:
    return bytes(font.getmask(character))  # pyright: ignore[reportArgumentType]  # a sequence, unknown to the stubs


@functools.lru_cache(65_536)
def font_for(text: str, size: int = FONT_PIXELS, *, bold: bool = False) -> FreeTypeFont | ImageFont:
    """Return the first font of this machine that has all characters of a text, or the font that has most of them."""
    from PIL import ImageFont

    characters, best, best_count = set(text) - set(JOINERS), "", -1
    for name in (*BOLD_FONTS, *FONTS) if bold else FONTS:
        if _font(name, size) is None:
            continue
        count = sum(_has(name, character) for character in characters)
        if count > best_count:
            best, best_count = name, count
        if count == len(characters):
            break
    return _font(best, size) or ImageFont.load_default(size)


@functools.lru_cache(65_536)
def text_width(text: str, *, bold: bool = False, small: bool = False) -> int:
    """Return the width of a text in pixels; East Asian characters are as wide as high, even if no font has them."""
    size = SMALL_PIXELS if small else FONT_PIXELS
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return int(max(font_for(text, size, bold=bold).getlength(text), wide * size) + 0.999)


def rounded(value: float) -> str:
    """Return a number with three digits, or from 1,000 on as a whole number."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def widest(texts: Iterable[str], *, small: bool = False) -> int:
    """Return the width of the widest text; 0 if there is none."""
    return max((text_width(text, small=small) for text in texts), default=0)


def shortened(text: str, width: float, *, small: bool = False) -> str:
    """Return a text of at most a width; where it is cut, it ends in an ellipsis."""
    if len(text) <= MAX_CHARACTERS and text_width(text, small=small) <= width:
        return text
    ends = range(min(len(text), MAX_CHARACTERS) + 1)
    end = bisect.bisect_right(ends, width, key=lambda end: text_width(f"{text[:end]}…", small=small)) - 1
    return f"{text[:end].rstrip()}…" if end > 0 else ""


def broken(text: str, width: float, *, bold: bool = False, small: bool = False) -> list[str]:
    """Break a text into lines of at most a width, between words or, in words that are wider, between characters."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", bold=bold, small=small) <= width:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for character in word:
            if lines[-1] and text_width(lines[-1] + character, bold=bold, small=small) > width:
                lines.append("")
            lines[-1] += character
    return lines


def title_lines(title: str, left: float, width: float) -> tuple[list[Text], int]:
    """Return the title of a picture in lines, and the height that they take."""
    lines = broken(printable(title), width, bold=True)
    texts = [Text((left, ROW_PIXELS * (row + 0.5) + 2), line, bold=True) for row, line in enumerate(lines)]
    return texts, ROW_PIXELS * len(lines) + 4 * bool(lines)


def notes_below(notes: Iterable[str], left: float, top: float, width: float) -> tuple[list[Text], int]:
    """Return small notes in lines below a picture, and the height that they take."""
    lines = [line for note in notes for line in broken(printable(note), width, small=True)]
    step = SMALL_PIXELS + 4
    texts = [
        Text((left, top + step * (row + 0.5) + 4), line, small=True, colour="muted") for row, line in enumerate(lines)
    ]
    return texts, step * len(lines) + 6 * bool(lines)


def runs_leftwards(texts: Iterable[str]) -> bool:
    """Return whether most letters of some texts belong to scripts that run from right to left."""
    directions = [unicodedata.bidirectional(character) for text in texts for character in text]
    leftwards = sum(direction in ("R", "AL") for direction in directions)
    return leftwards > directions.count("L")


def enumerated(names: Iterable[str], step: int) -> Iterator[tuple[int, str]]:
    """Yield names with their numbers, each at least `step` after the one before it; empty ones are left out."""
    last = -step
    for number, name in enumerate(names):
        if name and number - last >= step:
            last = number
            yield number, name


def reduced_names(names: Sequence[str], block: int) -> list[str]:
    """Return a name for each block of cells: the first of the block that is not empty."""
    return [next(filter(None, names[start : start + block]), "") for start in range(0, len(names), block)]


def smallest_distance(names: Sequence[str], step: int) -> int:
    """Return the smallest distance of neighbours among the names that `enumerated` yields."""
    places = [number for number, _ in enumerated(names, step)]
    return min((after - before for before, after in itertools.pairwise(places)), default=max(1, len(names)))
