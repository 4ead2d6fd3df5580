"""What the documentation says about the package and its dependencies holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def normalised(name: str) -> str:
    """The name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def dependencies() -> set[str]:
    """The packages that pyproject.toml names: required, of extras and for development."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        content = tomllib.load(file)
    lists = [
        content["project"]["dependencies"],
        *content["project"]["optional-dependencies"].values(),
        *content["dependency-groups"].values(),
    ]
    return {normalised(re.split(r"[<>=!~\[; ]", line)[0]) for lines in lists for line in lines}


def test_every_package_is_named_in_the_architecture():
    folders = [path.parent for path in (ROOT / "tformer_cli").glob("*/__init__.py")]
    missing = [folder.name for folder in folders if f"tformer_cli/{folder.name}/" not in ARCHITECTURE]
    assert folders and not missing


def test_every_dependency_has_a_reason(dependencies):
    section = ARCHITECTURE.partition("\n## Dependencies\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, re.MULTILINE)
    named = {normalised(name) for row in rows for name in re.findall(r"[\w-]+", row.partition(" (")[0])}
    assert dependencies - named == set()


def test_every_dependency_is_pinned(dependencies):
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normalised(line.partition("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
    assert dependencies - pinned == set()
