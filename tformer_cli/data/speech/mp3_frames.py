"""Counting of the frames of MP3 files, as libsndfile guesses their number if a table is missing or wrong.

The layout is that of ISO/IEC 11172-3 (MPEG-1) and 13818-3 (MPEG-2), and of MPEG-2.5; the table is Xing's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from tformer_cli.data.speech.sound_parts import Fault, Part, after_tags, cut_off, without_tag

KBITS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates by MPEG version (1, or 2 and 2.5) and layer; layer 3 of version 2 uses those of layer 2."""
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
XING_FRAMES, XING_BYTES = 1, 2  # flags: the fields of the table
SEARCHED = 1 << 16  # bytes in which the next frame is searched
BUFFERED = 1 << 20


@dataclass(frozen=True)
class Frame:
    """The header of a frame.

    Attributes:
        layer: 1, 2 or 3.
        is_first_version: whether it is MPEG-1.
        mono: whether it has one channel.
        size: size in bytes; 0: unknown (free bit rate).
    """

    layer: int
    is_first_version: bool
    mono: bool
    size: int

    @property
    def table(self) -> int:
        """Return the offset of a table in the frame, in bytes: after the side information."""
        return 4 + ((17 if self.mono else 32) if self.is_first_version else (9 if self.mono else 17))


def frame_of(head: bytes) -> Frame | None:
    """Read the four bytes of a frame's header; None if they are not one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    number, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or number == 15 or rate == 3:
        return None
    first = version == 3
    kbits = KBITS[1 if first else 2, layer if first else min(layer, 2)][number]
    padding, hertz = head[2] >> 1 & 1, RATES[version][rate]
    if layer == 1:
        size = (12 * kbits * 1000 // hertz + padding) * 4
    else:
        size = (144 if first or layer == 2 else 72) * kbits * 1000 // hertz + padding
    return Frame(layer, first, head[3] >> 6 == 3, size if kbits else 0)


class _Bytes:
    """Bytes of a file by offset, read in blocks."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.start, self.block = stream, 0, b""

    def at(self, offset: int, count: int) -> bytes:
        if not self.start <= offset <= offset + count <= self.start + len(self.block):
            self.stream.seek(offset)
            self.start, self.block = offset, self.stream.read(max(BUFFERED, count))
        return self.block[offset - self.start : offset - self.start + count]


def parts(stream: IO[bytes], file_size: int) -> list[Part]:
    """Divide an MP3 at the beginning of each file in it, and give each part a table with its number of frames.

    Returns:
        The parts; none if the file is not an MP3, or has a free bit rate.

    Raises:
        Fault: if it is truncated.
    """
    content = _Bytes(stream)
    end = without_tag(stream, file_size)
    offset = after_tags(stream)
    frame = frame_of(content.at(offset, 4))
    if frame and not frame.size:
        return []
    offset = _next_frame(content, offset, end)
    frame = None if offset is None else frame_of(content.at(offset, 4))
    if offset is None or frame is None:
        return []
    file_parts, begin, count, table, stop = [], offset, 0, _table(content, offset, frame), offset
    if table and table[1] > file_size - begin:
        raise cut_off(table[1], file_size - begin)
    for at, each in _frames(content, offset, end):
        if at + each.size > end:
            raise Fault("cut off: its last frame is incomplete")
        other = _table(content, at, each) if at > offset else None
        if other:
            file_parts.append(_part(content, begin, at, count, table))
            begin, count, table = at, 0, other
        count += 1
        stop = at + each.size
    file_parts.append(_part(content, begin, stop, count, table))
    return file_parts


def _frames(content: _Bytes, offset: int, end: int) -> Iterator[tuple[int, Frame]]:
    """Yield offset and header of each frame; tags and other bytes between frames are skipped."""
    while offset + 4 <= end:
        head = content.at(offset, 4)
        frame = frame_of(head)
        if frame and frame.size:
            yield offset, frame
            offset += frame.size
            continue
        if head[:3] == b"ID3":
            after = after_tags(content.stream, offset)
            offset = after if after > offset else offset + 1
            continue
        following = _next_frame(content, offset + 1, end)
        if following is None:
            return
        offset = following


def _next_frame(content: _Bytes, offset: int, end: int) -> int | None:
    """Return the offset of the next frame that is followed by another frame or by the end."""
    limit = min(end, offset + SEARCHED)
    while offset + 4 <= limit:
        block = content.at(offset, min(limit - offset, 4096))
        at = block.find(b"\xff")
        if at < 0:
            offset += len(block)
            continue
        offset += at
        frame = frame_of(content.at(offset, 4))
        if frame and frame.size and (offset + frame.size >= end or frame_of(content.at(offset + frame.size, 4))):
            return offset
        offset += 1
    return None


def _table(content: _Bytes, offset: int, frame: Frame) -> tuple[int, int] | None:
    """Return the numbers of frames and bytes in a table, 0 if absent; None if this frame is not a table."""
    head = content.at(offset, min(frame.size, frame.table + 24))
    at = max(head.find(b"Xing"), head.find(b"Info")) if frame.layer == 3 else -1
    if at < 4 or any(head[4 : min(at, 13)]) or at > frame.table + 2:
        return None
    flags, says = int.from_bytes(head[at + 4 : at + 8], "big"), at + 8
    frames = int.from_bytes(head[says : says + 4], "big") if flags & XING_FRAMES else 0
    says += 4 if flags & XING_FRAMES else 0
    return frames, int.from_bytes(head[says : says + 4], "big") if flags & XING_BYTES else 0


def _part(content: _Bytes, begin: int, end: int, count: int, table: tuple[int, int] | None) -> Part:
    """Return a part with a table of its number of frames; `count` includes the frame of the table."""
    frame = frame_of(content.at(begin, 4))
    if frame is None or frame.layer < 3:
        return Part(begin, end)
    if table is None:
        sizes = {each.size for _, each in _frames(content, begin, end)}
        varies = max(sizes) - min(sizes) > 1  # by more than padding: the number of frames cannot be guessed
        head = _table_frame(content.at(begin, 4), frame, count, end - begin) if varies else b""
        return Part(begin, end, head=head)
    if table[0] == count - 1:
        return Part(begin, end)
    head = content.at(begin, frame.table + 24)
    at = max(head.find(b"Xing"), head.find(b"Info"))
    flags = int.from_bytes(head[at + 4 : at + 8], "big")
    if table[0] > count - 1 or not flags & XING_FRAMES:
        raise Fault(f"cut off: its header declares {table[0]:,} frames, but it has {count - 1:,}")
    patches = [(at + 8, (count - 1).to_bytes(4, "big"))]
    if flags & XING_BYTES:
        patches.append((at + 12, (end - begin).to_bytes(4, "big")))
    return Part(begin, end, patches=tuple(patches))


def _table_frame(head: bytes, frame: Frame, count: int, size: int) -> bytes:
    """Return a silent frame like the first of the file, with a table of frames and bytes."""
    for number in range(1, 15):  # the smallest one with enough room, without a checksum
        header = bytes([head[0], head[1] | 1, number << 4 | head[2] & 0x0C, head[3]])
        table_frame = frame_of(header)
        if table_frame and table_frame.size >= table_frame.table + 16:
            table = b"Info" + (XING_FRAMES | XING_BYTES).to_bytes(4, "big")
            table += count.to_bytes(4, "big") + (size + table_frame.size).to_bytes(4, "big")
            return (header + bytes(table_frame.table - 4) + table).ljust(table_frame.size, b"\0")
    return b""
