"""Which tags a tagger knows."""

from __future__ import annotations

import pytest

from tests.properties.families import FAMILIES, batch_of
from tformer_cli.errors import DataError
from tformer_cli.tasks.token_tagging import whole_scheme


def test_each_kind_of_entity_has_every_place():
    assert whole_scheme({"O", "B-LST", "B-NP", "I-NP"}) == {"O", "B-LST", "I-LST", "B-NP", "I-NP"}
    parts_of_speech = {"NN", "-LRB-", "PRP$", "B", "I-"}
    assert whole_scheme(parts_of_speech) == parts_of_speech


def test_a_tag_of_the_test_split_alone(tmp_path):
    """The rest of a known kind is known; a new kind is refused by its name."""
    words = "".join(f"w{n} B-LOC\nthe O\nbig B-PER\nman I-PER\n\n" for n in range(30))
    for name, content in {"train": words, "known": "w1 B-LOC\nw2 I-LOC\n", "new": "w1 B-ORG\n"}.items():
        (tmp_path / f"{name}.txt").write_text(content, encoding="utf-8")
    family = next(family for family in FAMILIES if family.name == "token tagging")
    settings = [f"data.path={tmp_path}", "data.train=train", "data.test={}", "tokenizer.kind=char"]
    task = family.task(tmp_path / "a", *(one.format("known") for one in settings))
    assert batch_of(task, "test", 0, 0).tags.tolist() == [task.tags.index("B-LOC"), task.tags.index("I-LOC")]
    task = family.task(tmp_path / "b", *(one.format("new") for one in settings))
    with pytest.raises(DataError, match="new.txt: sentence 1: tag 'B-ORG' is not in the training split"):
        batch_of(task, "test", 0, 0)
