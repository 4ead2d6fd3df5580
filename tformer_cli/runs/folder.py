"""The run folder: `config.yaml`, `environment.json`, `metrics.jsonl`, `checkpoints/`, `result.json`.

`train/` and `validation/` contain TensorBoard's files.

Every command takes a run folder, or one of its checkpoints, and needs no other files.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import sys
import time
import weakref
from importlib import metadata
from pathlib import Path

from tformer_cli import __version__
from tformer_cli.errors import RunError
from tformer_cli.regular_files import append_regular
from tformer_cli.runs.checkpoint import AVERAGED, MANIFEST, Checkpoints, complete_save, damage
from tformer_cli.runs.writing import replace_file, write_remedy

INITIAL = "initial"
"""Folder of a converted model of another library from which a run starts, until its weights are read."""
CONFIG, RESULT, METRICS, PERFORMANCE = "config.yaml", "result.json", "metrics.jsonl", "performance.jsonl"
ENVIRONMENT = "environment.json"
FILES = (CONFIG, ENVIRONMENT, METRICS, PERFORMANCE, RESULT)
HARMLESS = (
    "recipe", "trainer.steps", "trainer.epochs", "trainer.minutes", "trainer.device", "trainer.threads",
    "trainer.compile", "trainer.evaluate_every", "trainer.checkpoint_every", "trainer.keep", "trainer.keep_best",
    "trainer.log_every", "trainer.patience", "trainer.average", "trainer.samples", "trainer.evaluate_decoded",
    "trainer.evaluate_limit", "trainer.distributed_timeout", "data.workers", "data.cache", "data.test", "decode.",
    "evaluation.",
)  # fmt: skip
"""Settings that may differ on `--resume`, since they do not change the training steps themselves."""
LOCATIONS = ("data.path", "data.train", "data.validation", "data.source", "data.name")
"""Locations of data, which may change if the hash of the data is the same."""
STEERING = tuple(
    f"{optimiser}.{name}" for optimiser in ("optim", "generator_optim") for name in ("lr", "warmup_steps", "clip_norm")
)
"""Settings that may differ on `--resume` after a step that was not finite."""

PATIENCE = 2.0
"""Seconds to wait for the lock of a process that is ending, since a large killed process takes a moment."""


class Lock:
    """The lock of a run folder against a second writer; it ends with the process.

    Args:
        run: the run folder, which is created.
        patience: seconds to wait for a holder that is ending; default: `PATIENCE`.
        kind: what the folder is called in errors.
        option: the option that names the folder.

    Attributes:
        held: whether no other process can write; False if the file system has no locks.
        note: a note for the user, in a line, or "".

    Raises:
        RunError: if another process holds the lock, or the folder is not writable.
    """

    _all: weakref.WeakSet[Lock] = weakref.WeakSet()

    def __init__(self, run: Path, patience: float | None = None, *, kind: str = "run", option: str = "--run") -> None:
        self.held, self.note = False, ""
        try:
            run.mkdir(parents=True, exist_ok=True)
            self.file = append_regular(run / ".lock")
        except OSError as error:
            remedy = f"{write_remedy(error)}, or choose another folder with {option}"
            raise RunError(f"{run}: cannot be written: {error.strerror}", remedy) from error
        try:
            import fcntl
        except ImportError:
            self.note = "this platform has no file locks: start no second run in this folder"
            return
        self._all.add(self)
        until = time.monotonic() + (PATIENCE if patience is None else patience)
        while not self.held:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.held = True
            except OSError as error:
                if error.errno not in (
                    errno.EWOULDBLOCK,
                    errno.EAGAIN,
                    errno.EACCES,
                ):  # such as ENOLCK on NFS
                    self.note = f"{run}: no file locks here ({error.strerror}): start no second run in this folder"
                    return
                if time.monotonic() < until:
                    time.sleep(0.05)
                    continue
                self.release()
                raise RunError(
                    f"{run}: another process is writing this {kind}", f"wait for it, or use another {option}"
                ) from error

    def release(self) -> None:
        """Release the lock, so that other processes can write."""
        self._all.discard(self)
        self.file.close()

    @classmethod
    def forget(cls) -> None:
        """Close the lock in a forked process, since it belongs to the parent."""
        for lock in list(cls._all):
            lock.file.close()
        cls._all.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Lock.forget)


def is_part_of_run(path: Path) -> bool:
    """Return whether a file is one that a run consists of; other files in a run folder are the user's.

    Args:
        path: an absolute path without symbolic links.
    """
    for run in path.parents:
        if (run / CONFIG).exists() and (run / "checkpoints").is_dir():
            first, *below = path.relative_to(run).parts
            return first == "checkpoints" if below else first in FILES
    return False


def clear_start(run: Path) -> None:
    """Remove the files that a run needs only until its model has its first weights; the caller must hold the lock."""
    for path in (run / INITIAL, *run.glob(f".{INITIAL}.*"), *run.glob(".*.writing")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != INITIAL:
            path.unlink(missing_ok=True)


def run_of(path: Path) -> Path:
    """Return the run folder to which a user's path refers, without reading its checkpoints.

    Args:
        path: a run folder, or a checkpoint in one (or copied elsewhere, which is returned itself).

    Raises:
        RunError: if there is no run.
    """
    if not path.is_dir():
        raise RunError(f"{path}: no such run folder", "give the folder that --run named; `tformer runs` lists them")
    if (path / MANIFEST).exists():
        return path.parent.parent if path.parent.name == "checkpoints" else path
    if not (path / CONFIG).exists():
        raise RunError(f"{path}: not a run folder (it has no {CONFIG})", "give the folder that --run named")
    return path


def locate(path: Path, checkpoint: str = "") -> tuple[Path, Path]:
    """Return the run folder and the checkpoint to which a user's path refers.

    Args:
        path: a run folder, or a checkpoint in one (or copied elsewhere).
        checkpoint: name of a checkpoint of the run, `best` or `latest`; empty: the best one, which may be the average,
            or the latest if none was scored.

    Returns:
        The run folder (or the checkpoint, if it is not in a run folder), and the checkpoint.

    Raises:
        RunError: if there is no such checkpoint, or it is damaged.
    """
    run = run_of(path)
    if (path / MANIFEST).exists():
        chosen = path
        if checkpoint not in ("", path.name):
            raise RunError(f"{path} is a checkpoint itself", f"leave out --checkpoint {checkpoint}, or name the run")
    else:
        folder = Checkpoints(run / "checkpoints")
        _complete(run)
        if checkpoint in ("", "best", "latest"):
            chosen = folder.latest() if checkpoint == "latest" else folder.best() or folder.latest()
        else:
            chosen = folder.folder / checkpoint
        if chosen is None or not chosen.is_dir():
            existing = [step.name for step in [*folder.steps(), folder.folder / AVERAGED] if step.is_dir()]
            if chosen is None:
                raise RunError(f"{path}: no checkpoint yet", "continue the run with --resume")
            names = ", ".join(existing) or "none"
            raise RunError(f"{path}: no checkpoint {chosen.name}", f"name one with --checkpoint; there are: {names}")
    fault = damage(chosen)
    if fault:
        others = [step.name for step in Checkpoints(run / "checkpoints").steps() if step.name != chosen.name]
        remedy = (
            f"choose another with --checkpoint: {', '.join(others)}" if others else "there is no other: train again"
        )
        raise RunError(f"{chosen}: damaged: {fault}", remedy)
    return run, chosen


def _complete(run: Path) -> None:
    """Complete an interrupted save, unless another process is writing the run, or this one may not write."""
    folder = run / "checkpoints"
    if not Checkpoints(folder).interrupted():
        return
    with contextlib.suppress(RunError):
        lock = Lock(run, patience=0)
        if lock.held:
            complete_save(folder)
        lock.release()


def write_environment(run: Path, machine: str) -> None:
    """Write the versions, the machine and the command of a run, which help to reproduce it."""
    names = ("torch", "numpy", "sentencepiece", "sacrebleu", "datasets", "safetensors", "hydra-core")
    versions = {name: metadata.version(name) for name in names}
    facts = {
        "tformer": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": processor(),
        "machine": machine,
        "versions": versions,
        "command": sys.argv,
    }
    replace_file(run / ENVIRONMENT, json.dumps(facts, indent=1).encode())


def processor() -> str:
    """Return the name of the CPU."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
