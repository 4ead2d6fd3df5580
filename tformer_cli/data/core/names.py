"""Names of the files and folders of a split, in upper or lower case."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tformer_cli.errors import DataError

VALIDATION_NAMES = ("val", "validation", "valid", "dev")
NAMES = {"train": ("train", "training"), "validation": VALIDATION_NAMES, "test": ("test", "testing")}
"""Names of the files and folders of each split."""
SPLITS = frozenset(name for names in NAMES.values() for name in names)
"""Names of the files and folders of all splits."""
FULL_NAME = "give its full name: data.train=..., data.validation=... or data.test=..."


def with_ending(path: Path, endings: Sequence[str], *, any_capitals: bool = False) -> list[Path]:
    """Return the files of this name with one of these endings, in the order of the endings.

    Args:
        path: path of the file without its ending.
        endings: endings, whose case is ignored.
        any_capitals: whether the case of the name is ignored too.
    """
    spelled = str.lower if any_capitals else str
    begins = [name for name in _names_in(path.parent) if spelled(name).startswith(spelled(path.name))]
    pairs = ((name, ending) for ending in endings for name in begins)
    paths = [path.with_name(name) for name, ending in pairs if name[len(path.name) :].lower() == ending.lower()]
    return [file for file in paths if file.is_file()]


def one_with_ending(
    path: Path, endings: Sequence[str], remedy: str = FULL_NAME, *, any_capitals: bool = False
) -> list[Path]:
    """Return the one file of this name with one of these endings, or nothing; see `with_ending`.

    Raises:
        DataError: if there are several; names them.
    """
    matches = with_ending(path, endings, any_capitals=any_capitals)
    if len(matches) > 1:
        raise DataError(f"{path}: which of {', '.join(match.name for match in matches)}?", remedy)
    return matches


def _names_in(folder: Path) -> list[str]:
    """Return the names in a folder in order; none if it is no folder, or cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
