"""The run folder of a command: its name, checks before the start, and its removal after a failed start."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from tformer_cli.errors import RunError

STARTING = (".lock", "initial", ".initial.*", ".config.yaml.*")
"""Names in a run folder before training: the lock, an imported model, a partial configuration."""


def check_run(run: Path, resume: bool) -> None:
    """Check that a run may start or continue in a folder.

    Raises:
        RunError: if it is a file, or it is not empty and the run is not to be resumed.
    """
    if run.exists() and not run.is_dir():
        raise RunError(f"{run} is a file, not a folder", "choose another --run")
    if contents(run) and not resume:
        raise RunError(f"{run} is not empty", "continue that run with --resume, or choose another folder with --run")


def contents(run: Path) -> set[str]:
    """Return the names in a run folder, except those in `STARTING`, which an interrupted start leaves."""
    if not run.is_dir():
        return set()
    return {entry.name for entry in run.iterdir() if not any(fnmatch(entry.name, name) for name in STARTING)}


def has_checkpoints(run: Path) -> bool:
    """Return whether a run has checkpoints."""
    return any((run / "checkpoints").glob("step-*"))


def holds_run(run: Path) -> bool:
    """Return whether a folder is a run folder or is empty."""
    names = contents(run)
    return not names or bool(names & {"config.yaml", "checkpoints"})


def undo_start(run: Path, created: Sequence[Path]) -> None:
    """Remove the files of a start that failed before training, so that the run folder can be used again.

    Args:
        run: the run folder; it is unchanged if training has begun there, or another process is writing it.
        created: folders created by this command, the run's first; they are removed too.
    """
    from tformer_cli.runs.folder import CONFIG, Lock

    if not run.is_dir() or any((run / name).exists() for name in (CONFIG, "checkpoints")):
        return
    with contextlib.suppress(RunError, OSError):
        lock = Lock(run, patience=0)
        for path in (path for name in STARTING for path in run.glob(name)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        lock.release()
        for folder in created:
            folder.rmdir()  # fails if another run has begun there


def new_run(name: str) -> Path:
    """Return the next free folder of `runs/NAME/001`, `002`, ...; it is not created."""
    return Path("runs") / name / f"{max(_numbers(name), default=0) + 1:03d}"


def last_run(name: str) -> Path | None:
    """Return the newest run folder of a recipe, or None."""
    numbers = _numbers(name)
    return Path("runs") / name / f"{max(numbers):03d}" if numbers else None


def _numbers(name: str) -> list[int]:
    """Return the numbers of a recipe's run folders."""
    folder = Path("runs") / name
    if not folder.is_dir():
        return []
    return [int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal() and len(entry.name) < 10]
