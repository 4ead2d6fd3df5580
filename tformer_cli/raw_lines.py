"""Lines of bytes in bounded memory, whatever a file holds or unpacks to."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Iterator
from typing import IO

from tformer_cli.errors import DataError

MOST_LINE_BYTES = 512 << 20
MOST_EXPANSION, LARGE_BYTES = 300, 1 << 30
"""What comes out of a file may be so many times as large, or so large, before the file is taken for an attack."""


def raw_lines(stream: IO[bytes] | gzip.GzipFile, place: object, *, size: int = 0, longest: int = 0) -> Iterator[bytes]:
    r"""The lines of a byte stream with their ends, split at `\n` alone.

    Args:
        stream: what to read.
        place: what an error calls it.
        size: bytes of the file that the stream unpacks; 0: not known, and not checked.
        longest: bytes that a line may have; 0: `MOST_LINE_BYTES`.

    Raises:
        DataError: if a line is longer, or the file unpacks to far more than it holds.
    """
    longest, total = longest or MOST_LINE_BYTES, 0
    for number, line in enumerate(iter(functools.partial(stream.readline, longest + 1), b""), 1):
        total += len(line)
        if len(line) > longest:
            most = f"{longest >> 20} MiB" if longest >= 1 << 20 else f"{longest:,} bytes"
            raise DataError(f"{place}:{number}: a line of more than {most}", "break it up")
        if size:
            check_expansion(place, total, size)
        yield line


def check_expansion(place: object, unpacked: int, size: int) -> None:
    """Refuse a file that unpacks to far more than it holds.

    Args:
        place: what an error calls the file.
        unpacked: bytes that came out of it so far.
        size: its own bytes.

    Raises:
        DataError: if it does.
    """
    if unpacked > LARGE_BYTES and unpacked > MOST_EXPANSION * size:
        cause = f"{place}: unpacks to more than {MOST_EXPANSION} times its {size:,} bytes"
        raise DataError(cause, "it is damaged, or made to fill the memory; if it is meant, unpack it first")
