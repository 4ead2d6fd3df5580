"""One picture: what its file gives, and files that are damaged, too large or of other formats."""

from __future__ import annotations

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.data.image.test_images import NOISE, SIDE, config, encoded, fault, folder, made_up, read
from tformer_cli.config.schema import ImageDataConfig, Resample
from tformer_cli.data.image.images import read_picture, stored_size
from tformer_cli.data.image.pictures import _formats
from tformer_cli.errors import DataError


def decoded(content: bytes, **settings) -> np.ndarray:
    return read_picture(content, config("/nowhere/at/all", **settings), "it")


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF", "JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_kinds_of_files(kind, channels):
    flat = np.broadcast_to(np.array([200, 200, 200], np.uint8), (SIDE, SIDE, 3))
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(kind, {})
    pixels = decoded(saved(Image.fromarray(flat), kind, **options), channels=channels)
    assert pixels.shape == (SIDE, SIDE, channels) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - 200).max() <= (2 if kind == "JPEG" else 0)


def test_colours_become_what_is_asked_for():
    red = Image.new("RGB", (SIDE, SIDE), (255, 0, 0))
    assert decoded(saved(red), channels=3)[0, 0].tolist() == [255, 0, 0] and decoded(saved(red))[0, 0].tolist() == [76]
    assert decoded(saved(red.quantize(4)), channels=3)[0, 0].tolist() == [255, 0, 0]
    assert decoded(saved(red.convert("L")), channels=3)[0, 0].tolist() == [76, 76, 76]
    assert decoded(saved(Image.new("1", (SIDE, SIDE), 1)))[0, 0].tolist() == [255]
    cyan = decoded(saved(Image.new("CMYK", (SIDE, SIDE), (255, 0, 0, 0)), "JPEG", quality=100), channels=3)[0, 0]
    assert cyan[0] <= 5 and cyan[1] >= 250 and cyan[2] >= 250


def test_what_is_transparent_is_white():
    half = decoded(saved(Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 128))), channels=3)[0, 0]
    assert half.tolist() == [127, 127, 127]
    for image in (Image.new("RGBA", (SIDE, SIDE), (9, 9, 9, 0)), Image.new("LA", (SIDE, SIDE), (9, 0))):
        assert decoded(saved(image), channels=3)[0, 0].tolist() == [255, 255, 255]
    palette = Image.new("RGB", (SIDE, SIDE), (255, 0, 0)).quantize(4)
    assert decoded(saved(palette, transparency=palette.getpixel((0, 0))), channels=3)[0, 0].tolist() == [255, 255, 255]


