"""A stretch of a sound file that a decoder takes for a whole file, and what can be wrong with one."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import IO

ID3V1_BYTES = 128


class Fault(Exception):  # noqa: N818
    """What is wrong with a file's length or kind, in a few words."""


@dataclass(frozen=True)
class Part:
    """A stretch of a file that is a whole file to a decoder.

    Attributes:
        start: of the stretch, in bytes.
        end: of the stretch.
        head: bytes that a decoder must see before it.
        patches: places in the stretch, and the bytes that a decoder must see there instead.
    """

    start: int
    end: int
    head: bytes = b""
    patches: tuple[tuple[int, bytes], ...] = ()


class Stretch(io.RawIOBase):
    """A part of a file as a file of its own, to be read."""

    def __init__(self, stream: IO[bytes], part: Part) -> None:
        super().__init__()
        self.stream, self.part, self.place = stream, part, 0
        self.size = len(part.head) + part.end - part.start

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, as in any file."""
        self.place = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence])
        return self.place

    def tell(self) -> int:
        """Return the place."""
        return self.place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read what fits into a buffer; the number of bytes."""
        part, first = self.part, self.place
        content = part.head[first : first + len(buffer)]
        inside = first + len(content) - len(part.head)  # the place in the stretch
        if (count := min(len(buffer) - len(content), part.end - part.start - inside)) > 0:
            self.stream.seek(part.start + inside)
            found = bytearray(self.stream.read(count))
            for place, patch in part.patches:
                for number, byte in enumerate(patch, place - inside):
                    if 0 <= number < len(found):
                        found[number] = byte
            content += bytes(found)
        memoryview(buffer).cast("B")[: len(content)] = content
        self.place = first + len(content)
        return len(content)


def cut_off(says: int, has: int) -> Fault:
    """Make the fault of a file that says more bytes of sound than it has."""
    return Fault(f"cut off: it says {says:,} bytes of sound and has {has:,}")


def without_tag(stream: IO[bytes], whole: int) -> int:
    """Where a file ends without the ID3v1 tag that some programs append."""
    if whole < ID3V1_BYTES:
        return whole
    stream.seek(whole - ID3V1_BYTES)
    return whole - ID3V1_BYTES if stream.read(3) == b"TAG" else whole


def after_tags(stream: IO[bytes], place: int = 0) -> int:
    """Where a file's ID3v2 tags end."""
    while True:
        stream.seek(place)
        head = stream.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
            return place
        size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        place += 10 + size + (10 if head[5] & 16 else 0)  # a tag may have a foot, as large as its head
