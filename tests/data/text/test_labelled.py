"""Tables of texts and labels, tagged sentences, questions: what is read, and what is wrong with it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tformer_cli.config.schema import LabelledTextDataConfig, QuestionDataConfig, TaggedDataConfig, Target
from tformer_cli.data.core.labels import LabelSet
from tformer_cli.data.text.labelled import LabelledTexts, read_labelled
from tformer_cli.data.text.questions import read_questions
from tformer_cli.data.text.tagged import read_tagged
from tformer_cli.errors import ConfigError, DataError, RunError


def texts(*labels: str) -> LabelledTexts:
    return LabelledTexts([f"text {i}" for i in range(len(labels))], None, list(labels), "here")


def write(path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    return str(path.parent)


# --- labelled texts ---


def test_named_columns_of_a_table_and_a_part_of_it_for_validation(tmp_path):
    rows = "".join(f"{i}\tfirst {i}\tsecond {i}\t{'yes' if i % 2 else 'no'}\n" for i in range(20))
    path = write(tmp_path / "train.tsv", "id\ta\tb\tsame\n" + rows)
    config = LabelledTextDataConfig(path=path, text="a", second="b", label="same", validation_share=0.2)
    train, validation = (read_labelled(config, split, seed=1)[split] for split in ("train", "validation"))
    assert len(train) == 16 and len(validation) == 4
    assert sorted(train.texts + validation.texts) == sorted(f"first {i}" for i in range(20))
    assert [second.split()[1] for second in train.seconds] == [text.split()[1] for text in train.texts]
    assert read_labelled(config, "validation", seed=2)["validation"].texts != validation.texts
    with pytest.raises(DataError, match="no test split"):
        read_labelled(config, "test", seed=1)


def test_a_table_without_names_and_another_ending(tmp_path):
    path = write(tmp_path / "some.txt", 'gj04\t1\t\tHe said "no.\ngj04\t1\t*\tSaid no he.\n')
    config = LabelledTextDataConfig(path=path, train="some.txt", text="s", label="ok", columns=["src", "ok", "m", "s"])
    config.validation_share = 0.5
    both = [read_labelled(config, split, seed=1)[split] for split in ("train", "validation")]
    assert sorted(both[0].texts + both[1].texts) == ['He said "no.', "Said no he."]


def test_numbers_and_lists_of_json_become_labels(tmp_path):
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": 0}, {"text": "c", "label": 10}]
    path = write(tmp_path / "train.jsonl", "\n".join(map(json.dumps, rows)))
    write(tmp_path / "val.jsonl", json.dumps({"text": "d", "label": 7}))
    config = LabelledTextDataConfig(path=path)
    train, validation = (read_labelled(config, split, seed=1)[split] for split in ("train", "validation"))
    labels = LabelSet.of(train, Target.label, ",")
    assert labels.names == ("0", "1", "10") and labels.numbers(train).tolist() == [1, 0, 2]
    with pytest.raises(DataError, match=r"val\.jsonl:1: label '7' is not in the training split: labels there: 0, 1"):
        labels.numbers(validation)


def test_labels_go_to_a_checkpoint_and_back():
    several = LabelSet.of(texts("b, a", "", '["c", "a"]'), Target.labels, ",")
    assert several.names == ("a", "b", "c") and several.outputs == 3
    assert several.numbers(texts("b,c", "")).tolist() == [[0, 1, 1], [0, 0, 0]]
    for labels in (several, LabelSet(Target.number, ()), LabelSet(Target.label, ("x", "y"))):
        assert LabelSet.from_json(labels.to_json()) == labels


@pytest.mark.parametrize(
    "change",
    [{"target": "x"}, {"target": []}, {"names": 3}, {"names": [1]}, {"names": None}, {"separator": None}]
    + [{"weights": ["x"]}, {"weights": [1]}, {"weights": [1, -1]}, {"weights": [1, 10**400]}, {"weights": 3}],
)
def test_damaged_labels_of_a_checkpoint_are_named(change):
    value = {**json.loads(LabelSet(Target.label, ("x", "y")).to_json()), **change}
    for content in (json.dumps(value).encode(), b"[" * 100_000, b"[]", b"\xff", b""):
        with pytest.raises(RunError, match=r"^run/labels\.json: does not hold labels"):
            LabelSet.from_json(content, "run/labels.json")


def test_impossible_labels_are_named(tmp_path):
    with pytest.raises(DataError, match="here: every row has the label 'yes'"):
        LabelSet.of(texts("yes", "yes"), Target.label, ",")
    with pytest.raises(DataError, match="row 2: 'many' is not a number"):
        LabelSet(Target.number, ()).numbers(texts("1.5", "many"))
    for number in ("1e39", "-1e39"):
        with pytest.raises(DataError, match=f"row 2: {number} does not fit into float32"):
            LabelSet(Target.number, ()).numbers(texts("1.5", number))
    path = write(tmp_path / "train.csv", "text,label\na,1\n")
    with pytest.raises(DataError, match=r"no column 'stars'.*data\.label"):
        read_labelled(LabelledTextDataConfig(path=path, label="stars"), "train", seed=1)
    with pytest.raises(ConfigError, match="different columns"):
        read_labelled(LabelledTextDataConfig(path=path, label="text"), "train", seed=1)


# --- tagged sentences ---


def test_conll_columns(tmp_path):
    path = write(tmp_path / "train.txt", "-DOCSTART- x O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n")
    config = TaggedDataConfig(path=path, validation_share=0.0)
    data = read_tagged(config, "train", seed=1)["train"]
    assert (data.words, data.tags) == ([["EU", "rejects"], ["Peter"]], [["B-ORG", "O"], ["B-PER"]])
    config.tag_column = 1
    assert read_tagged(config, "train", seed=1)["train"].tags == [["NNP", "VBZ"], ["NNP"]]
    text = "".join(f"w{n} {'B-A' if n % 2 else 'B-B'}\n\n" for n in range(9)) + "only B-C\n"
    write(tmp_path / "train.txt", text)
    config = TaggedDataConfig(path=path, validation_share=0.3)
    parts = read_tagged(config, "train", seed=1)
    assert [len(parts[name]) for name in ("train", "validation")] == [7, 3] and ["B-C"] in parts["train"].tags


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("a X O\nb O\n", {}, r"train\.txt:2: 2 columns, but the lines before have 3"),
        ("a O\n", {"tag_column": 3}, r"train\.txt:1: 2 columns: see data\.word_column"),
        ("-DOCSTART- O\n\n", {}, "there are no sentences"),
    ],
)
def test_uneven_columns_are_named(tmp_path, content, settings, message):
    path = write(tmp_path / "train.txt", content)
    with pytest.raises(DataError, match=message):
        read_tagged(TaggedDataConfig(path=path, **settings), "train", seed=1)


def test_lists_in_tables(tmp_path):
    rows = [{"tokens": ["a", "b"], "tags": [0, 1]}, {"tokens": ["c"], "tags": [2]}]
    path = write(tmp_path / "train.jsonl", "\n".join(map(json.dumps, rows)))
    sentences = read_tagged(TaggedDataConfig(path=path, validation_share=0.0), "train", seed=1)["train"]
    assert sorted(sentences.tags) == [["0", "1"], ["2"]]
    write(tmp_path / "train.jsonl", json.dumps({"tokens": ["a", "b"], "tags": [0]}))
    with pytest.raises(DataError, match=r"train\.jsonl:1: 2 words and 1 tags"):
        read_tagged(TaggedDataConfig(path=path), "train", seed=1)


# --- questions ---


def squad(context: str, *answers: dict, **more) -> str:
    question = {"id": "q1", "question": "Who?", "answers": list(answers), **more}
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [question]}]}]})


def test_questions_and_their_answers(tmp_path):
    write(tmp_path / "train.json", squad("Ann sat.", {"text": "Ann", "answer_start": 0}))
    config = QuestionDataConfig(path=str(tmp_path / "train.json"), validation_share=0.0)
    (row,) = read_questions(config, "train", seed=1)["train"].rows
    assert (row.question, row.answers) == ("Who?", (("Ann", 0),))
    write(tmp_path / "train.json", squad("Ann sat.", is_impossible=True))
    assert read_questions(config, "train", seed=1)["train"].rows[0].answers == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (squad("Ann sat.", {"text": "Bob", "answer_start": 0}), "question q1: the answer 'Bob' does not stand at"),
        (squad("Ann sat.", {"text": "sat.", "answer_start": 99}), "does not stand at character 99"),
        ("{}", "not SQuAD's JSON"),
        ("[1", "not SQuAD's JSON"),
        ('{"data": []}', "there are no questions"),
    ],
)
def test_bad_questions_are_named(tmp_path, content, message):
    write(tmp_path / "train.json", content)
    with pytest.raises(DataError, match=message):
        read_questions(QuestionDataConfig(path=str(tmp_path / "train.json")), "train", seed=1)


def test_hashes_follow_the_content():
    assert texts("a", "b").hash == texts("a", "b").hash != texts("a", "c").hash
    assert texts("a", "b").select(np.array([1, 0]), "x").hash != texts("a", "b").hash


def test_rare_labels_weigh_more():
    labels = LabelSet(Target.label, ("a", "b", "c"))
    weights = labels.weighted(np.array([0, 0, 0, 1, 1, 2])).weights
    assert weights == pytest.approx((6 / 9, 1.0, 2.0))  # 1 / share, over the number of labels
    assert weights[0] < weights[1] < weights[2]
