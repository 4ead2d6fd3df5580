"""Imports go down only; read from the source, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "tformer_cli"
LEVELS = {
    "cli": 0,
    "train": 1, "interop": 1, "analysis": 1,
    "tasks": 2,
    "models": 3, "decode": 3, "data.text": 3, "data.image": 3, "data.speech": 3, "metrics": 3,
    "tokenizers": 4, "builtin": 4, "nn": 4,
    "data.core": 5, "languages": 5,
    "runs": 6,
    "config": 7, "raw_lines": 7,
    "packed": 8,
    "errors": 9, "regular": 9, "signals": 9,
}  # fmt: skip
SAME_LEVEL = {
    ("train", "analysis"),
    ("interop", "train"),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it; what only type checkers see does not count."""
    names = set()
    skipped = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= set(ast.walk(node))
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tformer_cli"):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith("tformer_cli.")}
    return {room_of(name.split(".")[1:]) for name in names} - {"__version__"}


def room_of(parts: Sequence[str]) -> str:
    """Return the package or module that a dotted name belongs to; each part of `data` counts as a package."""
    return ".".join(parts[:2]) if parts[0] == "data" else parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    room = room_of(path.relative_to(PACKAGE).with_suffix("").parts)
    if room in ("__init__", "__main__", "data.__init__"):
        return
    for other in imported(path):
        allowed = other == room or (room, other) in SAME_LEVEL or LEVELS[other] > LEVELS[room]
        assert allowed, f"{room} may not import {other}"


def test_every_room_is_named_in_the_docs():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert rooms and all(f"tformer_cli/{room}/" in text for room in rooms)
