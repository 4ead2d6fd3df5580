"""What sound files say of their length: libsndfile gives what there is of one that was cut, and says nothing."""

from __future__ import annotations

import os
from typing import IO

STREAMED = 0x7FFFF000  # bytes that a WAV of unknown length says it has; ffmpeg and sox write this or more
OGG_HEAD, OGG_END = 27, 4  # bytes of a page's head; the flag of the last page
XING_REACH = 64  # bytes from an MP3's beginning in which its table of contents begins, and some
XING_FRAMES, XING_BYTES = 1, 2  # flags: what the table says


def fault(stream: IO[bytes]) -> str:
    """What is wrong with a file's length, or its rate, in a few words; "" if nothing is, or it is of another kind.

    Args:
        stream: the file; it is left at its beginning.
    """
    whole = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(12)
    stream.seek(0)
    try:
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            return _wav(stream, whole)
        if head[:4] == b"OggS":
            return _ogg(stream, whole)
        return _mp3(stream, whole)
    finally:
        stream.seek(0)


def _wav(stream: IO[bytes], whole: int) -> str:
    stream.seek(12)
    while len(head := stream.read(8)) == 8:
        size, start = int.from_bytes(head[4:], "little"), stream.tell()
        if head[:4] == b"fmt " and stream.read(8)[4:] == bytes(4):
            return "a rate of 0 samples a second"
        if head[:4] == b"data":
            return _cut(size, whole - start) if STREAMED > size > whole - start else ""
        stream.seek(start + size + size % 2)
    return ""


def _cut(says: int, has: int) -> str:
    return f"cut off: it says {says:,} bytes of sound and has {has:,}"


def _ogg(stream: IO[bytes], whole: int) -> str:
    """The last page has a flag that says so (RFC 3533, section 6)."""
    while len(head := stream.read(OGG_HEAD)) == OGG_HEAD and head[:4] == b"OggS":
        end = stream.tell() + head[26] + sum(stream.read(head[26]))
        if head[5] & OGG_END and end <= whole:
            return ""
        stream.seek(end)
    return "cut off: its last page is missing"


def _mp3(stream: IO[bytes], whole: int) -> str:
    """After tags (ID3v2), the first frame may hold a table that says how many bytes there are."""
    head = stream.read(10)
    start = 0
    if head[:3] == b"ID3":  # a size of four times seven bits
        start = 10 + sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False))
    stream.seek(start)
    frame = stream.read(XING_REACH)
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    if frame[:1] != b"\xff" or place < 0:
        return ""
    flags = int.from_bytes(frame[place + 4 : place + 8], "big")
    says = place + 8 + (4 if flags & XING_FRAMES else 0)
    size = int.from_bytes(frame[says : says + 4], "big") if flags & XING_BYTES else 0
    return _cut(size, whole - start) if size > whole - start else ""
