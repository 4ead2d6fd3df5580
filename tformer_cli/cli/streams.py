"""Standard input, output and error that the user has closed (`<&-`, `>&-`, `2>&-`): no other file takes their place."""

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
    """A stream that says so when it is used."""

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
    """Stand in for closed streams: input and output that say so when they are used, and error that is dropped.

    Their descriptors are taken by the null device, or the next file that is opened would be written to as standard
    error. Python has None for such a stream, and `print` takes standard output for it.
    """
    if sys.stdin is not None and sys.stdout is not None and sys.stderr is not None:
        return
    for number in range(3):
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
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
    """Drop what standard output still holds: nobody reads it, and it must not fail again at exit."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
