"""The folder of figures that `tformer inspect` writes: checked before slow work, and replaced when it is complete."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.errors import RunError

if TYPE_CHECKING:
    from tformer_cli.figures.page import Section
    from tformer_cli.trained.opening import Opened

FORMATS = ("svg", "png")
"""Formats of the files of figures."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but figures of an earlier call, before slow work starts.

    Raises:
        RunError: if it holds something else, or cannot be written.
    """
    import os

    from tformer_cli.runs.writing import check_new_folder, check_not_filling

    if not folder.name:
        raise RunError(f"{folder} is the root of the file system", "name a folder with --output")
    parent = next(path for path in folder.absolute().parents if os.path.lexists(path))
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise RunError(f"{folder}: {parent} is not a writable folder", "choose another with --output")
    if not folder.is_dir():
        check_new_folder(folder)
        return
    check_not_filling(folder)
    if foreign := foreign_entry(folder):
        cause = f"{folder} holds {foreign}, which is not from an earlier tformer inspect"
        raise RunError(cause, "move it, or name another folder with --output")


def foreign_entry(folder: Path) -> str:
    """Return the name of a file or folder that no earlier call has written, such as a user's file; "" if none."""
    import json

    names = {"index.html", "inspect.json"}
    try:
        content = json.loads((folder / "inspect.json").read_bytes())
        names |= {f"{figure['name']}.{end}" for figure in content["figures"] for end in FORMATS}
    except (OSError, ValueError, TypeError, KeyError):
        names = set()
    for path in sorted(folder.iterdir()):
        is_events = bool(names) and path.name.startswith("events.out.tfevents.")
        if not (path.name in names or is_events) or path.is_symlink() or not path.is_file():
            return path.name
    return ""


def contents(
    title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], formats: Sequence[str]
) -> dict[str, bytes]:
    """Return the files of the folder by name."""
    from tformer_cli.draw import draw, png, svg
    from tformer_cli.figures.page import html, numbers

    files: dict[str, bytes] = {}
    for figure in (figure for section in sections for figure in section.figures):
        if "svg" in formats:
            files[f"{figure.name}.svg"] = svg(figure.picture).encode()
        if "png" in formats:
            files[f"{figure.name}.png"] = png(draw(figure.picture))
    files["index.html"] = html(title, facts, sections, formats).encode()
    files["inspect.json"] = numbers(title, facts, sections).encode()
    return files


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write the folder; an earlier one is replaced when the new one is complete, and remains if any step fails.

    Raises:
        RunError: if it cannot be written, or holds other files by then.
    """
    import os

    from tformer_cli.runs.writing import scratch_folder, write_files, write_new_folder

    try:
        _put_back(folder)
        if not folder.is_dir() or not any(folder.iterdir()):
            write_new_folder(folder, files)
            return
        check_folder(folder)
        with scratch_folder(folder) as scratch:
            write_files(scratch / "new", files)
            try:
                os.rename(folder, scratch / "old")
                os.rename(scratch / "new", folder)
            finally:
                if (scratch / "old").exists() and not os.path.lexists(folder):
                    os.rename(scratch / "old", folder)
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror or error}", "make the folder writable") from error


def _put_back(folder: Path) -> None:
    """Put back the folder that a killed call had moved aside, so that it is replaced and not lost."""
    import os

    from tformer_cli.runs.writing import scratch_folders

    for scratch in scratch_folders(folder):
        if (scratch / "old").is_dir() and not os.path.lexists(folder):
            os.rename(scratch / "old", folder)


def write_events(folder: Path, sections: Sequence[Section], opened: Opened) -> None:
    """Write the figures as images of TensorBoard, at the step of the checkpoint."""
    from tformer_cli.cli.output import note
    from tformer_cli.draw import draw
    from tformer_cli.train.board import Board

    digits = re.search(r"(\d+)$", opened.checkpoint.name)
    step = int(digits[1]) if digits else 0
    board = Board(folder, 0, note)
    for section in sections:
        for figure in section.figures:
            board.add("image", f"inspect/{figure.name}", draw(figure.picture), step, dataformats="HWC")
    board.close()
