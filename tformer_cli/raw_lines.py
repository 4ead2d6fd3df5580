"""Reading of lines in bounded memory, with limits on their length and on the expansion of packed files."""

from __future__ import annotations

import codecs
import contextlib
import functools
import gzip
from collections.abc import Iterator
from typing import IO

from tformer_cli.binary_files import check_is_text
from tformer_cli.errors import DataError

MOST_LINE_BYTES, BLOCK_BYTES = 512 << 20, 256 << 10
MOST_EXPANSION, LARGE_BYTES = 100, 128 << 20
"""Largest ratio of unpacked to packed size, for files that unpack to more than `LARGE_BYTES`."""


def one_line(text: str) -> str:
    """Return a text on one line: carriage returns and line feeds become spaces."""
    return text.replace("\r", " ").replace("\n", " ")


def raw_lines(stream: IO[bytes] | gzip.GzipFile, origin: object, *, size: int = 0, longest: int = 0) -> Iterator[bytes]:
    r"""Yield the lines of a byte stream with their ends, split only at `\n`.

    Args:
        stream: the stream.
        origin: its name in error messages.
        size: size of the packed file in bytes; 0: unknown, and not checked.
        longest: largest number of bytes in a line; 0: `MOST_LINE_BYTES`.

    Raises:
        DataError: if a line is too long, the file expands too much, or its lines end in carriage returns alone.
    """
    longest, total = longest or MOST_LINE_BYTES, 0
    for number, line in enumerate(iter(functools.partial(stream.readline, longest + 1), b""), 1):
        total += len(line)
        if len(line) > longest:
            raise _too_long(origin, number, longest)
        if size:
            check_expansion(origin, total, size)
        if number == 1:
            _check_ends(origin, line)
        yield line


def line_blocks(stream: IO[bytes] | gzip.GzipFile, origin: object, *, size: int = 0) -> Iterator[bytes]:
    """Yield blocks of complete lines of a byte stream, which is faster than single lines.

    See `raw_lines` for the arguments, limits and errors.
    """
    longest = MOST_LINE_BYTES
    at_once = min(BLOCK_BYTES, longest + 1)  # only the first line that ends in a block can be too long
    read = getattr(stream, "read1", stream.read)  # returns the content before the damage of a gzip file
    parts: list[bytes] = []
    number, waiting, total = 1, 0, 0  # number of the line in `parts`, bytes in `parts`, bytes of previous lines
    while block := read(at_once):
        end = block.rfind(b"\n") + 1
        if waiting + (block.find(b"\n") + 1 if end else len(block)) > longest:
            raise _too_long(origin, number, longest)
        if not end:
            parts.append(block)
            waiting += len(block)
            if size:
                check_expansion(origin, total + waiting, size)
            continue
        lines = b"".join([*parts, block[:end]])
        parts, waiting = [block[end:]], len(block) - end
        total += len(lines)
        if size:
            check_expansion(origin, total, size)
        if number == 1:
            _check_ends(origin, lines)
        number += lines.count(b"\n")
        yield lines
    if waiting:
        line = b"".join(parts)
        if size:
            check_expansion(origin, total + waiting, size)
        if number == 1:
            _check_ends(origin, line)
        yield line


def _too_long(origin: object, number: int, longest: int) -> DataError:
    limit = f"{longest >> 20} MiB" if longest >= 1 << 20 else f"{longest:,} bytes"
    return DataError(f"{origin}:{number}: a line of more than {limit}", "break it up")


def _check_ends(origin: object, first: bytes) -> None:
    """Refuse a file by its first line if it is not text, or its lines end with carriage returns alone."""
    check_is_text(origin, first)
    if b"\r" in first[:-1] and not first.endswith(b"\n"):
        raise DataError(f"{origin}: lines end with carriage returns alone (old Mac)", "end them with line feeds")


def without_mark(data: bytes, origin: object) -> bytes:
    """Return the beginning of a UTF-8 text without its byte-order mark.

    Args:
        data: the first line or more.
        origin: name of the text in error messages.

    Raises:
        DataError: if the text is UTF-16, or is packed or binary data.
    """
    check_is_text(origin, data)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{origin}: the text is UTF-16", "convert it to UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)


def decoded_line(data: bytes, origin: object, number: int) -> str:
    r"""Decode a line of a UTF-8 text; its end, `\n` or `\r\n`, is removed.

    Args:
        data: the line.
        origin: name of the text in error messages.
        number: number of the line, from 1.

    Raises:
        DataError: if the line contains a NUL or is not UTF-8.
    """
    if b"\0" in data:
        raise DataError(f"{origin}:{number}: a NUL byte", "convert the file to UTF-8 if it is UTF-16, else remove it")
    try:
        line = data.decode()
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start + 1} of the line is 0x{data[error.start]:02x}"
        raise DataError(f"{origin}:{number}: not UTF-8: {wrong}", "convert the file to UTF-8") from error
    return line.removesuffix("\n").removesuffix("\r")


def decoded_lines(block: bytes, origin: object, first: int) -> Iterator[str]:
    """Yield the lines of a block of a UTF-8 text, as `decoded_line` returns them; `first` is the first line's number.

    Raises:
        DataError: at the first line that contains a NUL or is not UTF-8.
    """
    text = None
    if b"\0" not in block:
        with contextlib.suppress(UnicodeDecodeError):
            text = block.decode()
    if text is None:
        lines = block.removesuffix(b"\n").split(b"\n")
        yield from (decoded_line(line, origin, number) for number, line in enumerate(lines, first))
        return
    lines = text.removesuffix("\n").split("\n")
    yield from [line.removesuffix("\r") for line in lines] if "\r" in text else lines


def check_expansion(origin: object, unpacked: int, size: int) -> None:
    """Refuse a file that expands too much.

    Args:
        origin: name of the file in error messages.
        unpacked: unpacked bytes so far.
        size: size of the file in bytes.

    Raises:
        DataError: if it expands too much.
    """
    if unpacked > LARGE_BYTES and unpacked > MOST_EXPANSION * size:
        cause = f"{origin}: unpacks to more than {MOST_EXPANSION} times its {size:,} bytes"
        raise DataError(cause, "it is damaged, or made to fill the memory; if it is meant, store it unpacked")
