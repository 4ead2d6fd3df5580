"""Decoding of an image, from a file or its bytes, to pixels.

The size in the header is checked before memory is allocated.
"""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image, ImageFile, ImageOps

from tformer_cli.config.schema import Fit
from tformer_cli.data.core.media import BadItem, files_below, opened, reason

if TYPE_CHECKING:
    from tformer_cli.config.schema import ImageDataConfig

Result = TypeVar("Result")

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "PPM", "TIFF", "AVIF", "JPEG2000")
"""Supported formats, by Pillow's names; not EPS, for example, which is a program that would be run."""
ENDINGS = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm",
    ".tif", ".tiff", ".avif", ".jp2", ".j2k", ".jpx",
)  # fmt: skip
FOREIGN = (
    (4, b"ftyphei", "HEIC (HEIF)"), (4, b"ftyphev", "HEIC (HEIF)"), (4, b"ftypmif1", "HEIF"), (4, b"ftypmsf1", "HEIF"),
    (0, b"\xff\x0a", "JPEG XL"), (0, b"\0\0\0\x0cJXL ", "JPEG XL"), (0, b"%PDF", "PDF"), (0, b"%!PS", "PostScript"),
    (0, b"8BPS", "Photoshop"), (0, b"<svg", "SVG"), (0, b"<?xml", "SVG or other XML"), (0, b"\0\0\1\0", "an icon"),
    (0, b"FUJIFILM", "a raw photograph"), (8, b"CR\x02\0", "a raw photograph"), (4, b"ftypcrx", "a raw photograph"),
)  # fmt: skip
"""Offsets, signatures and names of formats that are not supported."""
MOST_PIXELS = Image.MAX_IMAGE_PIXELS or 1 << 26
LEAST_SIDE, MOST_ASPECT = 2, 64
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
PNG_CHUNK_EXTRA = 4
"""Bytes of a chunk after its content: the checksum."""
DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes for 16 bits, which may be stored in 32."""
BITS_PER_SAMPLE = 258
"""Tag of TIFF."""
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""Tag of TIFF for the meaning of its values, and the value for black as the largest one."""
GREY_STEPS = {"L;2": 85, "L;4": 17}
"""Pillow's names for grey of 2 and 4 bits in PNG files, and its factors to 8 bits."""
TRANSPARENT = ("LA", "PA", "RGBA", "RGBa")

# Implausible metadata is refused or ignored here, so Pillow's warnings about it are not shown.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadPicture(BadItem):
    """An image that cannot be read."""


def stored_size(config: ImageDataConfig) -> tuple[int, int]:
    """Return the height and width, in pixels, to which images are scaled when they are read; see `data.fit`."""
    height, width = (round(side / config.crop_share) for side in config.height_width)
    return height, width


def read_picture(source: Path | str | bytes, config: ImageDataConfig, name: str = "") -> np.ndarray:
    """Decode an image and scale it.

    The first frame is rotated by its EXIF data, composed over white, and converted to 8 bits and `data.channels`
    colours. It is then scaled to `stored_size` by `data.fit`. An image that has this size is unchanged, bit for bit.
    Colour profiles are ignored.

    Args:
        source: a file, or its content.
        config: size, channels and filter.
        name: name in error messages; empty: that of the file.

    Returns:
        (H, W, C) uint8.

    Raises:
        BadPicture: (a `DataError`) if it is missing, empty, truncated or not an image, or its size is not allowed. A
            side has at least 2 pixels and at most 64 times the other, and `PIL.Image.MAX_IMAGE_PIXELS` limits the area.
    """
    name = name or (str(source) if not isinstance(source, bytes) else "the picture")
    return _open(source, name, lambda image: _pixels(image, config, name))


def scaled_size(source: Path | str | bytes, config: ImageDataConfig, name: str = "") -> tuple[int, int]:
    """Return the width and height to which `read_picture` scales an image, without decoding it.

    The rotation by EXIF data is not taken into account.

    Raises:
        BadPicture: if the header shows that the image cannot be read.
    """
    return _open(source, name, lambda image: _scaled(image.size, config))


def _open(source: Path | str | bytes, name: str, use: Callable[[ImageFile.ImageFile], Result]) -> Result:
    try:
        with opened(source, name, BadPicture) as stream:
            _check_foreign(stream, name)
            _check_png(stream, name)
            with Image.open(stream, formats=_formats()) as image:
                _check_size(image, name)
                return use(image)
    except BadPicture:
        raise
    except Exception as error:  # Pillow's decoders raise various exceptions for damaged files
        raise BadPicture(name, _reason(error)) from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return the formats that this Pillow supports; older versions and some builds lack AVIF or JPEG 2000."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_foreign(stream: IO[bytes], name: str) -> None:
    """Refuse a known but unsupported format by its name."""
    head = stream.read(16)
    stream.seek(0)
    for offset, mark, kind in FOREIGN:
        if head[offset:].startswith(mark):
            raise BadPicture(name, f"{kind}, a format that is not read: convert it to JPEG or PNG")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return f"not a picture in a supported format ({', '.join(_formats())})"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MOST_PIXELS:,} pixels"
    return reason(error)


