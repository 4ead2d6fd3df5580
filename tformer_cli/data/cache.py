"""Arrays that are made once on a machine, kept in memory-mapped files under what they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

MANIFEST = "manifest.json"
TEMPORARY = ".writing-"
STALE_SECONDS = 24 * 3600  # a temporary folder this old was left by a process that died


def default_cache() -> Path:
    """The user's cache folder for tformer."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "tformer"


def cached(
    cache: str, key: Sequence[object], names: Sequence[str], make: Callable[[], dict[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], str]:
    """The arrays that a key stands for: made once, then opened.

    Args:
        cache: folder; empty: the user's.
        key: all that the arrays depend on; JSON can write it.
        names: of the arrays.
        make: makes them.

    Returns:
        The arrays by name, memory-mapped; and what the user should know if they could not be kept, in a line, or "".
    """
    root = Path(cache).expanduser() if cache else default_cache()
    folder = root / "tokens" / hashlib.sha256(json.dumps(key).encode()).hexdigest()
    arrays = _open(folder, names)
    if arrays is not None:
        return arrays, ""
    arrays = make()
    try:
        _write(folder, arrays)
    except OSError as error:
        return arrays, f"encoded text is kept in memory: {folder.parent}: {error.strerror or error} (data.cache)"
    return _open(folder, names) or arrays, ""


def _open(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The arrays in a cache folder, memory-mapped; None if it is not there or not as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        arrays = {}
        for name in names:
            file = folder / f"{name}.npy"
            if _sha256(file) != manifest[file.name]:
                return None
            arrays[name] = _load(file)
        return arrays
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _load(file: Path) -> np.ndarray:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    return np.asarray(array)  # a plain view of the mapping: slices of numpy.memmap are ten times slower


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a cache folder beside its place, then rename it: other processes see all of it or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent)
    temporary = folder.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    damaged = temporary.with_name(f"{temporary.name}-damaged")
    temporary.mkdir()
    try:
        manifest = {}
        for name, array in arrays.items():
            file = temporary / f"{name}.npy"
            np.save(file, array, allow_pickle=False)
            manifest[file.name] = _sha256(file)
        (temporary / MANIFEST).write_text(json.dumps(manifest))
        if folder.exists() and _open(folder, list(arrays)) is None:  # damaged: out of the way, in one step as well
            folder.rename(damaged)
        try:
            temporary.rename(folder)
        except OSError:
            if _open(folder, list(arrays)) is None:  # else another process was first, with the same content
                raise
    finally:
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(parent: Path) -> None:
    for folder in parent.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