def png(bits: int, kind: int, transparent: bytes, row: bytes) -> bytes:
    """Return a PNG of SIDE equal rows; `kind` is its colour type: 0 for grey, 2 for colours."""
    head = struct.pack(">IIBBBBB", SIDE, SIDE, bits, kind, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"tRNS", transparent), (b"IDAT", zlib.compress((b"\0" + row) * SIDE)), (b"IEND", b""))
    parts = (struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_white_in_each_depth(bits):
    values = (0, 1) if bits == 1 else (1, 2)
    packed = sum(values[column % 2] << bits * (SIDE - 1 - column) for column in range(SIDE))
    content = png(bits, 0, struct.pack(">H", values[0]), packed.to_bytes(SIDE * bits // 8, "big"))
    for channels in (1, 3):
        pixels = decoded(content, channels=channels)
        assert (pixels[:, ::2] == 255).all()
        assert (pixels[:, 1::2] == round(values[1] * 255 / ((1 << bits) - 1))).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_is_white_in_each_depth(bits):
    """A colour of 16 bits that differs from the transparent one in its lower bits alone stays as it is."""
    style = ">3B" if bits == 8 else ">3H"
    transparent, other = ((1, 2, 3), (1, 2, 4)) if bits == 8 else ((256, 513, 770), (256, 513, 771))
    row = (struct.pack(style, *transparent) + struct.pack(style, *other)) * (SIDE // 2)
    pixels = decoded(png(bits, 2, struct.pack(">3H", *transparent), row), channels=3)
    assert (pixels[:, ::2] == 255).all()
    assert (pixels[:, 1::2] == (other if bits == 8 else (1, 2, 3))).all()


def test_sixteen_bits_become_eight():
    deep = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    expected = np.floor(deep * (255 / 65535) + 0.5)
    for kind in ("PNG", "TIFF"):
        assert np.abs(decoded(saved(Image.fromarray(deep), kind))[:, :, 0] - expected).max() == 0
    with pytest.raises(DataError, match="it: pixels are fractions"):
        decoded(saved(Image.fromarray(deep.astype(np.float32)), "TIFF"))


def tiff(bits: int, meaning: int, content: bytes) -> bytes:
    """A grey TIFF of SIDE x SIDE pixels in one strip; `meaning` is its PhotometricInterpretation."""
    tags = {256: SIDE, 257: SIDE, 258: bits, 259: 1, 262: meaning, 277: 1, 278: SIDE, 279: len(content)}
    tags[273] = 8 + 2 + 12 * (len(tags) + 1) + 4  # where the strip begins
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + content


def test_grey_of_tiffs_is_as_bright_as_their_tags_say():
    halves = np.tile(np.array([65535, 32768], "<u2").repeat(SIDE // 2), (SIDE, 1))
    assert decoded(tiff(16, 1, halves.tobytes()))[0, [0, -1], 0].tolist() == [255, 128]
    assert decoded(tiff(16, 0, halves.tobytes()))[0, [0, -1], 0].tolist() == [0, 127]  # 0 is white
    packed = bytes([0xFF] * 3 * (SIDE // 4) + [0x80, 0x08, 0x00] * (SIDE // 4)) * SIDE  # 4095 and 2048, in 12 bits
    assert decoded(tiff(12, 1, packed))[0, [0, -1], 0].tolist() == [255, 128]
    grey = Image.fromarray(np.full((SIDE, SIDE), 1000, np.uint16))
    assert decoded(saved(grey))[0, 0].tolist() == [4]
    assert decoded(saved(grey, transparency=1000))[0, 0].tolist() == [255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_as_their_exif_says(kind):
    image = Image.new("L", (16, SIDE), 0)
    image.paste(255, (0, 0, 8, SIDE))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: what was left is then above
    turned = decoded(saved(image.convert("RGB"), kind, exif=exif))
    assert turned.shape == (16, SIDE, 1) and turned[:6].min() > 200 and turned[10:].max() < 50


def test_damaged_exif_takes_nothing_from_the_picture():
    content = saved(Image.new("RGB", (SIDE, SIDE), (9, 9, 9)), exif=b"Exif\0\0this is no EXIF")
    assert decoded(content, channels=3)[0, 0].tolist() == [9, 9, 9]


def test_the_first_frame_of_what_moves():
    frames = [Image.new("RGB", (SIDE, SIDE), (value, value, value)) for value in (200, 10)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        assert decoded(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options))[0, 0, 0] == 200


def test_the_shorter_side_is_scaled():
    assert stored_size(ImageDataConfig()) == (256, 256) and stored_size(config("x")) == (SIDE, SIDE)
    wide = Image.fromarray(made_up(1, 40)[0, :20, :, 0])
    for resample in Resample:
        scaled = decoded(saved(wide), resample=resample)
        filter_of = Image.Resampling[resample.name.upper()]
        assert scaled[:, :, 0].tolist() == np.asarray(wide.resize((16, 8), filter_of)).tolist()
    assert decoded(saved(wide.resize((20, 8))))[:, :, 0].tolist() == np.asarray(wide.resize((20, 8))).tolist()
    assert decoded(saved(wide), crop_share=0.5).shape == (16, 32, 1)


def png_head(width: int, height: int) -> bytes:
    """A PNG that says a size, and has next to nothing in it."""
    chunks = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"0" * 64)),
        (b"IEND", b""),
    )
    parts = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


FAULTS = {
    "cut JPEG": (encoded(NOISE, "JPEG")[:1500], "cut off"),
    "cut PNG": (encoded(NOISE)[:-12], "cut off"),
    "PNG cut in its middle": (encoded(NOISE)[:3000], "cut off"),
    "empty": (b"", r"empty \(0 bytes\)"),
    "text": (b"this is no picture\n" * 9, "not a picture in a supported format"),
    "program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript, a format that is not read"),
    "bomb": (png_head(10_000, 10_000), "10,000 x 10,000 pixels are more than 89,478,485"),
    "larger bomb": (png_head(60_000, 60_000), "more than 89,478,485 pixels"),
    "long and thin": (png_head(2, 40_000_000), "2 x 40,000,000 pixels: one side is over 64 times the other"),
    "1x1": (encoded(made_up(1, 1)[0]), "1 x 1 pixels: each side must have 2 or more"),
    "damaged": (encoded(NOISE)[:200] + b"\xff" * 400 + encoded(NOISE)[600:], "damaged: "),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_picture_is_named_or_left_out(tmp_path, name):
    content, reason = FAULTS[name]
    data_folder = folder(tmp_path / "data" / "train", made_up()).parent
    bad = data_folder / "train" / "cat" / "003.png"
    bad.write_bytes(content)
    with pytest.raises(DataError, match=f"003.png: {reason}.*: repair or remove it, or .*on_bad_sample=skip") as caught:
        read(config(data_folder, validation_share=0))
    assert caught.tb and not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
    images = read(config(data_folder, validation_share=0), skip=True)
    assert len(images) == 12 and str(bad) not in images.names and len(images.labels) == len(images.digests) == 12
    [note] = images.notes
    assert note.startswith(f"1 of 13 pictures could not be read and were left out: {bad} (")
    assert "003.png: " in fault(config(data_folder, validation_share=0))  # though the cache knows those without it
    with pytest.raises(DataError, match=reason):
        read_picture(bad, config(data_folder))


def test_a_bomb_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for content in (png_head(9_000, 9_950), png_head(2, 40_000_000), png_head(60_000, 60_000)):
        file = tmp_path / "bomb.png"
        file.write_bytes(content)
        with pytest.raises(DataError, match="pixels"):
            read_picture(file, config(tmp_path))


def test_png_may_have_something_after_its_end():
    assert decoded(encoded(made_up()[0]) + b"more").tolist() == made_up()[0].tolist()


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "DIB", "TIFF", "WEBP"])
def test_every_format_is_read_whole_or_refused(kind, tmp_path):
    if kind not in _formats():
        pytest.skip(f"this Pillow does not read {kind}")
    picture = np.tile(np.arange(0, 240, 4, np.uint8)[:, None, None], (1, 40, 3))
    content = encoded(picture, kind)
    settings = config(tmp_path, image_size=16, channels=3)
    pixels = read_picture(content, settings, "it").astype(int)
    assert pixels.shape == (24, 16, 3) and (pixels[1:-1].mean((1, 2))[1:] > pixels[1:-1].mean((1, 2))[:-1]).all()
    for share in (0.98, 0.5):
        with pytest.raises(DataError, match=r"it: (cut off|damaged|not a picture)"):
            read_picture(content[: int(share * len(content))], settings, "it")


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"), (b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIF"), (b"\xff\x0a\0\0", "JPEG XL"),
     (b"%PDF-1.7", "PDF"), (b"<svg xmlns=", "SVG"), (b"8BPS\0\1", "Photoshop")],
)  # fmt: skip
def test_formats_that_are_not_read_are_refused_by_name(head, name, tmp_path):
    (tmp_path / "phone.jpg").write_bytes(head + bytes(100))
    with pytest.raises(DataError, match=rf"phone\.jpg: {name}.*, a format that is not read: convert it to JPEG or PNG"):
        read_picture(tmp_path / "phone.jpg", config(tmp_path))


def test_grey_of_32_bits_does_not_become_black():
    with pytest.raises(DataError, match="it: grey of 32 bits, which does not define the white level"):
        decoded(saved(Image.fromarray(np.full((SIDE, SIDE), 200, np.int32)), "TIFF"))
