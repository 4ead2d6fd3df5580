"""Parts of a sound file that a decoder can read as separate files, and their faults."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import IO

ID3V1_BYTES = 128


class Fault(Exception):  # noqa: N818
    """A fault of a file's length or format, in a few words."""


@dataclass(frozen=True)
class Part:
    """A part of a file that a decoder reads as a complete file.

    Attributes:
        start: its first byte.
        end: the byte after its last.
        head: bytes to insert before it.
        patches: offsets in the part, and the bytes that replace those at the offsets.
    """

    start: int
    end: int
    head: bytes = b""
    patches: tuple[tuple[int, bytes], ...] = ()


class PartFile(io.RawIOBase):
    """A readable file object over a part of a file."""

    def __init__(self, stream: IO[bytes], part: Part) -> None:
        super().__init__()
        self.stream, self.part, self.offset = stream, part, 0
        self.size = len(part.head) + part.end - part.start

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset, and return it."""
        self.offset = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.offset, os.SEEK_END: self.size}[whence])
        return self.offset

    def tell(self) -> int:
        """Return the offset."""
        return self.offset

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read into a buffer, and return the number of bytes."""
        part, first = self.part, self.offset
        content = part.head[first : first + len(buffer)]
        inside = first + len(content) - len(part.head)  # the offset in the part
        if (count := min(len(buffer) - len(content), part.end - part.start - inside)) > 0:
            self.stream.seek(part.start + inside)
            chunk = bytearray(self.stream.read(count))
            for offset, patch in part.patches:
                for number, byte in enumerate(patch, offset - inside):
                    if 0 <= number < len(chunk):
                        chunk[number] = byte
            content += bytes(chunk)
        memoryview(buffer).cast("B")[: len(content)] = content
        self.offset = first + len(content)
        return len(content)


def cut_off(claimed: int, available: int) -> Fault:
    """Return the fault of a file whose header gives more bytes of audio than it contains."""
    return Fault(f"cut off: its header declares {claimed:,} bytes of sound, but it has {available:,}")


def without_tag(stream: IO[bytes], file_size: int) -> int:
    """Return the end of a file without the ID3v1 tag that some programs append."""
    if file_size < ID3V1_BYTES:
        return file_size
    stream.seek(file_size - ID3V1_BYTES)
    return file_size - ID3V1_BYTES if stream.read(3) == b"TAG" else file_size


def after_tags(stream: IO[bytes], offset: int = 0) -> int:
    """Return the end of a file's ID3v2 tags."""
    while True:
        stream.seek(offset)
        head = stream.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
            return offset
        size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        offset += 10 + size + (10 if head[5] & 16 else 0)  # a tag may have a footer, as large as its header
