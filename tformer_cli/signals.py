"""Handling of signals that stop a process, and worker processes that end with their parent.

Ctrl-C (SIGINT), SIGTERM (systemd, Slurm, Kubernetes, `kill`) and SIGHUP (a closed terminal) ask a process to stop. A
training command finishes its step and saves (`Stopper`). Every other command closes its files and ends (`ending`). The
exit status is 128 plus the signal's number, as in shells.
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
from typing import NoReturn

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PR_SET_PDEATHSIG = 1  # from Linux's prctl.h


def exit_status(number: int) -> int:
    """Return the exit status of a process ended by a signal."""
    return 128 + number


def name_of(number: int) -> str:
    """Return the name of a signal, such as SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ignored(number: int) -> bool:
    """Return whether the parent made this process ignore a signal, as `nohup` does with SIGHUP."""
    return signal.getsignal(number) == signal.SIG_IGN


class Ending:
    """A record of the signal that ends a command.

    Attributes:
        number: number of the last signal; 0: none.
    """

    def __init__(self) -> None:
        self.number = 0

    def leave(self) -> NoReturn:
        """Raise `KeyboardInterrupt` after Ctrl-C, `SystemExit` after another signal."""
        raise KeyboardInterrupt if self.number == signal.SIGINT else SystemExit(exit_status(self.number))

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.leave()


@contextlib.contextmanager
def ending() -> Iterator[Ending]:
    """Convert signals to `KeyboardInterrupt` (Ctrl-C) or `SystemExit` within the context, and record them.

    Files are then closed, and workers end. A library that is interrupted while it is imported may swallow the exception
    or raise another one; `poll` and the record tell of the signal nevertheless. Outside of the main thread this has no
    effect.

    Yields:
        The record.
    """
    global _ending
    outer, _ending = _ending, Ending()
    try:
        with _handled([number for number in STOPPING if not _ignored(number)], _ending._note):
            yield _ending
    finally:
        _ending = outer


class StopRequested(Exception):  # noqa: N818 - not an error, but it must pass through other code
    """A request by a signal to stop work that can be abandoned and repeated."""


class Stopper:
    """A recorder of the first signal to stop; a second Ctrl-C ends the process at once.

    Args:
        moment: seconds after the first signal in which others are ignored. A launcher (torchrun, a wrapper script) may
            forward a Ctrl-C that the terminal has already sent to each of its processes.
    """

    def __init__(self, moment: float = 0.25) -> None:
        self.moment = moment
        self.number = 0
        """Number of the first signal; 0: none."""
        self._since = 0.0
        self._interrupts = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Record signals within the context."""
        with _handled([n for n in STOPPING if n != getattr(signal, "SIGHUP", None) or not _ignored(n)], self._note):
            yield

    @contextlib.contextmanager
    def giving_up(self) -> Iterator[None]:
        """Let `poll` raise `StopRequested` after a signal within the context, whose work can be repeated."""
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
_ending: Ending | None = None


def poll() -> None:
    """Abandon work after a signal; long loops call this function regularly.

    Raises:
        StopRequested: if a `Stopper` allows it.
        KeyboardInterrupt: if a library has swallowed that of an `ending` context; `SystemExit` likewise.
    """
    if _polled is not None and _polled.number:
        raise StopRequested
    if _ending is not None and _ending.number:
        _ending.leave()


@contextlib.contextmanager
def _handled(numbers: list[int], handler) -> Iterator[None]:
    """Handle signals within the context if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handlers = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in previous_handlers.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)


def start_helper(parent: int) -> None:
    """Prepare a forked worker, which leaves signals to its parent and ends with it.

    The worker must call it first. Otherwise a signal to the process group would end the workers while the parent still
    needs them for its last step.

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
    with contextlib.suppress(OSError, AttributeError):  # another C library: workers detect closed pipes instead
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the call
            os._exit(1)
