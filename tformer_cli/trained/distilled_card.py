"""The card of a distilled text: what made it, and how much of it is written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tformer_cli.errors import RunError
from tformer_cli.predictors.base import Prediction

CARD = "distilled.json"
LISTED = 5
"""Number of lines without output that are listed; the others are counted."""
LOCATIONS = ("run", "data")
"""Entries of a card that may differ, since the hashes of checkpoint and data are compared instead."""


@dataclass
class Lines:
    """Lines of one kind: how many there are, and the numbers of the first ones, counted from 1."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        """Count a line."""
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(number)

    def __str__(self) -> str:
        numbers = ", ".join(f"{number:,}" for number in self.first)
        return f"{self.count:,} (line{'s'[: self.count != 1]} {numbers}{', ...' if self.count > LISTED else ''})"


@dataclass
class Progress:
    """The progress of a distillation.

    Attributes:
        lines: number of source lines whose outputs are on disk.
        size: number of bytes of these outputs.
        sha256: SHA-256 of these bytes.
        empty: lines with an empty output, for example because the line is empty.
        skipped: lines that are longer than the model reads; their output is empty.
        cut: lines of which the model read only the beginning.
    """

    lines: int = 0
    size: int = 0
    sha256: str = ""
    empty: Lines = field(default_factory=Lines)
    skipped: Lines = field(default_factory=Lines)
    cut: Lines = field(default_factory=Lines)

    def add(self, prediction: Prediction) -> None:
        """Count the prediction for the next line."""
        self.lines += 1
        if "error" in prediction.details:
            self.skipped.add(self.lines)
        elif not prediction.text:
            self.empty.add(self.lines)
        if "note" in prediction.details:
            self.cut.add(self.lines)

    def notes(self) -> list[str]:
        """Return notes for the user about lines without a complete output, one line each."""
        return [
            f"{name}: {lines}"
            for name, lines in (
                ("empty output, which training leaves out", self.empty),
                ("longer than the model reads, so their output is empty", self.skipped),
                ("longer than the model reads, so their end is missing", self.cut),
            )
            if lines.count
        ]


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the names of the entries that differ between two origins, those of `decode` one by one."""
    flat = [
        {
            f"{name}.{key}" if key else name: part
            for name, value in origin.items()
            for key, part in (value.items() if isinstance(value, dict) else [("", value)])
        }
        for origin in (before, now)
    ]
    names = [name for name in dict.fromkeys([*flat[0], *flat[1]]) if flat[0].get(name) != flat[1].get(name)]
    return ", ".join(name for name in names if name not in LOCATIONS)


def read_card(folder: Path, origin: dict[str, Any], verb: str) -> Progress:
    """Return the progress that a folder's card records.

    Args:
        folder: the folder.
        origin: what the outputs of this command depend on.
        verb: what happened to the folder, for the error.

    Raises:
        RunError: if there is no card, or it names another origin.
    """
    try:
        record = json.loads((folder / CARD).read_bytes())
        different = _differences(dict(record["origin"]), origin)
        fields: dict[str, Any] = dict(record["progress"])
        fields |= {name: Lines(**fields[name]) for name in ("empty", "skipped", "cut")}
        progress = Progress(**fields)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        cause = f"{folder / CARD}: does not hold what `tformer distill` writes"
        raise RunError(cause, "choose another --output") from error
    if different:
        raise RunError(f"{folder} was {verb} with a different {different}", "remove it, or choose another --output")
    return progress


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: Path) -> None:
    """Compare the files of a complete folder with the hashes in its card.

    Raises:
        RunError: if a file is missing or has changed, or the card has no hashes.
    """
    files = json.loads((folder / CARD).read_bytes()).get("files")
    if not isinstance(files, dict):
        raise RunError(f"{folder / CARD}: has no hashes of the files", f"remove {folder}, and repeat the command")
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or file_hash(path) != digest:
            state = "changed after it was written" if path.is_file() else "is missing"
            raise RunError(f"{path}: {state}", f"remove {folder}, and repeat the command")


def encoded_card(origin: dict[str, Any], progress: Progress, **more: Any) -> bytes:
    """Return the content of a card; it may also record the hashes of the files."""
    record = {"origin": origin, "progress": asdict(progress), **more}
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
