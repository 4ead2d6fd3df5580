"""Signals that ask a process to stop, and helper processes that end with their parent.

Ctrl-C (SIGINT), SIGTERM (systemd, Slurm, Kubernetes, `kill`) and SIGHUP (a closed terminal) all mean: stop. A verb that
trains finishes its step and saves (`Stopper`); every other verb ends at once, closing its files (`ending`). The exit
status is 128 plus the signal's number, as shells count.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


def exit_status(number: int) -> int:
    """The exit status of a process that a signal has ended."""
    return 128 + number


def name_of(number: int) -> str:
    """The name of a signal, as SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ignored(number: int) -> bool:
    """Whether whoever started this process wants it to ignore a signal, as `nohup` does with SIGHUP."""
    return signal.getsignal(number) == signal.SIG_IGN


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `SystemExit` inside the block, as Python turns Ctrl-C into `KeyboardInterrupt`.

    Files are then closed and helpers ended on the way out. Outside the main thread nothing is changed.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(exit_status(number))

    with _handled([number for number in STOPPING if number != signal.SIGINT and not _ignored(number)], leave):
        yield


class StopRequested(Exception):  # noqa: N818 - no error, but it must pass through code that catches nothing else
    """A signal has asked to stop work that can be given up and done again."""


class Stopper:
    """Notes the first signal that asks to stop; a second Ctrl-C leaves at once.

    Args:
        moment: signals within so many seconds of the first count as one. A launcher (torchrun, a wrapper script) may
            pass on a Ctrl-C that the terminal has already sent to each of its processes.
    """

    def __init__(self, moment: float = 0.25) -> None:
        self.moment = moment
        self.number = 0
        """Of the first signal; 0: nobody has asked to stop."""
        self._since = 0.0
        self._interrupts = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals inside the block."""
        with _handled([n for n in STOPPING if n != getattr(signal, "SIGHUP", None) or not _ignored(n)], self._note):
            yield

    @contextlib.contextmanager
    def giving_up(self) -> Iterator[None]:
        """Let `poll` raise inside the block, once a signal was noted: its work is done again by a later run."""
        global _polled
        _polled = self
        try:
            yield
        finally:
            _polled = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.number:
            self.number, self._since = number, now
            self._interrupts = int(number == signal.SIGINT)
            return
        if now - self._since < self.moment or number != signal.SIGINT:
            return
        self._interrupts += 1
        if self._interrupts > 1:
            raise KeyboardInterrupt


_polled: Stopper | None = None


def poll() -> None:
    """Give up work that a `Stopper` says can be given up; long loops call it between two of their parts.

    Raises:
        StopRequested: if a signal has asked to stop.
    """
    if _polled is not None and _polled.number:
        raise StopRequested


@contextlib.contextmanager
def _handled(numbers: list[int], handler) -> Iterator[None]:
    """Handle signals inside the block, where that is possible: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)


def start_helper(parent: int) -> None:
    """Prepare a forked helper: it leaves signals to its parent, and ends when its parent does.

    Call it first in the helper. A signal to the whole process group would otherwise end the helpers while the parent
    still needs them for its last step.

    Args:
        parent: process id of the parent, read before the fork.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(parent)


def end_with_parent(parent: int) -> None:
    """End this process, on Linux, as soon as its parent has ended, even by SIGKILL.

    Args:
        parent: process id of the parent.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library: helpers notice closed pipes instead
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call
            os._exit(1)
