"""Shared packages work for every family and task: none of their names stands in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tformer_cli.config.family import families
from tformer_cli.tasks.registry import TASKS

PACKAGE = Path(__file__).resolve().parents[1] / "tformer_cli"
SHARED = ["cli", "train", "decode", "nn", "config", "runs", "interop/__init__.py"]
FILES = [
    file for name in SHARED for file in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).rglob("*.py"))
]
SETTINGS = {"decode.language_model"}
"""Keys of settings that contain a name."""


def constants(path: Path) -> list[tuple[int, str]]:
    """Return line and text of each string constant of a file, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    described = {id(item.value) for body in bodies for item in body if isinstance(item, ast.Expr)}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [(node.lineno, str(node.value)) for node in nodes if id(node) not in described]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_shared_packages_name_no_family_and_no_task(path):
    names = {*families(), *TASKS}
    for line, text in constants(path):
        for setting in SETTINGS:
            text = text.replace(setting, "")
        named = names & set(re.split(r"[^A-Za-z0-9_]+", text))
        assert not named, f"{path.name}:{line} names {named}"
