"""Checks that the headers of sound files give their true length.

libsndfile decodes as much as a header says or as there is, and reports neither unread nor missing samples. Each file is
therefore checked before it is decoded. It is refused, or divided into parts with corrected headers that are decoded
one by one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO

from tformer_cli.data.speech import mp3_frames
from tformer_cli.data.speech.sound_parts import Fault, Part, after_tags, cut_off, without_tag
from tformer_cli.data.speech.sound_streams import flac_parts, ogg_parts

STREAMED = 0x7FFFF000
"""Smallest size in the header of a WAV of unknown length; ffmpeg and sox write this or more."""
MOST_PARTS = 10_000

FOREIGN = (
    (4, b"ftyp", "MP4, M4A or 3GP"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (0, b"#!AMR", "AMR"),
    (0, b"#!SILK", "SILK"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"FLV", "FLV"),
    (8, b"AVI ", "AVI"),
    (0, b"TTA1", "True Audio"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (0, b".RMF", "RealMedia"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b"ajkg", "Shorten"),
    (0, b"MThd", "MIDI, which is no recording"),
    (0, b"\x00\x00\x01\xba", "MPEG"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"ADIF", "AAC"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
)
"""Offsets, signatures and names of formats that are not supported."""


def parts(stream: IO[bytes]) -> list[Part]:
    """Divide a file into parts that are decoded one by one; nearly always there is a single part.

    Args:
        stream: the file; its position is reset to the beginning.

    Raises:
        Fault: if it is truncated, its header is wrong, or its format is known but not supported.
    """
    file_size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(16)
    try:
        for offset, mark, kind in FOREIGN:
            if head[offset:].startswith(mark):
                raise Fault(f"{kind}, a kind that is not read: convert it to WAV or FLAC")
        reader, start = _reader(head), after_tags(stream)
        stream.seek(start)
        if start and _reader(stream.read(16)):
            raise Fault("an ID3 tag stands before the sound: remove it, or convert the file")
        file_parts = reader(stream, file_size) if reader else []
        if not file_parts and head[:4] != b"NIST":
            file_parts = flac_parts(stream, file_size, after_tags(stream)) or mp3_frames.parts(stream, file_size)
        if len(file_parts) > MOST_PARTS:
            raise Fault(f"more than {MOST_PARTS:,} recordings in one file")
        return file_parts or [Part(0, file_size)]
    finally:
        stream.seek(0)


def _reader(head: bytes) -> Callable[[IO[bytes], int], list[Part]] | None:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return _wav
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff
    return {b"OggS": ogg_parts, b"caff": _caf, b".snd": _au, b"dns.": _au, b"riff": _w64, b"NIST": _nist}.get(head[:4])


def _number(stream: IO[bytes], count: int, order: str) -> int:
    return int.from_bytes(stream.read(count), "big" if order == "big" else "little")


# --- chunks ---


def _wav(stream: IO[bytes], file_size: int) -> list[Part]:
    """Return the parts of a WAV file, which may be RF64 or RIFX, or several files in one."""
    file_parts, start = [], 0
    while start < file_size:
        part, start = _wav_at(stream, start, file_size)
        file_parts.append(part)
    return file_parts


def _wav_at(stream: IO[bytes], begin: int, file_size: int) -> tuple[Part, int]:
    """Return the WAV that begins at an offset, and the offset of what follows it."""
    stream.seek(begin)
    order = "big" if stream.read(4) == b"RIFX" else "little"
    offset, size64, patches = begin + 12, 0, ()
    data = None  # offsets of the audio data
    while offset + 8 <= file_size:
        stream.seek(offset)
        name, size = stream.read(4), _number(stream, 4, order)
        start = offset + 8
        if data and name in (b"RIFF", b"RIFX", b"RF64"):
            break
        if name == b"ds64":
            stream.seek(start + 8)
            size64 = _number(stream, 8, order)
        if name == b"fmt ":
            stream.seek(start + 4)
            if start + 8 <= file_size and stream.read(4) == bytes(4):
                raise Fault("a rate of 0 samples a second")
        if name == b"data" and not data:
            if size == 0xFFFFFFFF and 0 < size64 <= file_size - start:
                size = size64
            elif size == 0xFFFFFFFF and size64 > file_size - start:
                raise cut_off(size64, file_size - start)
            end, patch = _data_end(stream, start, size, file_size, order)
            data = (start, end)
            if patch:
                patches = ((offset + 4 - begin, patch),)
            start, size = start, end - start
        elif data and not _is_chunk(stream, offset, file_size, order):
            break
        offset = start + size + size % 2
        if (
            size % 2
            and not _is_chunk(stream, offset, file_size, order)
            and _is_chunk(stream, offset - 1, file_size, order)
        ):
            offset -= 1  # written without the padding byte
    end = file_size if offset + 8 > file_size or not _begins_wav(stream, offset) else offset
    return Part(begin, end, patches=patches), end


def _begins_wav(stream: IO[bytes], offset: int) -> bool:
    stream.seek(offset)
    head = stream.read(12)
    return head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE"


def _data_end(stream: IO[bytes], start: int, size: int, file_size: int, order: str) -> tuple[int, bytes]:
    """Return the end of the audio data of a WAV, and the corrected size of its chunk if the size is wrong."""
    available = without_tag(stream, file_size) - start
    if size >= STREAMED and size > available:  # from a program that could not seek back to write the length
        return start + available, b""
    if size > file_size - start:
        raise cut_off(size, file_size - start)
    if size > available or _ends_chunks(stream, start + size, file_size, order):
        return start + size, b""
    return start + available, min(available, 0xFFFFFFFF).to_bytes(4, "big" if order == "big" else "little")


def _ends_chunks(stream: IO[bytes], offset: int, file_size: int, order: str) -> bool:
    """Return whether no audio data follow an offset: only the end, padding, a tag, another chunk or another file."""
    file_size = without_tag(stream, file_size)
    if (
        offset >= file_size - 1
        or _is_chunk(stream, offset, file_size, order)
        or _is_chunk(stream, offset + 1, file_size, order)
    ):
        return True
    stream.seek(offset)
    following = stream.read(min(file_size - offset, 1 << 16))
    return len(following) == file_size - offset and not following.strip(b"\0")


def _is_chunk(stream: IO[bytes], offset: int, file_size: int, order: str) -> bool:
    """Return whether a chunk begins at an offset: a name in ASCII, and a size that fits into the file."""
    stream.seek(offset)
    name, size = stream.read(4), stream.read(4)
    number = int.from_bytes(size, "big" if order == "big" else "little")
    fits = offset + 8 + number <= file_size + 1 or name in (b"RIFF", b"RF64")
    return len(size) == 4 and all(32 <= byte < 127 for byte in name) and fits


def _aiff(stream: IO[bytes], file_size: int) -> list[Part]:
    offset, frame_bytes, says = 12, 0, 0
    while offset + 8 <= file_size:
        stream.seek(offset)
        name, size = stream.read(4), _number(stream, 4, "big")
        if name == b"COMM":
            channels, says, bits = _number(stream, 2, "big"), _number(stream, 4, "big"), _number(stream, 2, "big")
            frame_bytes = channels * -(-bits // 8) if file_size else 0
        if name == b"SSND":
            sound, available = size - 8, file_size - offset - 16
            if sound > available:
                raise cut_off(sound, available)
            if sound < available and not _ends_chunks(stream, offset + 8 + size, file_size, "big"):
                cause = f"its header declares {max(0, sound):,} bytes of sound, but it has {available:,}"
                raise Fault(f"{cause}: write the file again")
            stream.seek(8)
            if stream.read(4) == b"AIFF" and says * frame_bytes > sound:
                raise cut_off(says * frame_bytes, sound)
        offset += 8 + size + size % 2
    return [Part(0, file_size)]


def _caf(stream: IO[bytes], file_size: int) -> list[Part]:
    offset = 8
    while offset + 12 <= file_size:
        stream.seek(offset)
        name, size = stream.read(4), _number(stream, 8, "big")
        available = file_size - offset - 12
        if name == b"data" and size >> 63:  # -1: up to the end
            return [Part(0, file_size, patches=((offset + 4, available.to_bytes(8, "big")),))]
        if name == b"data" and size > available:
            raise cut_off(size - 4, available - 4)
        offset += 12 + size
    return [Part(0, file_size)]


def _au(stream: IO[bytes], file_size: int) -> list[Part]:
    stream.seek(0)
    order = "big" if stream.read(4) == b".snd" else "little"
    start, says = _number(stream, 4, order), _number(stream, 4, order)
    available = file_size - start
    if says == available or available < 0:
        return [Part(0, file_size)]
    if available < says < STREAMED:
        raise cut_off(says, available)
    return [
        Part(0, file_size, patches=((8, min(available, STREAMED).to_bytes(4, "big" if order == "big" else "little")),))
    ]


def _w64(stream: IO[bytes], file_size: int) -> list[Part]:
    """Return the parts of a W64 file: names of 16 bytes, sizes of 8 that include both, chunks aligned to 8 bytes."""
    offset = 40
    while offset + 24 <= file_size:
        stream.seek(offset)
        name, size = stream.read(16), _number(stream, 8, "little")
        if name[:4] == b"data":
            if size > file_size - offset and size < 1 << 62:
                raise cut_off(size - 24, file_size - offset - 24)
            if size <= 24 or size > file_size - offset:
                return [Part(0, file_size, patches=((offset + 16, (file_size - offset).to_bytes(8, "little")),))]
            break
        offset += max(24, -(-size // 8) * 8)
    return [Part(0, file_size)]


def _nist(stream: IO[bytes], file_size: int) -> list[Part]:
    """Return the parts of a SPHERE file, whose header is text such as `sample_count -i 48000`."""
    stream.seek(0)
    lines = [line.split() for line in stream.read(4096).split(b"\n")]
    says = {line[0]: line[2] for line in lines if len(line) == 3}
    counts = [says.get(name, b"1") for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    head = lines[1][0] if len(lines) > 1 and lines[1] else b""
    if b"pcm,embedded" in says.get(b"sample_coding", b""):
        raise Fault("compressed SPHERE, a kind that is not read: convert it to WAV or FLAC")
    if all(number.isdigit() and len(number) < 16 for number in (*counts, head)) and b"sample_count" in says:
        size = int(counts[0]) * int(counts[1]) * int(counts[2])
        if size > file_size - int(head):
            raise cut_off(size, max(0, file_size - int(head)))
    return [Part(0, file_size)]
