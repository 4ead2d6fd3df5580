"""The reading and the division of data, which tasks share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.properties.families import ENTITIES, QUESTIONS, SENTIMENT, family_named
from tformer_cli import tasks
from tformer_cli.data.core import files
from tformer_cli.data.text.labelled import LabelledTexts
from tformer_cli.data.text.questions import Question, Questions
from tformer_cli.data.text.tagged import TaggedSentences


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
    task = family.task(tmp_path, "data.source=files", "data.size=0", f"data.path={data}")
    assert len(set(task.data.fingerprint().values())) == 2
    assert opened == {Path(data): 1}


@pytest.mark.parametrize("name", ["text classification", "token tagging", "question answering", "resnet", "conformer"])
def test_another_division_has_another_fingerprint(name, tmp_path):
    """A run is not resumed with a validation split that contains examples of its training."""

    def fingerprint(*settings: str) -> dict[str, str]:
        return tasks.build(family_named(name).config(tmp_path, *settings)).data.fingerprint()

    usual = fingerprint()
    assert usual == fingerprint() and usual.keys() == {"data.train", "data.validation"}
    for change in ("seed=7", "data.validation_share=0.4"):
        changed = fingerprint(change)
        assert all(changed[split] != digest for split, digest in usual.items()), change


def test_another_share_of_a_text_has_another_fingerprint(tmp_path):
    (tmp_path / "text.txt").write_text("".join(f"line {number}\n" for number in range(99)), encoding="utf-8")

    def fingerprint(*settings: str) -> dict[str, str]:
        data = ["data.source=files", "data.size=0", f"data.path={tmp_path / 'text.txt'}"]
        return tasks.build(family_named("gpt").config(tmp_path, *data, *settings)).data.fingerprint()

    usual, changed = fingerprint(), fingerprint("data.validation_share=0.4")
    assert all(changed[split] != digest for split, digest in usual.items())
    assert fingerprint("seed=7") == usual  # validation is the end of the text


def test_hashes_depend_on_what_is_to_be_predicted():
    """Labels, tags and answers count, not only what the model reads."""
    for one, other in (
        (LabelledTexts(["a"], None, ["x"], ""), LabelledTexts(["a"], None, ["y"], "")),
        (LabelledTexts(["a"], ["b"], ["x"], ""), LabelledTexts(["a"], ["c"], ["x"], "")),
        (TaggedSentences([["a"]], [["O"]], ""), TaggedSentences([["a"]], [["B-X"]], "")),
        (TaggedSentences([["a"]], [["O"]], ""), TaggedSentences([["b"]], [["O"]], "")),
        (Questions([question(("a", 0))], ""), Questions([question(("a", 2))], "")),
        (Questions([question(("a", 0))], ""), Questions([question()], "")),
    ):
        assert one.hash != other.hash


def question(*answers: tuple[str, int]) -> Question:
    return Question("1", "Who?", "a a", answers)
