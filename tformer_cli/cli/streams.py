"""Handling of closed standard streams (`<&-`, `>&-`, `2>&-`), so that no other file reuses their descriptors."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any


class Closed(OSError):
    """Standard input or output is closed."""

    def __init__(self, name: str, remedy: str) -> None:
        super().__init__(errno.EBADF, f"standard {name} is closed: {remedy}")


class _ClosedStream(io.RawIOBase):
    """A stream that raises `Closed` when it is used."""

    def __init__(self, name: str, remedy: str) -> None:
        self._closed_name, self._remedy = name, remedy

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise Closed(self._closed_name, self._remedy)

    def write(self, data: Any) -> int:
        raise Closed(self._closed_name, self._remedy)


def repair() -> None:
    """Replace closed streams: input and output raise an error when used, and standard error is discarded.

    The null device takes their descriptors. Otherwise the next opened file could get descriptor 2, and receive what is
    written to standard error. Python represents a closed stream by None, and `print(file=None)` writes to standard
    output.
    """
    if sys.stdin is not None and sys.stdout is not None and sys.stderr is not None:
        return
    for number in range(3):
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor
        os.set_inheritable(number, True)
    if sys.stdin is None:
        closed = _ClosedStream("input", "give the text, or files, as arguments")
        sys.stdin = io.TextIOWrapper(io.BufferedReader(closed), encoding="utf-8")
    if sys.stdout is None:
        closed = _ClosedStream("output", "leave it open, or write results to a file")
        sys.stdout = io.TextIOWrapper(closed, encoding="utf-8", write_through=True)  # type: ignore[arg-type]
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115


def give_up_output() -> None:
    """Discard the buffer of standard output, which has no reader, so that it does not fail again at exit."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
