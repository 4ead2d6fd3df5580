"""What all tasks on text share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.properties.families import ENTITIES, QUESTIONS, SENTIMENT, family_named
from tformer_cli.data.core import files


@pytest.mark.parametrize(
    ("name", "data"),
    [("gpt", ""), ("text classification", SENTIMENT), ("token tagging", ENTITIES), ("question answering", QUESTIONS)],
)
def test_what_both_splits_are_parts_of_is_read_once(name, data, tmp_path, monkeypatch):
    if not data:
        data = tmp_path / "input.txt"
        data.write_text("".join(f"{n**9} times {n**7} is more than I know.\n" for n in range(200)), encoding="utf-8")
    opened: Counter[Path] = Counter()
    read = files.lines
    monkeypatch.setattr(files, "lines", lambda path: opened.update([path]) or read(path))
    family = family_named(name)
    task = family.task(tmp_path, "data.source=files", f"data.path={data}")
    assert len(set(task.data.fingerprint().values())) == 2
    assert opened == {Path(data): 1}
