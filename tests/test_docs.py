"""What the documentation says about the package holds."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_package_is_named_in_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = [path.parent for path in (ROOT / "tformer_cli").glob("*/__init__.py")]
    missing = [folder.name for folder in folders if f"tformer_cli/{folder.name}/" not in text]
    assert folders and not missing
