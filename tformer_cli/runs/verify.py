"""Reading and verification of the records of a checkpoint, without torch."""

from __future__ import annotations

import hashlib
import json
import math
import stat
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tformer_cli.errors import RunError
from tformer_cli.regular_files import read_regular

FORMAT_VERSION = 1
MANIFEST, STATE = "manifest.json", "state.json"
REQUIRED = ("model.safetensors", STATE, "config.yaml")
"""Files of every checkpoint."""
LARGEST_TEXT = 64 << 20
"""Largest size, in bytes, of a manifest or state."""


def _sha256(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def read_manifest(folder: Path) -> tuple[dict[str, tuple[int, str]], str]:
    """Read and check `manifest.json`.

    Returns:
        Size and SHA-256 of each file by name, and the fault of the manifest ("" if none).
    """
    try:
        manifest = json.loads(read_regular(folder / MANIFEST, largest=LARGEST_TEXT, links=False))
    except FileNotFoundError:
        return {}, f"has no {MANIFEST}"
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return {}, f"has an unreadable {MANIFEST} ({reason})"
    malformed = f"has a malformed {MANIFEST}"
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return {}, malformed
    version = manifest.get("format_version")
    if not isinstance(version, int) or not _count(version):
        return {}, malformed
    if version > FORMAT_VERSION:
        return {}, f"is of format {version}, newer than this tformer knows ({FORMAT_VERSION})"
    entries = {}
    for name, entry in manifest["files"].items():
        if not isinstance(entry, dict) or not _count(entry.get("bytes")) or not _sha256(entry.get("sha256")):
            return {}, malformed
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name or not name:
            return {}, f"names a file outside itself: {name}"
        entries[name] = (entry["bytes"], entry["sha256"])
    missing = [name for name in REQUIRED if name not in entries]
    return entries, f"has no {', '.join(missing)} in its {MANIFEST}" if missing else ""


def file_fault(folder: Path, name: str, size: int, sha256: str) -> str:
    """Compare one file of a checkpoint with its manifest entry.

    Returns:
        Its fault, "" if none.
    """
    parts = PurePosixPath(name).parts
    try:
        if any((folder / Path(*parts[: depth + 1])).is_symlink() for depth in range(len(parts))):
            return f"names a file outside itself: {name} is a link"
        status = (folder / name).lstat()
        if not stat.S_ISREG(status.st_mode):
            return f"{name} is not a regular file"
        if status.st_size != size:
            return f"{name} has {status.st_size} bytes instead of {size}"
        with open(folder / name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return f"{name} does not match its SHA-256"
    except (OSError, ValueError) as error:
        return f"{name}: {getattr(error, 'strerror', None) or type(error).__name__}"
    return ""


def damage(folder: Path) -> str:
    """Compare every file of a checkpoint folder with the size and SHA-256 in its manifest.

    Returns:
        The fault in a line, "" if none; no errors are raised.
    """
    entries, fault = read_manifest(folder)
    if fault:
        return fault
    faults = (file_fault(folder, name, size, sha256) for name, (size, sha256) in entries.items())
    return next(filter(None, faults), "") or _irregular_file(folder)


def _irregular_file(folder: Path) -> str:
    """Return the fault of a link, pipe or device in a checkpoint folder, also one outside its manifest; "" if none."""
    try:
        for entry in sorted(folder.rglob("*")):
            mode = entry.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
                return f"holds {entry.relative_to(folder).as_posix()}, which is {kind}"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


# --- state.json -----------------------------------------------------------------------------------------------------


def _number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and _number(value) and math.isfinite(value)


def _optional_number(value: object) -> bool:
    return value is None or _number(value)


def _mapping(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(check(item) for item in value.values())


def _text(value: object) -> bool:
    return isinstance(value, str)


def _optional_text(value: object) -> bool:
    return value is None or _text(value)


def _machine(value: object) -> bool:
    known = {"precision": ("fp32", "bf16"), "attention": ("fused", "explicit")}
    return isinstance(value, dict) and all(value.get(name) in choices for name, choices in known.items())


def _precision(value: object) -> bool:
    return value in ("fp32", "bf16")


def _flag(value: object) -> bool:
    return isinstance(value, bool)


FIELDS: Mapping[str, Callable[[object], bool]] = {
    "step": _count,
    "seconds": _finite,
    "score": _optional_number,
    "loss": _optional_number,
    "best": _optional_number,
    "best_loss": _optional_number,
    "best_step": _count,
    "without_better": _count,
    "compared_from": _count,
    "window": _mapping(_finite),
    "finished": _flag,
    "offsets": _mapping(_count),
    "metric": _text,
    "signature": _optional_text,
    "fingerprint": _mapping(_text),
    "machine": _machine,
    "scoring_precision": _precision,
    "metrics_sha256": _sha256,
    "folder": _text,
    "better": _flag,
    "extra": _flag,
}
"""Checks of the fields of `state.json`; only `step` is always required."""
RESUMABLE = ("step", "seconds", "window", "offsets", "fingerprint", "machine")
"""Fields that are required to resume a run."""


def read_state(folder: Path, *, resumable: bool = False) -> dict[str, Any]:
    """Read `state.json` of a checkpoint: step, scores and the loop's counters.

    Args:
        folder: the checkpoint.
        resumable: whether a run will continue from it, which requires more fields.

    Raises:
        RunError: if it cannot be read, or a field is missing or has another type.
    """
    path = folder / STATE
    try:
        state = json.loads(read_regular(path, largest=LARGEST_TEXT, links=False))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise RunError(f"{path}: cannot be read: {reason}", "choose another with --checkpoint") from error
    if not isinstance(state, dict):
        raise RunError(f"{path}: not a JSON object", "choose another with --checkpoint")
    wrong = [name for name, check in FIELDS.items() if name in state and not check(state[name])]
    wrong += [name for name in RESUMABLE if resumable and name not in state]
    if wrong or "step" not in state:
        names = ", ".join(wrong or ["step"])
        raise RunError(f"{path}: absent or of another type: {names}", "choose another with --checkpoint")
    return state


def state_of(folder: Path) -> tuple[dict[str, Any], str]:
    """Read `state.json` and compare it with the manifest.

    Returns:
        The state, and its fault ("" if none).
    """
    entries, fault = read_manifest(folder)
    fault = fault or file_fault(folder, STATE, *entries[STATE])
    if fault:
        return {}, fault
    try:
        return read_state(folder), ""
    except RunError as error:
        return {}, error.cause
