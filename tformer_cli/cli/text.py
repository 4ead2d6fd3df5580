"""Reading lines of text; line n of the output belongs to line n of the input."""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tformer_cli.errors import DataError, unreadable
from tformer_cli.raw_lines import decoded_line, raw_lines, without_mark

DETECTION_BYTES = 1 << 16
"""Size of the beginning of a file from which its format is detected."""
STDIN = "standard input"


def lines(files: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of files, or of standard input (`-`) if there are none.

    Raises:
        DataError: if a file cannot be read, or a line is not UTF-8 or contains NUL; the error names file and line.
    """
    for file in files or [Path("-")]:
        with opened(file) as stream:
            yield from decoded(stream, name_of(file))


def name_of(file: Path) -> str:
    """Return the name of a file in error messages."""
    return STDIN if str(file) == "-" else str(file)


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """Open a file, unpacked if its name ends with .gz, or standard input for `-`; the stream supports `peek`.

    Raises:
        DataError: if it cannot be read or is damaged; the error names it.
    """
    try:
        if str(file) == "-":
            stream = sys.stdin.buffer
            yield stream if hasattr(stream, "peek") else io.BufferedReader(cast(Any, stream), DETECTION_BYTES)
        elif file.name.lower().endswith(".gz"):
            with gzip.open(file) as packed, io.BufferedReader(cast(Any, packed), DETECTION_BYTES) as stream:
                yield stream
        else:
            with open(file, "rb", buffering=DETECTION_BYTES) as stream:
                yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{file}: damaged gzip file", "copy it again") from error
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise unreadable(file, error) from error


def check(files: Iterable[Path]) -> None:
    """Refuse files that cannot be opened, before slow work starts.

    Pipes are not opened, since this would wait for the writer, and closing them would break the pipe.

    Raises:
        DataError: if a file cannot be opened; the error names the first.
    """
    for file in files:
        if str(file) == "-":
            continue
        try:
            mode = os.stat(file).st_mode
            if stat.S_ISDIR(mode):
                raise DataError(f"{file}: a folder, not a file", "name the files in it")
            if stat.S_ISREG(mode):
                file.open("rb").close()
        except (OSError, ValueError) as error:
            raise unreadable(file, error) from error


def decoded(stream: IO[bytes], name: str) -> Iterator[str]:
    r"""Yield the lines of a byte stream, split at `\n` only; a `\r` before it and a byte-order mark are removed.

    `str.splitlines` would also split at U+2028, U+0085 and form feeds, so that the lines of input and output would not
    correspond.
    """
    for number, raw in enumerate(raw_lines(stream, name), 1):
        yield decoded_line(without_mark(raw, name) if number == 1 else raw, name, number)
