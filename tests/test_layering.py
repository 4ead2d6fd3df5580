"""Imports go down only; read from the source, nothing is run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "tformer_cli"
LEVELS = {
    "cli": 0,
    "train": 1, "interop": 1, "analysis": 1,
    "tasks": 2,
    "models": 3, "decode": 3, "data": 3, "metrics": 3, "tokenizer": 3, "tokenizer_json": 3,
    "tokenizer_training": 4,
    "segmentation": 4,
    "languages": 4,
    "nn": 4,
    "config": 5, "writing": 5, "raw_lines": 5,
    "packed": 6,
    "errors": 7, "regular": 7, "signals": 7,
}  # fmt: skip
SAME_LEVEL = {
    ("train", "analysis"),
    ("interop", "train"),
    ("data", "tokenizer"),
    ("tokenizer", "tokenizer_json"),
    ("tokenizer_json", "tokenizer"),
    ("tokenizer_training", "segmentation"),
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
            rest = node.module.split(".")[1:]
            names |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("tformer_cli.")}
    return names - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    for other in imported(path):
        allowed = other == room or (room, other) in SAME_LEVEL or LEVELS[other] > LEVELS[room]
        assert allowed, f"{room} may not import {other}"


def test_every_room_is_named_in_the_docs():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert rooms and all(f"tformer_cli/{room}/" in text for room in rooms)
