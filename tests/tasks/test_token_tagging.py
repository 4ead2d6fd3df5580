"""Which tags a tagger knows."""

from __future__ import annotations

import json

import pytest
import torch

from tests.properties.families import batch_of, family_named
from tformer_cli import tasks
from tformer_cli.config.schema import Scheme
from tformer_cli.data.text.tag_schemes import TagScheme, find_scheme
from tformer_cli.errors import DataError, RunError
from tformer_cli.evaluators.base import Scoring


def test_each_kind_of_entity_has_every_place():
    scheme = TagScheme(Scheme.iob2)
    assert scheme.completed({"O", "B-LST", "B-NP", "I-NP"}) == {"O", "B-LST", "I-LST", "B-NP", "I-NP"}
    assert TagScheme(Scheme.iob2, "O", "_", True).completed({"A_B", "C_I"}) == {"A_B", "A_I", "C_B", "C_I"}
    parts_of_speech = {"NN", "-LRB-", "PRP$", "B", "I-"}
    assert TagScheme(Scheme.plain).completed(parts_of_speech) == parts_of_speech


def test_a_tag_of_the_test_split_alone(tmp_path):
    """The rest of a known kind is known; a new kind is refused by its name."""
    words = "".join(f"w{n} B-LOC\nthe O\nbig B-PER\nman I-PER\n\n" for n in range(30))
    for name, content in {"train": words, "known": "w1 B-LOC\nw2 I-LOC\n", "new": "w1 B-ORG\n"}.items():
        (tmp_path / f"{name}.txt").write_text(content, encoding="utf-8")
    family = family_named("token tagging")
    settings = [f"data.path={tmp_path}", "data.train=train", "data.test={}", "tokenizer.kind=char"]
    task = family.task(tmp_path / "a", *(setting.format("known") for setting in settings))
    assert batch_of(task, "test", 0, 0).tags.tolist() == [task.data.tags.index("B-LOC"), task.data.tags.index("I-LOC")]
    task = family.task(tmp_path / "b", *(setting.format("new") for setting in settings))
    with pytest.raises(DataError, match=r"new\.txt:1: tag 'B-ORG' is not in the training split"):
        batch_of(task, "test", 0, 0)


def tagging(tmp_path, text: str, *settings: str):
    (tmp_path / "train.txt").write_text(text, encoding="utf-8")
    family = family_named("token tagging")
    return family.task(tmp_path, f"data.path={tmp_path}", "data.train=train", "tokenizer.kind=char", *settings)


PEOPLE = "".join(f"Ann{n} PER\nsaw O\nOslo ORG\n. O\nit O\n\n" for n in range(20))


def test_entities_without_letters_are_scored_by_their_kinds(tmp_path):
    """A prediction without any ORG is not a perfect score, and types have their full names."""
    task = tagging(tmp_path, PEOPLE)
    assert (
        task.evaluator.metric == "f1"
        and task.data.tags == ("O", "ORG", "PER")
        and "IO: " in dict(task.describe())["tags"]
    )
    torch.manual_seed(1)
    model = task.model().eval()
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
        scored = task.evaluate(model, "validation", Scoring())
        assert scored.scores["f1"] == 0 and scored.scores["tag_accuracy"] == pytest.approx(60)
        model.output.bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
        (answer,) = task.predict(model, ["Ann Oslo"])
    assert [row[0] for row in scored.tables[0][2]] == ["ORG", "PER"]
    assert scored.signatures == {"f1": "seqeval, strict, IO"}
    assert answer.details["entities"] == [{"type": "PER", "text": "Ann Oslo", "start": 0, "stop": 2}]


def test_parts_of_speech_have_an_accuracy(tmp_path):
    task = tagging(tmp_path, "".join(f"the{n} DT\ncat NN\n. .\n\n" for n in range(20)))
    assert task.evaluator.metric == "accuracy" and "no entities" in dict(task.describe())["tags"]
    model = task.model().eval()
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
        scored = task.evaluate(model, "validation", Scoring())
        (answer,) = task.predict(model, ["the cat"])
    assert scored.scores["accuracy"] == pytest.approx(100 / 3) and "f1" not in scored.scores
    assert [row[0] for row in scored.tables[0][2]] == [".", "DT", "NN"] and "entities" not in answer.details


