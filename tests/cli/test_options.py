"""An option that several commands have is defined once, in `cli/options.py`."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tformer_cli import cli

FOLDER = Path(cli.__file__).parent


def definitions(path: Path) -> list[str]:
    """Return the names and keywords of each option and argument that a file defines, without its default."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    calls = [call for call in calls if ast.unparse(call.func) in ("typer.Option", "typer.Argument")]
    parts = [[*map(ast.unparse, call.args), *sorted(map(ast.unparse, call.keywords))] for call in calls]
    return [" ".join(part for part in call if part.startswith("'-") or "=" in part) for call in parts]


def test_no_two_commands_define_the_same_option():
    files = defaultdict(list)
    for path in sorted(FOLDER.glob("*.py")):
        for definition in definitions(path):
            files[definition].append(path.name)
    assert len(files) > 50
    assert {definition: names for definition, names in files.items() if len(names) > 1} == {}
