"""Reading of lines in bounded memory, with limits on their length and on the expansion of packed files."""

from __future__ import annotations

import codecs
import contextlib
import functools
import gzip
from collections.abc import Iterator
from typing import IO

from tformer_cli.errors import DataError
from tformer_cli.packed import check_is_text

MOST_LINE_BYTES, BLOCK_BYTES = 512 << 20, 256 << 10
MOST_EXPANSION, LARGE_BYTES = 100, 128 << 20
"""Largest expansion of a packed file that is larger than this number of bytes when unpacked."""


def raw_lines(stream: IO[bytes] | gzip.GzipFile, place: object, *, size: int = 0, longest: int = 0) -> Iterator[bytes]:
    r"""Yield the lines of a byte stream with their ends, split only at `\n`.

    Args:
        stream: the stream.
        place: its name in error messages.
        size: size of the packed file in bytes; 0: unknown, and not checked.
        longest: largest number of bytes in a line; 0: `MOST_LINE_BYTES`.

    Raises:
        DataError: if a line is too long, the file expands too much, or its lines end in carriage returns alone.
    """
    longest, total = longest or MOST_LINE_BYTES, 0
    for number, line in enumerate(iter(functools.partial(stream.readline, longest + 1), b""), 1):
        total += len(line)
        if len(line) > longest:
            raise _too_long(place, number, longest)
        if size:
            check_expansion(place, total, size)
        if number == 1:
            _check_ends(place, line)
        yield line


def line_blocks(stream: IO[bytes] | gzip.GzipFile, place: object, *, size: int = 0) -> Iterator[bytes]:
    """Yield whole lines of a byte stream, many at a time, which is faster than one by one.

    Arguments, limits and errors are those of `raw_lines`.
    """
    longest = MOST_LINE_BYTES
    at_once = min(BLOCK_BYTES, longest + 1)  # only the first line that ends in a block can be too long
    read = getattr(stream, "read1", stream.read)  # gives what comes before the damage of a gzip file
    parts: list[bytes] = []
    number, waiting, total = 1, 0, 0  # the line that `parts` begin, their bytes, and those of the lines before
    while block := read(at_once):
        end = block.rfind(b"\n") + 1
        if waiting + (block.find(b"\n") + 1 if end else len(block)) > longest:
            raise _too_long(place, number, longest)
        if not end:
            parts.append(block)
            waiting += len(block)
            if size:
                check_expansion(place, total + waiting, size)
            continue
        lines = b"".join([*parts, block[:end]])
        parts, waiting = [block[end:]], len(block) - end
        total += len(lines)
        if size:
            check_expansion(place, total, size)
        if number == 1:
            _check_ends(place, lines)
        number += lines.count(b"\n")
        yield lines
    if waiting:
        line = b"".join(parts)
        if size:
            check_expansion(place, total + waiting, size)
        if number == 1:
            _check_ends(place, line)
        yield line


def _too_long(place: object, number: int, longest: int) -> DataError:
    most = f"{longest >> 20} MiB" if longest >= 1 << 20 else f"{longest:,} bytes"
    return DataError(f"{place}:{number}: a line of more than {most}", "break it up")


def _check_ends(place: object, first: bytes) -> None:
    """Refuse a file by its first line if it is not text, or its lines end with carriage returns alone."""
    check_is_text(place, first)
    if b"\r" in first[:-1] and not first.endswith(b"\n"):
        raise DataError(f"{place}: lines end with carriage returns alone (old Mac)", "end them with line feeds")


def without_mark(data: bytes, place: object) -> bytes:
    """Return the beginning of a UTF-8 text without its byte-order mark.

    Args:
        data: the first line or more.
        place: name of the text in error messages.

    Raises:
        DataError: if the text is UTF-16, or is packed or binary data.
    """
    check_is_text(place, data)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{place}: the text is UTF-16", "convert it to UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)


def decoded_line(data: bytes, place: object, number: int) -> str:
    r"""Decode a line of a UTF-8 text; its end, `\n` or `\r\n`, is removed.

    Args:
        data: the line.
        place: name of the text in error messages.
        number: number of the line, from 1.

    Raises:
        DataError: if the line contains a NUL or is not UTF-8.
    """
    if b"\0" in data:
        raise DataError(f"{place}:{number}: a NUL byte", "convert the file to UTF-8 if it is UTF-16, else remove it")
    try:
        line = data.decode()
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start + 1} of the line is 0x{data[error.start]:02x}"
        raise DataError(f"{place}:{number}: not UTF-8: {wrong}", "convert the file to UTF-8") from error
    return line.removesuffix("\n").removesuffix("\r")


def decoded_lines(block: bytes, place: object, first: int) -> Iterator[str]:
    """Yield the lines of a block of a UTF-8 text, each as `decoded_line` gives it; `first` is the number of the first.

    Raises:
        DataError: at the first line that contains a NUL or is not UTF-8.
    """
    text = None
    if b"\0" not in block:
        with contextlib.suppress(UnicodeDecodeError):
            text = block.decode()
    if text is None:
        lines = block.removesuffix(b"\n").split(b"\n")
        yield from (decoded_line(line, place, number) for number, line in enumerate(lines, first))
        return
    lines = text.removesuffix("\n").split("\n")
    yield from [line.removesuffix("\r") for line in lines] if "\r" in text else lines


def check_expansion(place: object, unpacked: int, size: int) -> None:
    """Refuse a file that expands too much.

    Args:
        place: name of the file in error messages.
        unpacked: unpacked bytes so far.
        size: size of the file in bytes.

    Raises:
        DataError: if it expands too much.
    """
    if unpacked > LARGE_BYTES and unpacked > MOST_EXPANSION * size:
        cause = f"{place}: unpacks to more than {MOST_EXPANSION} times its {size:,} bytes"
        raise DataError(cause, "it is damaged, or made to fill the memory; if it is meant, store it unpacked")
