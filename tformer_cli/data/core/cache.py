"""A cache of arrays in memory-mapped files, under a hash of everything that they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

Open = Callable[[str], IO[bytes]]
Write = Callable[[Open], None]

MANIFEST = "manifest.json"
TEMPORARY = ".writing-"
STALE_SECONDS = 24 * 3600  # a temporary folder this old was left by a process that died


def default_cache() -> Path:
    """Return the user's cache folder for tformer; without a home folder, a folder for temporary files."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "tformer"
    try:
        return Path.home() / ".cache" / "tformer"
    except RuntimeError:  # neither HOME nor an entry in the user database
        return Path(tempfile.gettempdir()) / f"tformer-{os.getuid()}"


def cache_folder(cache: str) -> Path:
    """Return the folder that `data.cache` names, or the user's cache folder if it is empty."""
    return Path(cache).expanduser() if cache else default_cache()


def cached(
    cache: str,
    key: Sequence[object],
    names: Sequence[str],
    write: Write,
    *,
    kind: str = "tokens",
    fallback: Callable[[Sequence[str], Write], dict[str, np.ndarray]] | None = None,
) -> tuple[dict[str, np.ndarray], str]:
    """Return the arrays of a key from the cache; if they are missing, compute and store them first.

    Args:
        cache: the cache folder; empty: the user's.
        key: everything that the arrays depend on, as values that JSON can represent.
        names: names of the arrays.
        write: writes each array in NumPy's format to the stream that its argument returns for a name.
        kind: kind of the data, which is also the name of the folder in the cache.
        fallback: returns the arrays if the cache cannot be written; None: they are held in memory.

    Returns:
        The arrays by name, memory-mapped; and a line for the user if the cache could not be written, or "".
    """
    folder = cache_folder(cache) / kind / hashlib.sha256(json.dumps(key).encode()).hexdigest()
    arrays, note = _open(folder, names), ""
    if arrays is not None:
        with contextlib.suppress(OSError):
            os.utime(folder)  # the time of the last use, for `entries`
    else:
        try:
            _write(folder, names, write)
            arrays = _open(folder, names)
        except OSError as error:
            where = "for this run alone" if fallback else "in memory"
            subject = "encoded text is" if kind == "tokens" else f"{kind} are"
            note = f"{subject} kept {where}: {folder.parent}: {error.strerror or error} (data.cache)"
    return (arrays or (fallback or _in_memory)(names, write)), note


def _in_memory(names: Sequence[str], write: Write) -> dict[str, np.ndarray]:
    streams = {name: io.BytesIO() for name in names}
    write(streams.__getitem__)
    for stream in streams.values():
        stream.seek(0)
    return {name: np.load(stream, allow_pickle=False) for name, stream in streams.items()}


def _open(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Return the arrays in a cache folder, memory-mapped; None if it does not exist or is damaged."""
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


def _write(folder: Path, names: Sequence[str], write: Write) -> None:
    """Write a cache folder under a temporary name, then rename it, so that other processes see all of it or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent)
    temporary = folder.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    damaged = temporary.with_name(f"{temporary.name}-damaged")
    temporary.mkdir()
    try:
        with contextlib.ExitStack() as stack:
            write(lambda name: stack.enter_context((temporary / f"{name}.npy").open("w+b")))
        manifest = {f"{name}.npy": _sha256(temporary / f"{name}.npy") for name in names}
        (temporary / MANIFEST).write_text(json.dumps(manifest))
        if folder.exists() and _open(folder, names) is None:  # damaged: out of the way, in one step as well
            folder.rename(damaged)
        try:
            temporary.rename(folder)
        except OSError:
            if _open(folder, names) is None:  # else another process was first, with the same content
                raise
    finally:
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass(frozen=True)
class Entry:
    """An entry of the cache.

    Attributes:
        folder: its path.
        kind: the kind of its data.
        bytes: its size.
        days: days since a run used it.
    """

    folder: Path
    kind: str
    bytes: int
    days: float


def entries(cache: Path) -> list[Entry]:
    """Return the complete entries of a cache."""
    cache_entries = []
    for folder in sorted(cache.glob("*/*")):
        name = folder.name
        if len(name) == 64 and set(name) <= set("0123456789abcdef") and folder.is_dir() and not folder.is_symlink():
            with contextlib.suppress(OSError):
                size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                days = (time.time() - folder.stat().st_mtime) / (24 * 3600)
                cache_entries.append(Entry(folder, folder.parent.name, size, max(0.0, days)))
    return cache_entries


def remove(entry: Entry) -> bool:
    """Remove an entry, and return whether it could be removed; it is renamed first, so that no process opens a part."""
    doomed = entry.folder.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        entry.folder.rename(doomed)
    except OSError:
        return False
    shutil.rmtree(doomed, ignore_errors=True)
    return True


def _remove_stale(parent: Path) -> None:
    for folder in parent.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
