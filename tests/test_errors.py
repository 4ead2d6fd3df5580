"""The packages that errors suggest to install are names that pip finds."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tformer_cli.errors import ConfigError, Library, install_command, library, require

EXTRAS = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_advice_names_every_package_of_an_extra(extra):
    command = install_command(extra)
    assert command.startswith("pip install '")
    advised = re.findall(r"'([^']+)'", command)
    assert sorted(advised) == sorted(line.replace(" ", "") for line in EXTRAS[extra])


def test_a_missing_library_is_one_line_with_the_command_that_installs_it():
    with pytest.raises(ConfigError) as caught:
        library("no_such_module", "no-such-package", "speech")
    assert str(caught.value) == (f"this needs no-such-package, which is not installed: {install_command('speech')}")


def test_one_error_names_all_missing_libraries_and_one_command_installs_them():
    libraries = [
        Library("no_such_module", "no-such-package", "speech"),
        Library("json", "json", "numbers"),
        Library("no_such_module", "no-such-package", "demo"),
        Library("neither_this", "another", "demo"),
    ]
    with pytest.raises(ConfigError) as caught:
        require(libraries)
    cause, _, command = str(caught.value).partition(": ")
    assert cause == "this needs no-such-package, another, which are not installed"
    advised = re.findall(r"'([^']+)'", command)
    assert sorted(advised) == sorted({line.replace(" ", "") for name in ("speech", "demo") for line in EXTRAS[name]})
    require(libraries[1:2])


def test_no_message_points_to_a_page_that_a_wheel_lacks():
    texts = []
    for path in (Path(__file__).parent.parent / "tformer_cli").rglob("*.py"):
        module = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
        texts += [
            f"{path.name}:{node.lineno}"
            for node in ast.walk(module)
            if isinstance(node, ast.Constant) and id(node) not in docstrings and "docs/" in str(node.value)
        ]
    assert texts == []
