"""Audio in streams of pages (OGG) or frames (FLAC); a file may contain several streams."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO

from tformer_cli.data.speech.sound_parts import Fault, Part, PartFile, without_tag

OGG_HEAD, OGG_FIRST, OGG_LAST = 27, 2, 4  # bytes of a page's header; the flags of a stream's first and last page
FLAC_BEGIN = b"fLaC\0\0\0\x22"  # the marker, and the header of the first block, STREAMINFO
CHUNK_BYTES = 1 << 20
OGG_READ, OGG_FLAC = (b"\x01vorbis", b"OpusHead"), b"\x7fFLAC"
OGG_FLAC_HEAD = 9  # bytes of the first packet before the marker of FLAC itself
MOST_OGG_FLAC_BYTES = 1 << 30  # in memory
OGG_OTHERS = ((b"Speex   ", "Speex"), (b"\x80theora", "video"))


@dataclass(frozen=True)
class _Page:
    """A page of OGG.

    Attributes:
        first: whether it is its stream's first.
        last: whether it is its stream's last.
        stream: number of its stream.
        head: number of bytes before its content.
        size: size in bytes.
        begin: first bytes of its content.
    """

    first: bool
    last: bool
    stream: bytes
    head: int
    size: int
    begin: bytes


def ogg_parts(stream: IO[bytes], file_size: int) -> list[Part]:
    """Return the parts of an OGG file, one per link of a chain; a flag marks the last page (RFC 3533, section 6)."""
    file_parts: list[Part] = []
    begin = offset = 0
    grouped, ended = True, False  # whether only first pages have come
    firsts: list[_Page] = []
    while (page := _page(stream, offset)) is not None:
        if page.first and not grouped:  # the next one of a chain
            if not ended:
                raise Fault("cut off: the last page of one of its parts is missing")
            file_parts += _link(stream, begin, offset, firsts)
            begin, grouped, firsts, ended = offset, True, [], False
        if page.first:
            firsts.append(page)
        else:
            grouped = False
        if offset + page.size > file_size:
            raise Fault("cut off: its last page is incomplete")
        ended, offset = ended or page.last, offset + page.size
        if not grouped:
            _check_ogg(firsts)
    _check_ogg(firsts)
    if not ended:
        raise Fault("cut off: its last page is missing")
    stream.seek(offset)
    if b"OggS" in stream.read(CHUNK_BYTES):
        raise Fault("damaged: invalid bytes between its pages")
    return [*file_parts, *_link(stream, begin, offset, firsts)]


def _check_ogg(firsts: list[_Page]) -> None:
    """Refuse a chain link without a supported stream, by the first bytes of the streams."""
    if not any(page.begin.startswith((*OGG_READ, OGG_FLAC)) for page in firsts):
        names = [name for mark, name in OGG_OTHERS for page in firsts if page.begin.startswith(mark)]
        raise Fault(f"{(names or ['an unknown kind of OGG'])[0]}, which is not read: convert it to WAV or FLAC")


def _link(stream: IO[bytes], begin: int, end: int, firsts: list[_Page]) -> list[Part]:
    """Return the parts of the pages from `begin` to `end`; FLAC in them is extracted to a file of its own.

    libsndfile does not read FLAC in OGG. The concatenated packets of such a stream are FLAC after a header of 9 bytes
    (Xiph.Org, Ogg encapsulation for FLAC).
    """
    flac = next((page for page in firsts if page.begin.startswith(OGG_FLAC)), None)
    if flac is None or any(page.begin.startswith(OGG_READ) for page in firsts):
        return [Part(begin, end)]
    if end - begin > MOST_OGG_FLAC_BYTES:
        raise Fault("FLAC in OGG of more than 1 GiB: convert it to FLAC")
    content = bytearray()
    offset = begin
    while offset < end and (page := _page(stream, offset)) is not None:
        if page.stream == flac.stream:
            stream.seek(offset + page.head)
            content += stream.read(page.size - page.head)
        offset += page.size
    del content[:OGG_FLAC_HEAD]
    inner = io.BytesIO(content)
    parts = flac_parts(inner, len(content), 0)
    if not parts:
        raise Fault("damaged: its FLAC stream is invalid")
    return [Part(begin, begin, PartFile(inner, part).read()) for part in parts]


def _page(stream: IO[bytes], offset: int) -> _Page | None:
    """Return the page at an offset; None: there is none."""
    stream.seek(offset)
    head = stream.read(OGG_HEAD)
    if len(head) < OGG_HEAD or head[:4] != b"OggS":
        return None
    sizes = stream.read(head[26])
    length = OGG_HEAD + head[26]
    first, last = bool(head[5] & OGG_FIRST), bool(head[5] & OGG_LAST)
    return _Page(first, last, head[14:18], length, length + sum(sizes), stream.read(8))


def flac_parts(stream: IO[bytes], file_size: int, start: int) -> list[Part]:
    """Return the parts of a FLAC file, also after tags or with several files; none if it is not FLAC."""
    stream.seek(start)
    if stream.read(4) != FLAC_BEGIN[:4]:
        return []
    begins, offset, before = [start], start + len(FLAC_BEGIN), b""
    stream.seek(offset)
    while block := stream.read(CHUNK_BYTES):
        content = before + block
        at = content.find(FLAC_BEGIN)
        while at >= 0:
            begins.append(offset - len(before) + at)
            at = content.find(FLAC_BEGIN, at + 1)
        offset, before = offset + len(block), content[-len(FLAC_BEGIN) + 1 :]
    ends = [*begins[1:], without_tag(stream, file_size)]
    return [Part(begin, end, patches=_flac_length(stream, begin, end)) for begin, end in zip(begins, ends, strict=True)]


def _flac_length(stream: IO[bytes], begin: int, end: int) -> tuple[tuple[int, bytes], ...]:
    """Return the patch with the number of samples, if the first block lacks it (RFC 9639, section 8.2)."""
    stream.seek(begin + len(FLAC_BEGIN))
    block = stream.read(34)
    if len(block) < 34 or block[13] & 15 or any(block[14:18]):
        return ()
    total = _flac_samples(stream, begin, end, int.from_bytes(block[2:4], "big"))
    number = ((block[13] << 32) + total).to_bytes(5, "big")
    return ((len(FLAC_BEGIN) + 13, number),) if total else ()


def _flac_samples(stream: IO[bytes], begin: int, end: int, usual: int) -> int:
    """Return the number of samples up to the end of the last frame, from its header (section 9.1)."""
    start = max(begin, end - CHUNK_BYTES)
    stream.seek(start)
    content = stream.read(end - start)
    at = len(content)
    while (at := content.rfind(b"\xff", 0, at)) >= 0:
        head = content[at : at + 16]
        if len(head) < 6 or head[1] not in (0xF8, 0xF9) or head[3] & 1:
            continue
        extra = max(1, 8 - (head[4] ^ 0xFF).bit_length())  # bytes of the frame's number, coded like UTF-8
        number = head[4] if extra == 1 else head[4] & (0x7F >> extra)
        for byte in head[5 : 4 + extra]:
            number = number << 6 | byte & 0x3F
        size, offset = head[2] >> 4, 4 + extra
        wide = {6: 1, 7: 2}.get(size, 0)
        samples = 1 + int.from_bytes(head[offset : offset + wide], "big") if wide else _flac_block(size)
        offset += wide + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
        if samples and offset < len(head) and _crc8(head[:offset]) == head[offset]:
            return samples + (number if head[1] & 1 else number * usual)
    return 0


def _flac_block(size: int) -> int:
    """Return the number of samples of a frame, from its four bits."""
    return 192 if size == 1 else 576 << size - 2 if 2 <= size <= 5 else 1 << size if size >= 8 else 0


def _crc8(content: bytes) -> int:
    """Return the checksum of a frame's header, with the polynomial x^8 + x^2 + x + 1."""
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
    return value
