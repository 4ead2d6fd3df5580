"""Lines in: strict about bytes, so that line n of the output belongs to line n of the input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tformer_cli.errors import DataError


def lines(files: Sequence[Path]) -> Iterator[str]:
    """Every line of some files, or of standard input when there are none; `-` names it too.

    Raises:
        DataError: if a file cannot be read or a line is not UTF-8 or holds NUL; file and line are named.
    """
    for file in files or [Path("-")]:
        if str(file) == "-":
            yield from decoded(sys.stdin.buffer, "standard input")
            continue
        try:
            stream = file.open("rb")
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror})") from error
        with stream:
            yield from decoded(stream, str(file))


def check(files: Iterable[Path]) -> None:
    """Refuse files that cannot be opened, before anything slow starts.

    Raises:
        DataError: naming the first.
    """
    for file in files:
        if str(file) != "-":
            try:
                file.open("rb").close()
            except OSError as error:
                raise DataError(f"{file} cannot be read ({error.strerror})") from error


def decoded(stream: BinaryIO, name: str) -> Iterator[str]:
    r"""Lines of a byte stream, split at `\n` alone; one `\r` before it and a byte-order mark are dropped.

    `str.splitlines` would also split at U+2028, U+0085 and form feeds, and input and output would go out of
    step.
    """
    for number, raw in enumerate(stream, 1):
        line = raw.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if b"\0" in line:
            raise DataError(f"{name}:{number} holds a NUL character", "that is no text file, or a damaged one")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name}:{number} is not UTF-8 (byte {error.start + 1})", "convert the file to UTF-8"
            ) from None
