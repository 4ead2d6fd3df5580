"""Shared packages work for every family and task: none of their names stands in the code, and none is imported."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tformer_cli.config.family import MODELS, families
from tformer_cli.tasks.registry import TASKS

PACKAGE = Path(__file__).resolve().parents[1] / "tformer_cli"
INTEROP = [f"interop/{name}.py" for name in ("__init__", "export", "foreign", "formats", "gate", "generation",
           "reading", "writing")]  # fmt: skip
SHARED = ["cli", "train", "trained", "decode", "nn", "config", "runs", "figures", "inspectors/base.py", "machine.py",
          *INTEROP]  # fmt: skip
FILES = [
    file for name in SHARED for file in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).rglob("*.py"))
]
SETTINGS = {"decode.language_model"}
"""Keys of settings that contain a name."""
COLUMNS = {"speech.py": {"translation"}}
"""Usual names of the columns of tables, by the file of their settings."""


def constants(tree: ast.Module) -> list[tuple[int, str]]:
    """Return line and text of each string constant of a file, without docstrings."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    described = {id(item.value) for body in bodies for item in body if isinstance(item, ast.Expr)}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [(node.lineno, str(node.value)) for node in nodes if id(node) not in described]


def imports(tree: ast.Module) -> list[tuple[int, str]]:
    """Return line and name of each module that a file imports, also within functions."""
    nodes = list(ast.walk(tree))
    modules = [(node.lineno, alias.name) for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            modules += [(node.lineno, node.module)]
            modules += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return modules


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_shared_packages_name_no_family_and_no_task(path):
    names, tree = {*families(), *TASKS}, ast.parse(path.read_text(encoding="utf-8"))
    for line, text in constants(tree):
        for setting in SETTINGS:
            text = text.replace(setting, "")
        named = names & set(re.split(r"[^A-Za-z0-9_]+", text)) - COLUMNS.get(path.name, set())
        assert not named, f"{path.name}:{line} names {named}"
    for line, module in imports(tree):
        part = module.removeprefix(f"{MODELS}.").partition(".")[0]
        assert not (module.startswith(f"{MODELS}.") and part in families()), f"{path.name}:{line} imports {module}"
