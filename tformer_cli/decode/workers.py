"""Parallel decoding on a CPU: one process with one thread for each core.

The products of a decoding step are too small to divide among threads. Processes are forked: this takes milliseconds,
the weights share the parent's memory, and the parent's settings (precision, backends) apply. OpenMP's threads do not
survive a fork, so a worker computes with one thread from its first operation on.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

import torch

from tformer_cli.errors import RunError, TformerError
from tformer_cli.signals import name_of, poll, start_helper

POLL_SECONDS = 0.2
"""Seconds between checks for a signal while processes decode."""

J = TypeVar("J")
R = TypeVar("R")


class Share(Protocol):
    """A distribution of independent jobs: all to this process, or some to each rank."""

    def __call__(self, compute: Callable[[Sequence[J]], Iterable[R]], jobs: Sequence[J], /) -> Iterable[R]:
        """Return the results of all jobs, in their order.

        Args:
            compute: function that yields the results of jobs; between ranks results are pickled.
            jobs: all jobs, the same on every rank.
        """
        ...


def unshared(compute: Callable[[Sequence[J]], Iterable[R]], jobs: Sequence[J], /) -> Iterable[R]:
    """Compute all jobs in this process."""
    return compute(jobs)


class Stopwatch:
    """Computes all jobs in this process, and measures the seconds that they take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, compute: Callable[[Sequence[J]], Iterable[R]], jobs: Sequence[J], /) -> Iterator[R]:
        """Yield the results of all jobs, in their order."""
        begin = time.monotonic()
        for result in compute(jobs):
            self.seconds += time.monotonic() - begin
            yield result
            begin = time.monotonic()
        self.seconds += time.monotonic() - begin


class Workers:
    """A pool of processes that call one function; a context manager, which ends the processes.

    Several jobs are computed with one thread each, whatever the number of processes, since rounding depends on the
    number of threads. On other devices than a CPU, and on other systems than Linux, where libraries do not survive a
    fork, this process computes all jobs with all its threads.

    Args:
        function: called with each job. Jobs and results are pickled, the function is not.
        count: maximum number of processes, which are started when jobs need them; 1: this process; 0: as many as torch
            has threads, which a run sets to the number of physical cores.
        device: device on which the function computes.
    """

    def __init__(self, function: Callable[[Any], Any], count: int, device: torch.device) -> None:
        self.function, self.count = function, count or torch.get_num_threads()
        self.divisible = device.type == "cpu" and sys.platform.startswith("linux")
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.kill()  # they ignore SIGTERM and hold no state
        for process in self._processes:
            process.join()

    def map(self, jobs: Sequence[Any], *, one_of_many: bool = False) -> list[Any]:
        """Return the results of the jobs in their order. The jobs are started in this order, so put long ones first.

        A single job is computed by this process, with all its threads.

        Args:
            jobs: the arguments of the function.
            one_of_many: whether other ranks compute other jobs of the same work; a single job then uses one thread too.

        Raises:
            RunError: if a process was killed.
            Exception: whatever the function raises.
        """
        if (len(jobs) < 2 and not one_of_many) or not self.divisible:
            return [self._call(job) for job in jobs]
        count = min(self.count, len(jobs))
        if count < 2:
            with _one_thread():
                return [self._call(job) for job in jobs]
        self._start(count)
        results: list[Any] = [None] * len(jobs)
        idle, begun = self._connections[:count], 0
        busy: dict[Connection, int] = {}
        while begun < len(jobs) or busy:
            while idle and begun < len(jobs):
                connection = idle.pop()
                with self._ended(connection):
                    connection.send(jobs[begun])
                busy[connection] = begun
                begun += 1
            ready = wait(list(busy), timeout=POLL_SECONDS)
            poll()
            for connection in [connection for connection in busy if connection in ready]:
                with self._ended(connection):
                    error, results[busy.pop(connection)] = connection.recv()
                if error is not None:
                    raise error
                idle.append(connection)
        return results

    def _call(self, job: Any) -> Any:
        poll()
        return self.function(job)

    def _start(self, count: int) -> None:
        context = multiprocessing.get_context("fork")
        while len(self._processes) < count:
            connection, child_connection = context.Pipe()
            inherited = [*self._connections, connection]
            arguments = (self.function, child_connection, inherited, os.getpid())
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            child_connection.close()
            self._processes.append(process)
            self._connections.append(connection)

    @contextlib.contextmanager
    def _ended(self, connection: Connection) -> Iterator[None]:
        """Convert errors of a broken pipe to an error about the end of its process."""
        try:
            yield
        except (EOFError, OSError) as error:
            process = self._processes[self._connections.index(connection)]
            process.join(1)
            code = process.exitcode or 0
            by = f" by {name_of(-code)}" if code < 0 else ""
            raise RunError(f"a decoding process was killed{by}", "if memory ran out, use decode.workers=1") from error


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _serve(
    function: Callable[[Any], Any], connection: Connection, inherited: Sequence[Connection], parent: int
) -> None:
    """Run a worker until its pipe or its parent ends."""
    start_helper(parent)
    for parent_connection in inherited:  # with an open copy here, the end of the parent would not be noticed
        parent_connection.close()
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):
        while True:
            job = connection.recv()
            try:
                result = None, function(job)
            except Exception as error:
                result = portable(error), None
            connection.send(result)


def portable(error: Exception) -> Exception:
    """Return an error that can be pickled, with its traceback as a note."""
    if not isinstance(error, (TformerError, MemoryError)):
        error = RuntimeError(f"{type(error).__name__}: {error}" if type(error) is not RuntimeError else str(error))
    error.add_note(traceback.format_exc())
    return error
