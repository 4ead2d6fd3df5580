"""Recordings with a wrong length in their header, and files that contain several recordings."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from tformer_cli.data.speech import sound_parts
from tformer_cli.data.speech.audio import BadRecording, read_sound

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")
RATE = 16_000


def tone(seconds: float = 0.5, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def encoded(samples: np.ndarray, kind: str = "WAV", sub: str | None = None, rate: int = RATE, **options) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=sub, **options)
    return stream.getvalue()


def decode(content: bytes) -> np.ndarray:
    return read_sound(content, RATE, "it").astype(float) / (1 << 15)


def fault(content: bytes) -> str:
    with pytest.raises(BadRecording) as caught:
        read_sound(content, RATE, "it")
    assert "\n" not in str(caught.value)
    return caught.value.reason


def with_size(content: bytes, name: bytes, size: int, form: str = "<I", after: int = 4) -> bytes:
    """Return a file with another size in the chunk of a name."""
    position = content.index(name) + after
    return content[:position] + struct.pack(form, size) + content[position + struct.calcsize(form) :]


# --- wrong headers ---


@pytest.mark.parametrize("size", [0, 1, 1001, 8000, 0x7FFFFFFF, 0x7FFFF024, 0xFFFFFFFF, 0xFFFFFFFE])
@pytest.mark.parametrize("sub", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_a_wav_that_says_less_or_does_not_know_is_read_to_its_end(size, sub):
    content = encoded(tone(), sub=sub)
    expected = decode(content)
    for riff in (None, 0, 36, 0xFFFFFFFF):
        changed = content if riff is None else with_size(content, b"RIFF", riff)
        assert (decode(with_size(changed, b"data", size)) == expected).all()


@pytest.mark.parametrize("sub", ["PCM_16", "PCM_U8"])
@pytest.mark.parametrize(
    "tail",
    [
        b"LIST\x04\0\0\0INFO", b"id3 \x03\0\0\0abc\0", b"\0" * 37, b"\0", b"TAG" + bytes(125),
        b"LIST\x04\0\0\0INFOTAG" + bytes(125), b"bext\xff\0\0\0" + bytes(255),
    ],
)  # fmt: skip
def test_what_stands_behind_the_sound_of_a_wav_is_no_sound(tail, sub):
    for count in (8000, 8001):
        content = encoded(tone()[:count] if count == 8000 else np.append(tone(), 0.1), sub=sub)
        expected = decode(content)
        assert len(expected) == count and (decode(content + tail) == expected).all()
        if sub == "PCM_U8" and count == 8001:  # written without the padding byte
            assert (decode(content[:-1] + tail) == expected).all()


def test_chunks_before_the_sound():
    content = encoded(tone())
    position = content.index(b"data")
    for chunk in (b"LIST\x03\0\0\0abc\0", b"junk\x1c\0\0\0" + b"data" * 7):
        assert (decode(content[:position] + chunk + content[position:]) == decode(content)).all()
    odd = b"LIST\x03\0\0\0abc"  # without the padding byte, libsndfile does not find the next chunk
    assert fault(content[:position] + odd + content[position:]).startswith("damaged: ")


@pytest.mark.parametrize("sub", ["MS_ADPCM", "IMA_ADPCM", "GSM610"])
def test_a_wav_in_blocks_is_read_to_its_last_block(sub):
    content = encoded(tone(), sub=sub)
    samples = decode(content)
    assert 8000 <= len(samples) < 8000 + 1100 and np.abs(samples[:8000] - tone()).max() < 0.4
    assert (decode(with_size(content, b"data", 0)) == samples).all()
    assert (decode(with_size(content, b"data", 0xFFFFFFFF)) == samples).all()


def test_several_wavs_in_one_are_all_read():
    first, second = encoded(tone()), encoded(tone(0.25, 8000), rate=8000)
    both = decode(first + second)
    assert len(both) == 8000 + 4000 and (both[:8000] == decode(first)).all() and (both[8000:] == decode(second)).all()
    assert fault(first + second[:-2]).startswith("cut off: its header declares 4,000 bytes")
    assert len(decode(first + second + first)) == 20_000


@pytest.mark.parametrize(
    ("kind", "name", "form", "after", "unknown"),
    [("AU", b".snd", ">I", 8, 0xFFFFFFFF), ("CAF", b"data", ">q", 4, -1), ("W64", b"data", "<q", 16, 0)],
)
def test_other_kinds_that_do_not_know_their_length_are_read_to_their_end(kind, name, form, after, unknown):
    content = encoded(tone(), kind)
    assert len(decode(content)) == 8000
    assert (decode(with_size(content, name, unknown, form, after)) == decode(content)).all()


@pytest.mark.parametrize("kind", ["AU", "CAF", "W64", "AIFF", "NIST", "RF64"])
def test_other_kinds_that_are_cut_are_refused(kind):
    content = encoded(tone(), kind)
    for share in (0.9, 0.5):
        assert fault(content[: int(share * len(content))]).startswith("cut off: its header declares")


def test_an_aiff_whose_head_says_less_is_refused():
    content = encoded(tone(), "AIFF")
    assert "its header declares 992 bytes of sound, but it has 16,000" in fault(with_size(content, b"SSND", 1000, ">I"))
    assert (decode(content + b"ANNO\0\0\0\x02ab") == decode(content)).all()


def test_an_au_whose_head_says_less_is_read_to_its_end():
    content = encoded(tone(), "AU")
    assert (decode(with_size(content, b".snd", 1000, ">I", 8)) == decode(content)).all()


# --- FLAC ---


def unsaid(content: bytes) -> bytes:
    """Return a FLAC without the number of samples in its first block."""
    return content[:21] + bytes([content[21] & 0xF0]) + bytes(4) + content[26:]


@pytest.mark.parametrize("seconds", [0.01, 0.5, 20])
@pytest.mark.parametrize("sub", ["PCM_16", "PCM_24"])
def test_a_flac_that_does_not_say_its_length_is_read_to_its_end(seconds, sub):
    content = encoded(tone(seconds), "FLAC", sub)
    assert (decode(unsaid(content)) == decode(content)).all() and len(decode(content)) == seconds * RATE
    if seconds == 20:
        assert fault(unsaid(content)[: len(content) // 2])[:7] in ("cut off", "damaged")
        assert fault(unsaid(content)[:-10])[:7] in ("cut off", "damaged")


def test_a_flac_with_tags_and_several_in_one():
    content, id3 = encoded(tone(), "FLAC"), b"ID3\4\0\0\0\0\1\0" + bytes(128)
    expected = decode(content)
    assert (decode(id3 + content) == expected).all() and (decode(content + b"TAG" + bytes(125)) == expected).all()
    assert (decode(content + unsaid(content) + content) == np.tile(expected, 3)).all()


# --- OGG ---


@pytest.mark.parametrize("sub", ["VORBIS", "OPUS"])
def test_a_chained_ogg_is_read_whole(sub):
    first, second = encoded(tone(), "OGG", sub), encoded(tone(0.25, hertz=880), "OGG", sub)
    together = decode(first + second + first)
    assert (together == np.concatenate([decode(first), decode(second), decode(first)])).all()
    assert len(together) == 20_000
    other = encoded(tone(0.25, 8000), "OGG", "VORBIS" if sub == "OPUS" else "OPUS", rate=8000)
    assert len(decode(first + other)) == 12_000
    assert (decode(first + b"TAG" + bytes(125)) == decode(first)).all()
    for share in (0.95, 0.4):
        assert fault(first + second[: int(share * len(second))]).startswith("cut off: its last page")
    assert fault(first[:-100] + second)[:7] in ("cut off", "damaged")
    assert "damaged: invalid bytes between its pages" in fault(first + b"xyz" + second)


def test_other_streams_in_ogg_are_refused_by_name():
    page = b"OggS\0\2" + bytes(8) + b"\1\0\0\0" + bytes(8) + b"\1\x1e"
    for begin, name in (
        (b"Speex   ", "Speex"),
        (b"\x80theora", "video"),
        (b"x", "an"),
    ):
        assert fault(page + begin.ljust(30, b"\0")).startswith(name)


def in_ogg(content: bytes, stream: int = 7, page_bytes: int = 3000) -> bytes:
    """FLAC in OGG: its first block in a page of its own, then the rest, in pages that frames span."""
    first = b"\x7fFLAC\1\0\0\1" + content[:42]
    pages = [first, *(content[at : at + page_bytes] for at in range(42, len(content), page_bytes))]
    flags = [2, *[0] * (len(pages) - 2), 4]
    return b"".join(ogg_page(*page, stream) for page in zip(pages, flags, range(len(pages)), strict=True))


def ogg_page(content: bytes, flags: int, number: int, stream: int) -> bytes:
    sizes = [255] * (len(content) // 255) + [len(content) % 255]
    return b"OggS\0" + struct.pack("<BqIIIB", flags, 0, stream, number, 0, len(sizes)) + bytes(sizes) + content


def test_flac_in_ogg_is_read_whole():
    content = encoded(tone(), "FLAC", "PCM_16")
    samples = decode(content)
    assert (decode(in_ogg(content)) == samples).all() and len(samples) == 8000
    assert (decode(in_ogg(content) + in_ogg(content, 8)) == np.tile(samples, 2)).all()
    assert (decode(in_ogg(unsaid(content))) == samples).all()
    mixed = in_ogg(content) + encoded(tone(), "OGG", "VORBIS")
    assert len(decode(mixed)) == 16_000 and (decode(mixed)[:8000] == samples).all()
    assert fault(in_ogg(content)[:-2000]).startswith("cut off: its last page")
    assert fault(in_ogg(b"fLaX" + content[4:])).startswith("damaged")
    assert fault(in_ogg(content[:2000])).startswith(("cut off", "damaged"))


@pytest.mark.parametrize(
    ("begin", "name"),
    [
        (b"RIFF\0\0\0\0AVI ", "AVI"), (b"TTA1", "True Audio"), (b"MPCK", "Musepack"), (b"DSD ", "DSD"),
        (b".RMF", "RealMedia"), (b"ajkg", "Shorten"), (b"MThd", "MIDI"), (b"\0\0\1\xba", "MPEG"), (b"\x0b\x77", "AC-3"),
    ],
)  # fmt: skip
def test_kinds_that_are_not_read_are_named(begin, name):
    assert fault(begin + bytes(2000)).startswith(f"{name}, ")


# --- MP3 ---


def mp3(seconds: float = 1.0, mode: str = "CONSTANT", hertz: float = 440.0) -> bytes:
    return encoded(tone(seconds, hertz=hertz), "MP3", bitrate_mode=mode, compression_level=0.5)


def bare(content: bytes) -> bytes:
    """Return an MP3 without the frame that contains its table."""
    return content[content.find(content[:2], 4) :]


TAGS = {
    "id3v1": (b"", b"TAG" + bytes(125)),
    "id3v2": (b"ID3\4\0\0\0\1\0\0" + b"\xff\xfb\x90\0" * 4096, b""),
    "two": (2 * (b"ID3\3\0\0\0\0\0\4abcd"), b""),
    "apev2": (b"", b"APETAGEX" + struct.pack("<4I", 2000, 32, 0, 0x80000000) + bytes(8) + b"abcd" * 8),
    "ape_id3v1": (b"", b"APETAGEX" + struct.pack("<4I", 2000, 32, 0, 0) + bytes(8) + b"TAG" + bytes(125)),
    "junk": (b"\0" * 999, b"\0" * 999),
}


@pytest.mark.parametrize("seconds", [0.1, 3.0])
@pytest.mark.parametrize("table", [True, False], ids=["table", "bare"])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("tag", TAGS)
def test_tags_of_an_mp3_are_no_sound_and_take_none(tag, mode, table, seconds):
    content = mp3(seconds, mode) if table else bare(mp3(seconds, mode))
    before, behind = TAGS[tag]
    expected = decode(content)
    assert abs(len(expected) - seconds * RATE) <= (0 if table else 3 * 1152)
    assert len(decode(before + content + behind)) == len(expected)


@pytest.mark.parametrize("modes", [("CONSTANT", "VARIABLE"), ("VARIABLE", "CONSTANT")])
def test_several_mp3s_in_one_are_all_read(modes):
    first, second = mp3(1.0, modes[0]), mp3(3.0, modes[1], 880)
    assert len(decode(first + second)) == 4 * RATE
    assert len(decode(second + b"ID3\3\0\0\0\0\0\4abcd" + first + b"TAG" + bytes(125))) == 4 * RATE
    assert (decode(first + second)[: RATE - 200] == decode(first)[:-200]).all()
    longer = len(decode(first + bare(second)))  # the table of the first does not include the second
    assert 4 * RATE <= longer <= 4 * RATE + 3 * 1152


def test_a_cut_mp3_is_refused():
    for content in (mp3(3), bare(mp3(3)), bare(mp3(3, "VARIABLE"))):
        assert fault(content[: len(content) // 2 + 17]).startswith("cut off: ")


# --- unsupported formats ---


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"\0\0\0\x20ftypM4A ", "MP4, M4A or 3GP"), (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"), (b"#!AMR\n", "AMR"),
     (b"\x1a\x45\xdf\xa3", "WebM or Matroska"), (b"\xff\xf1\x50\x80", "AAC"), (b"\xff\xf9\x50\x80", "AAC")],
)  # fmt: skip
def test_kinds_that_are_not_read_are_refused_by_name(head, name):
    assert fault(head + bytes(200)) == f"{name}, a kind that is not read: convert it to WAV or FLAC"


def test_a_part_of_a_file_reads_as_its_bytes():
    content = bytes(range(200))
    part = sound_parts.Part(50, 150, head=b"head", patches=((0, b"ab"), (60, b"xyz")))
    expected = bytearray(b"head" + content[50:150])
    expected[4:6], expected[64:67] = b"ab", b"xyz"
    file = sound_parts.PartFile(io.BytesIO(content), part)
    assert file.read() == bytes(expected) and file.read(1) == b""
    for start in range(0, 104, 7):
        for count in (1, 3, 60, 200):
            file.seek(start)
            assert file.read(count) == bytes(expected[start : start + count])
    assert file.seek(-4, io.SEEK_END) == 100 and file.seek(2, io.SEEK_CUR) == 102 and file.tell() == 102


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "OGG"])
def test_a_tag_before_the_sound_of_other_kinds_takes_none_in_silence(kind):
    assert "an ID3 tag stands before the sound" in fault(b"ID3\4\0\0\0\0\0\4abcd" + encoded(tone(), kind))