def _check_png(stream: IO[bytes], name: str) -> None:
    """Refuse a PNG without its last chunk, as Pillow would read the remainder without an error."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if stream.read(len(PNG_HEAD)) == PNG_HEAD:
        while True:
            head = stream.read(8)
            end = stream.tell() + int.from_bytes(head[:4], "big") + PNG_CHUNK_EXTRA
            if len(head) < 8 or end > size:
                raise BadPicture(name, "cut off")
            if head[4:] == b"IEND":
                break
            stream.seek(end)
    stream.seek(0)


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise BadPicture(name, f"{width:,} x {height:,} pixels are more than {MOST_PIXELS:,}")
    if min(width, height) < LEAST_SIDE:
        raise BadPicture(name, f"{width} x {height} pixels: each side must have {LEAST_SIDE} or more")
    if max(width, height) > MOST_ASPECT * min(width, height):  # a long and thin image becomes large when it is scaled
        raise BadPicture(name, f"{width:,} x {height:,} pixels: one side is over {MOST_ASPECT} times the other")


def _scaled(size: tuple[int, int], config: ImageDataConfig) -> tuple[int, int]:
    """Return the width and height of an image of the given size after scaling by `data.fit`."""
    (width, height), (rows, columns) = size, stored_size(config)
    if config.fit is Fit.stretch:
        return columns, rows
    if (width * rows < height * columns) is (config.fit is Fit.crop):  # the width decides
        return columns, max(1, round(height * columns / width))
    return max(1, round(width * rows / height)), rows


def _load(image: ImageFile.ImageFile) -> None:
    """Decode an image. The transparent colour of a PNG file becomes one of the decoded values.

    Pillow converts grey of 2 and 4 bits and colours of 16 bits to 8 bits, but not their transparent colour.
    """
    colour, file, stored = image.info.get("transparency"), image.fp, list(image.tile)  # Pillow clears them
    image.load()
    if image.format != "PNG" or colour is None:
        return
    if (kind := stored[0].args) in GREY_STEPS:
        image.info["transparency"] = colour * GREY_STEPS[kind]
    elif kind == "RGB;16B" and file is not None:
        with Image.open(file, formats=("PNG",)) as copy:
            copy.tile = [stored[0]._replace(args="RGB;16L")]  # the lower 8 bits of each value in place of the upper
            lower = np.array(copy)
        equal = (np.asarray(image).astype(np.uint16) << 8 | lower) == np.array(colour)
        image.putalpha(Image.fromarray(np.where(equal.all(-1), 0, 255).astype(np.uint8)))


def _pixels(image: ImageFile.ImageFile, config: ImageDataConfig, name: str) -> np.ndarray:
    _load(image)
    _turn(image)
    plain = _plain(image, name).convert("L" if config.channels == 1 else "RGB")
    size = _scaled(plain.size, config)
    if plain.size != size:
        plain = plain.resize(size, Image.Resampling[config.resample.name.upper()])
    if config.fit is Fit.pad:
        plain = _padded(plain, config)
    pixels = np.array(plain)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _padded(image: Image.Image, config: ImageDataConfig) -> Image.Image:
    """Paste an image into the centre of `stored_size` pixels of the mean colour."""
    (rows, columns), levels = stored_size(config), [round(255 * min(1, max(0, mean))) for mean in config.mean]
    colour = levels[0] if config.channels == 1 else tuple(levels * (1 if len(levels) > 1 else config.channels))
    padded = Image.new(image.mode, (columns, rows), colour)
    padded.paste(image, ((columns - image.width) // 2, (rows - image.height) // 2))
    return padded


def _turn(image: Image.Image) -> None:
    """Rotate an image by its EXIF data; damaged EXIF data are ignored."""
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _plain(image: Image.Image, name: str) -> Image.Image:
    """Convert an image to 8 bits a channel without transparency."""
    if image.mode in DEEP_GREY:
        if image.format == "TIFF" and 32 in getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, ()):
            raise BadPicture(name, "grey of 32 bits, which does not define the white level")
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BadPicture(name, "grey of more than 16 bits")
        tags = getattr(image, "tag_v2", {})
        white = min(65535, (1 << max(tags.get(BITS_PER_SAMPLE, (16,)))) - 1)  # less in a TIFF of 12 bits
        values = white - values if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else values
        transparent = values == image.info.get("transparency", -1)
        levels = (values.clip(max=white) * 255 + white // 2) // white
        return Image.fromarray(np.where(transparent, 255, levels).astype(np.uint8))
    if image.mode == "F":
        raise BadPicture(name, "pixels are fractions, which do not define the white level")
    if image.mode in TRANSPARENT or "transparency" in image.info:
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return image


def picture_files(path: Path) -> list[Path]:
    """Return the sorted images in a folder and those below it; or `path` itself if it is a file.

    Raises:
        DataError: if there is no such path, or no image in the folder.
    """
    return files_below(path, ENDINGS, "picture")
