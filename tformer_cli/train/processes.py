"""The parent process of `--processes N`, which starts ranks on one machine, forwards signals and reports errors."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from tformer_cli.errors import RunError, TformerError
from tformer_cli.signals import STOPPING, Stopper, end_with_parent, ending, exit_status, name_of

GRACE = 5.0
"""Seconds in which ranks may end by themselves after one has failed."""
LAST_GRACE = 60.0
"""Seconds in which ranks may end after one has ended successfully."""


RESUME = "continue the run with --resume"


class LostRank(RunError):
    """Another rank has ended or does not answer, so that this one cannot continue."""


_reports: Connection | None = None
"""In a rank, the connection to its parent."""


def end_rank(message: str) -> None:
    """End this rank because another one is lost.

    Args:
        message: a line that names the lost rank.
    """
    error = LostRank(message, RESUME)
    if _reports is not None:
        _reports.send(error)
    else:  # a rank of torchrun
        print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)


@dataclass
class Child:
    """A rank, as its parent process sees it."""

    rank: int
    process: BaseProcess
    reports: Connection
    error: Exception | None = None
    """The error that the rank reported."""
    killed: bool = False
    """Whether the parent killed the rank."""

    def read(self) -> None:
        """Read the report of the rank."""
        with contextlib.suppress(EOFError, OSError):
            while self.error is None and self.reports.poll():
                self.error = self.reports.recv()

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.exitcode is not None

    @property
    def follows(self) -> bool:
        """Whether the rank failed only because another rank ended."""
        return isinstance(self.error, LostRank)

    @property
    def stopped(self) -> bool:
        """Whether the rank ended because of a signal that asks to stop."""
        return self.process.exitcode in [exit_status(number) for number in STOPPING]


def run_ranks(count: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Run a function in several processes of this machine, each a rank of one process group.

    A signal to this process, to its group, or to one rank stops all of them after their step. The first failure ends
    all ranks and is raised in this process.

    Args:
        count: number of ranks.
        function: function that every rank calls with `arguments`; both are pickled.
        arguments: arguments of the function.

    Raises:
        TformerError: the error of a rank, or an error that names the killed rank.
        SystemExit: if a signal stopped the ranks.
    """
    stopper = Stopper(moment=1.0)
    children: list[Child] = []
    with stopper.listening():
        try:
            _start(children, count, function, arguments)
            failed = _until_ended(children, stopper)
        finally:
            for child in children:
                child.process.kill()
            for child in children:
                child.process.join()
    if failed is not None:
        raise _failure(failed, count)
    number = stopper.number or max((child.process.exitcode or 0) - 128 for child in children)
    if number > 0:
        raise SystemExit(exit_status(number))


def _start(children: list[Child], count: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    resource_tracker.ensure_running()  # its start unblocks signals
    # The ranks inherit the blocked signals, which they unblock when they are ready, and the variable, which silences
    # C++ warnings about a lost rank: this process reports it.
    with _held_back(STOPPING), _environment("TORCH_CPP_LOG_LEVEL", "ERROR"):
        for rank in range(count):
            connection, child_connection = context.Pipe(duplex=False)
            environment = {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
            process = context.Process(
                target=_rank, args=(environment, child_connection, os.getpid(), function, arguments)
            )
            process.start()
            child_connection.close()
            children.append(Child(rank, process, connection))


@contextlib.contextmanager
def _held_back(numbers: tuple[int, ...]) -> Iterator[None]:
    """Block signals until the end of the context, and permanently in processes started within it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable within the context, unless the user has set it."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _until_ended(children: list[Child], stopper: Stopper) -> Child | None:
    """Wait for all ranks, and return the one that failed first, if any."""
    failed: Child | None = None
    forwarded, deadline = False, float("inf")
    while running := [child for child in children if not child.ended]:
        wait([child.process.sentinel for child in running], timeout=0.1)
        if stopper.number and not forwarded:
            forwarded = True
            for child in running:  # always SIGTERM, since a Ctrl-C in a terminal has reached the ranks already
                child.process.terminate()
        for child in children:
            child.read()
        ended = [child for child in children if child.ended]
        bad = [child for child in ended if child.process.exitcode and not child.stopped and not child.killed]
        if any(child.stopped for child in ended):  # the others may notice that it ended
            bad = [child for child in bad if not child.follows]
        bad.sort(key=lambda child: child.follows)
        if bad and (failed is None or failed.follows):
            deadline = min(deadline, time.monotonic() + GRACE) if failed else time.monotonic() + GRACE
            failed = bad[0]
        elif ended and deadline == float("inf"):
            deadline = time.monotonic() + LAST_GRACE
        if time.monotonic() > deadline:
            for child in running:
                child.killed = True
                child.process.kill()
    return failed


def _failure(child: Child, count: int) -> Exception:
    if child.error is not None:
        if isinstance(child.error, TformerError) and not child.follows:
            child.error.args = (f"rank {child.rank}: {child.error}",)
        return child.error
    remedy = RESUME
    code = child.process.exitcode or 0
    if code < 0:
        how = f"was ended by {name_of(-code)}"
        if -code == signal.SIGKILL:
            remedy = f"if memory ran out, use a smaller batch or fewer processes; {remedy}"
    else:
        how = f"ended with exit status {code}"
    return RunError(f"rank {child.rank} of {count} {how}", remedy)


def _rank(
    environment: dict[str, str],
    reports: Connection,
    parent: int,
    function: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    """Run a rank."""
    with ending():
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        end_with_parent(parent)
        os.environ |= environment
        global _reports
        _reports = reports
        try:
            function(*arguments)
        except KeyboardInterrupt:
            os._exit(exit_status(signal.SIGINT))
        except SystemExit as stop:
            os._exit(stop.code if isinstance(stop.code, int) else 1)
        except BaseException as error:
            reports.send(_portable(error))
            os._exit(1)  # the process group may hang after a failure


def _portable(error: BaseException) -> Exception:
    """Return an error that can be pickled, with its traceback as a note."""
    error.add_note(traceback.format_exc())
    if isinstance(error, Exception):
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(error))
            return error
    substitute = RuntimeError(f"{type(error).__name__}: {error}")
    substitute.add_note(traceback.format_exc())
    return substitute
