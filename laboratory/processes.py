"""Commands of tformer in processes that begin with PyTorch imported, which takes most of a short training's start."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

PRELOADED = ("torch", "torch._dynamo", "tformer_cli.train.launch", "tformer_cli.cli.train", "hydra")
"""Modules that are imported once; the first optimiser of a process imports the second."""


def start(command: Sequence[str], log: Path) -> BaseProcess:
    """Start a command in a process of its own, which ends by SIGTERM when this one has ended, even by SIGKILL.

    Args:
        command: arguments of `tformer`.
        log: file that what it prints is added to.

    Returns:
        The process; its exit code is that of the command.
    """
    process = _context().Process(target=_run, args=(list(command), log))
    process.start()
    return process


@functools.cache
def _context() -> ForkServerContext | SpawnContext:
    """Return a server that forks processes after the imports; where there is no such thing, each process imports."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # several trainings share the machine
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _run(command: list[str], log: Path) -> None:
    """Run a command in this process, and leave with its exit code."""
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from tformer_cli.cli.main import main

    sys.exit(main(command))


def _end_with_parent() -> None:
    """Wait until the laboratory has ended, and ask this process to save and stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