def test_the_scheme_goes_to_a_checkpoint_and_old_ones_are_read(tmp_path):
    task = tagging(tmp_path, PEOPLE)
    (tmp_path / "saved").mkdir()
    for name, content in task.data.files().items():
        (tmp_path / "saved" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "saved" / name).write_bytes(content)
    again = tasks.build(task.config)
    again.data.load(tmp_path / "saved")
    assert again.data.scheme == task.data.scheme and again.data.tags == task.data.tags
    (tmp_path / "saved" / "tags.json").write_text(json.dumps(task.data.tags))
    again = tasks.build(task.config)
    again.data.load(tmp_path / "saved")
    assert again.data.scheme is None and again.data.tags == task.data.tags
    scored = again.evaluate(task.model().eval(), "validation", Scoring())
    assert "f1" in scored.scores
    tags = ("O", "B-PER", "E-PER", "I-PER", "S-PER")  # a model may predict tags that a split does not have
    assert find_scheme([["O", "B-PER", "I-PER"]], Scheme.auto, "x", tags).scheme is Scheme.iobes


def test_damaged_tags_of_a_checkpoint_are_named(tmp_path):
    task = tagging(tmp_path, PEOPLE)
    for name, content in task.data.files().items():
        (tmp_path / "saved" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "saved" / name).write_bytes(content)
    scheme = {"scheme": "iob2", "outside": "O", "mark": "-", "suffix": False}
    damaged = [3, {}, {"tags": 3, "scheme": None}, {"tags": [3], "scheme": None}, {"tags": ["O"]}]
    damaged += [{"tags": ["O", "x"], "scheme": scheme}, {"tags": ["O"], "scheme": [1]}]
    damaged += [{"tags": ["O"], "scheme": scheme | change} for change in ({"scheme": "x"}, {"outside": 3}, {"mark": 1})]
    for content in ["[" * 100_000, "{", *map(json.dumps, damaged)]:
        (tmp_path / "saved" / "tags.json").write_text(content)
        with pytest.raises(RunError, match=r"saved/tags\.json: does not hold tags"):
            tasks.build(task.config).data.load(tmp_path / "saved")


def test_tags_against_the_rules_are_counted(tmp_path):
    text = "".join(f"Ann{n} B-PER\nRay I-PER\nleft O\n\n" for n in range(30)) + "Oslo I-LOC\nis O\n"
    task = tagging(tmp_path, text)
    assert "in no entity by its rules" in dict(task.describe())["tags"]


def test_sentences_in_another_scheme_are_said_with_their_score(tmp_path):
    """A note explains a low F1 if few or no entities follow the scheme of the run."""
    text = "".join(
        f"Ann{n} B-PER\nRay L-PER\nleft O\nOslo U-PER\nin O\nAnn B-PER\nde I-PER\nLuz L-PER\n\n" for n in range(30)
    )
    (tmp_path / "other.txt").write_text("Ann B-PER\nRay I-PER\nleft O\n\nOslo U-PER\n", encoding="utf-8")
    task = tagging(tmp_path, text, "data.test=other")
    model = task.model().eval()
    (note,) = task.evaluate(model, "test", Scoring()).notes
    assert "2 of 3 tags are in no entity by the rules of BILOU" in note and "other.txt" in note
    assert task.evaluate(model, "validation", Scoring()).notes == []


def test_a_no_break_space_is_within_a_word(tmp_path):
    from tformer_cli.data.text.sentences import words_of

    words = ["10\u00a0000", "people"]
    text = f"  {'  '.join(words)} "
    assert words_of(text, "here", "words") == words
    task = family_named("token tagging").task(tmp_path)
    (answer,) = task.predict(task.model().eval(), [text])
    assert len(answer.details["tags"]) == 2
