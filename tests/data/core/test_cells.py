"""Cells of tables: values mean the same in every format, and errors name missing values."""

from __future__ import annotations

import csv
import gzip
import json
import time

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tformer_cli import raw_lines
from tformer_cli.config.schema import (
    CorpusDataConfig,
    LabelledTextDataConfig,
    ParallelDataConfig,
    QuestionDataConfig,
    Source,
    Target,
)
from tformer_cli.data.core.cells import Gate, Location, Locations, read_list, value_text
from tformer_cli.data.core.labels import LabelSet
from tformer_cli.data.text.corpus import read_corpus
from tformer_cli.data.text.labelled import read_labelled
from tformer_cli.data.text.parallel import read_parallel
from tformer_cli.data.text.questions import read_questions
from tformer_cli.errors import DataError

FORMATS = ("jsonl", "json", "csv", "tsv", "csv.gz", "parquet")


def write(path, rows: list[dict], classes: dict[str, list[str]] | None = None):
    """Write a table of rows in the format of the path's ending; `classes` are stored like those of `datasets`."""
    kind = path.name.partition(".")[2]
    if kind == "parquet":
        table = pyarrow.Table.from_pylist(rows)
        if classes:
            features = {c: {"names": names, "_type": "ClassLabel"} for c, names in classes.items()}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pyarrow.parquet.write_table(table, path)
    elif kind.startswith("json"):
        text = json.dumps(rows, indent=1) if kind == "json" else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
    else:
        with (gzip.open if kind.endswith(".gz") else open)(path, "wt", newline="") as stream:
            writer = csv.writer(stream, delimiter="\t" if kind == "tsv" else ",", lineterminator="\n")
            writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
    return path


def labelled(path, **settings):
    config = LabelledTextDataConfig(path=str(path), validation_share=0.0, **settings)
    return read_labelled(config, "train", seed=1)["train"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([True, False, True], ("false", "true")),
        ([3, 1, 10], ("1", "3", "10")),
        (["pos", "neg", "pos"], ("neg", "pos")),
        ([1.0, 2.0, 1.0], ("1", "2")),
        ([0.5, 1.0, 1.5], ("0.5", "1.0", "1.5")),
    ],
)
def test_labels_are_the_same_classes_in_each_format(tmp_path, kind, labels, names):
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]
    data = labelled(write(tmp_path / f"train.{kind}", rows))
    label_set = LabelSet.of(data, Target.label, ",")
    assert label_set.names == names
    other = labelled(write(tmp_path / "train.jsonl", rows))
    assert label_set.numbers(other).tolist() == label_set.numbers(data).tolist()


def test_a_checkpoint_with_other_spellings_still_knows_its_labels(tmp_path):
    rows = [{"text": "a", "label": True}, {"text": "b", "label": False}]
    old = LabelSet(Target.label, ("False", "True"))
    assert old.numbers(labelled(write(tmp_path / "train.jsonl", rows))).tolist() == [1, 0]


def test_classes_have_their_names(tmp_path):
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
    path = write(tmp_path / "train.parquet", rows, {"label": ["None", "pos"]})
    assert labelled(path).labels == ["pos", "None"]  # the name of a class is never missing
    assert labelled(tmp_path, source=Source.hub).labels == ["pos", "None"]
    rows.append({"text": "c", "label": -1})  # how `datasets` writes a missing label
    path = write(tmp_path / "train.parquet", rows, {"label": ["neg", "pos"]})
    with pytest.raises(DataError, match=r"train\.parquet: row 3: label is missing \(-1\)"):
        labelled(path)


MISSING = [
    ("jsonl", None, "null"), ("jsonl", float("nan"), "NaN"), ("jsonl", "", "empty"), ("jsonl", "  ", "empty"),
    ("json", None, "null"), ("csv", "", "empty"), ("csv", "NA", "'NA', see data.missing"), ("tsv", "", "empty"),
    ("csv", "NaN", "'NaN', see data.missing"), ("tsv", "None", "'None', see data.missing"),
    ("parquet", None, "null"),
]  # fmt: skip


@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize(("kind", "value", "shown"), MISSING)
def test_a_missing_value_is_named_or_left_out(tmp_path, column, kind, value, shown):
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(6)]
    rows[3][column] = value
    path = write(tmp_path / f"train.{kind}", rows)
    location = {"parquet": f"{path}: row 4", "jsonl": f"{path}:4", "json": f"{path}:14"}.get(kind, f"{path}:5")
    config = LabelledTextDataConfig(path=str(path), validation_share=0.0)
    with pytest.raises(DataError) as caught:
        read_labelled(config, "train", seed=1)
    assert caught.value.cause == f"{location}: {column} is missing ({shown})"
    data = read_labelled(config, "train", seed=1, skip=True)["train"]
    assert data.texts == ["text 0", "text 1", "text 2", "text 4", "text 5"]
    assert data.notes[0].startswith(f"1 of 6 rows lack a value or valid text and were left out: {location}")


NOT_TEXT = [
    ("x \ud800 y", "an unpaired surrogate (\\ud800), which is not valid Unicode"),
    ("\udfff", "an unpaired surrogate (\\udfff), which is not valid Unicode"),
    ("a\0", "a NUL character"),
]


@pytest.mark.parametrize("kind", ["jsonl", "json"])
@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize(("value", "shown"), NOT_TEXT)
def test_text_that_is_not_valid_is_named_or_left_out(tmp_path, kind, column, value, shown):
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(4)]
    rows[2][column] = value
    path = write(tmp_path / f"train.{kind}", rows)
    config = LabelledTextDataConfig(path=str(path), validation_share=0.0)
    with pytest.raises(DataError) as caught:
        read_labelled(config, "train", seed=1)
    assert caught.value.cause == f"{path}:{3 if kind == 'jsonl' else 10}: {column} holds {shown}"
    assert caught.value.remedy == "correct it, or skip such rows: trainer.on_bad_sample=skip"
    data = read_labelled(config, "train", seed=1, skip=True)["train"]
    assert data.texts == ["text 0", "text 1", "text 3"] and f"{column} holds {shown}" in data.notes[0]


def test_a_pair_of_surrogates_and_other_columns_are_no_fault(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "\\ud83d\\ude00", "label": "a", "other": "\\ud800"}\n')
    assert labelled(path).texts == ["\N{GRINNING FACE}"]


def test_a_list_with_text_that_is_not_valid(tmp_path):
    path = write(tmp_path / "train.csv", [{"text": "a", "label": '["x"]'}, {"text": "b", "label": '["\\ud800"]'}])
    with pytest.raises(DataError, match=r"train\.csv:3: the list of labels holds an unpaired surrogate"):
        labelled(path, target=Target.labels)


def test_missing_numbers_of_a_float_column(tmp_path):
    table = pyarrow.table({"text": ["a", "b"], "label": pyarrow.array([0.5, float("nan")])})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"row 2: label is missing \(NaN\)"):
        labelled(tmp_path / "train.parquet", target=Target.number)


def test_markers_of_missing_values_are_a_setting(tmp_path):
    rows = [{"text": "null", "label": "None"}, {"text": "eins", "label": "NA"}]
    path = write(tmp_path / "train.csv", rows)
    assert labelled(path, missing=[]).labels == ["None", "NA"]
    with pytest.raises(DataError, match=r"train\.csv:3: label is missing \('NA'"):
        labelled(path, missing=["NA"])


def test_no_labels_are_an_answer_where_there_may_be_several(tmp_path):
    path = write(tmp_path / "train.csv", [{"text": "a", "label": ""}, {"text": "b", "label": "x,y"}])
    data = labelled(path, target=Target.labels)
    assert LabelSet.of(data, Target.labels, ",").numbers(data).tolist() == [[0, 0], [1, 1]]
    path = write(tmp_path / "train.csv", [{"text": "a", "label": "NA"}, {"text": "b", "label": "x,y"}])
    with pytest.raises(DataError, match="label is missing"):
        labelled(path, target=Target.labels)


def test_pairs_documents_and_questions_go_through_the_same_gate(tmp_path):
    path = write(tmp_path / "train.csv", [{"en": "a", "de": "b"}, {"en": "", "de": "c"}, {"en": "d", "de": "NA"}])
    pairs = ParallelDataConfig(path=str(path), source_language="en", target_language="de")
    with pytest.raises(DataError, match=r"train\.csv:3: en is missing \(empty\)"):
        read_parallel(pairs, "train")
    split = read_parallel(pairs, "train", skip=True)
    assert list(split) == [("a", "b")] and split.notes[0].startswith("2 of 3 rows")
    path = write(tmp_path / "train.jsonl", [{"text": "x"}, {"text": None}, {"text": ""}, {"text": "None"}])
    corpus = CorpusDataConfig(path=str(path), validation_share=0.0)
    with pytest.raises(DataError, match=r"train\.jsonl:2: text is missing \(null\)"):
        read_corpus(corpus, "train")
    assert list(read_corpus(corpus, "train", skip=True)["train"].documents) == ["x", "", "None"]
    ask = [{"id": i, "question": q, "answers": []} for i, q in enumerate(["Who?", None])]
    (tmp_path / "q.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": "Ann.", "qas": ask}]}]}))
    questions = QuestionDataConfig(path=str(tmp_path / "q.json"), validation_share=0.0)
    with pytest.raises(DataError, match=r"question 1: question is missing \(null\)"):
        read_questions(questions, "train", seed=1)
    assert len(read_questions(questions, "train", seed=1, skip=True)["train"]) == 1
    ask[1]["question"] = "\ud800"
    (tmp_path / "q.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": "Ann.", "qas": ask}]}]}))
    with pytest.raises(DataError, match=r"question 1: question holds an unpaired surrogate"):
        read_questions(questions, "train", seed=1)
    assert len(read_questions(questions, "train", seed=1, skip=True)["train"]) == 1


def test_a_column_that_nothing_stands_in_is_the_wrong_one(tmp_path):
    path = write(tmp_path / "train.csv", [{"text": "a", "label": ""}, {"text": "b", "label": ""}])
    with pytest.raises(DataError, match="the same in all 2 rows: name the right columns"):
        read_labelled(LabelledTextDataConfig(path=str(path)), "train", seed=1, skip=True)


# --- formats ---


@pytest.mark.parametrize("mark", [";", "\t", "|", ","])
def test_csv_with_another_mark_between_columns(tmp_path, mark):
    (tmp_path / "train.csv").write_text(f'label{mark}text\nx{mark}"a, b; c"\ny{mark}d\n\n')
    assert labelled(tmp_path / "train.csv").texts == ["a, b; c", "d"]
    (tmp_path / "train.csv").write_text(f"x{mark}a\ny{mark}b\n")
    assert labelled(tmp_path / "train.csv", columns=["label", "text"]).texts == ["a", "b"]


def test_csv_as_excel_writes_it(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbfsep=;\r\ntext; label\r\na;x\r\nb;y\r\n")
    data = labelled(tmp_path / "train.csv")
    assert data.labels == ["x", "y"] and data.location(1) == f"{tmp_path / 'train.csv'}:4"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.tsv", "great film\t1\nbad\t0\n", r"t\.tsv:1: no column 'text'.*data\.columns=\[text,label\]"),
        ("t.tsv", "text,label\na,x\n", r"t\.tsv:1: no column 'text'.*are columns separated by ','"),
        (
            "t.json",
            '{"text": {"0": "a"},\n "label": {}}',
            r"t\.json: one object \('text', 'label'\), not a table: ",
        ),
        ("t.json", '[{"text": "a", "label": "x"},\n {"text": 1 2}]', r"t\.json:2: not JSON"),
        ("t.json", '[{"text": "a", "label": "x"},\n 7]', r"t\.json:2: not a JSON object"),
        ("t.json", '[{"text": "a", "label": "x"}\n', r"t\.json:\d: not JSON"),
    ],
)
def test_malformed_tables_have_a_remedy(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        labelled(tmp_path / name)


def test_json_is_a_list_or_an_object_a_line(tmp_path):
    rows = '{"text": "a", "label": "x"}', '{"text": "b",\n "label": "y"}'
    for content in (f"[{rows[0]},\n{rows[1]}]", f"\n[ {rows[0]} , {rows[1]} ]\n", f"{rows[0]}\n\n{rows[0]}\n"):
        (tmp_path / "train.json").write_text(content)
        assert labelled(tmp_path / "train.json").texts[0] == "a"


def test_two_tables_of_a_name_are_asked_about(tmp_path):
    for kind in ("csv", "jsonl"):
        write(tmp_path / f"train.{kind}", [{"text": "a", "label": "x"}])
    with pytest.raises(DataError, match=r"which of train\.csv, train\.jsonl\?: give its full name"):
        labelled(tmp_path)


def test_a_million_columns_take_a_moment(tmp_path):
    count = 300_000
    (tmp_path / "train.csv").write_text(",".join(f"c{i}" for i in range(count)) + "\n" + ",".join("1" * count) + "\n")
    start = time.process_time()
    with pytest.raises(DataError) as caught:
        labelled(tmp_path / "train.csv")
    assert time.process_time() - start < 20 and len(str(caught.value)) < 1000


def test_what_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_lines, "MOST_LINE_BYTES", 1000)
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(b'{"text": "' + b"a" * 5000))
    with pytest.raises(DataError, match=r"train\.jsonl\.gz:1: a line of more than"):
        labelled(tmp_path / "train.jsonl.gz")
    monkeypatch.setattr(raw_lines, "LARGE_BYTES", 100_000)
    value = pyarrow.array(["a" * 10_000]).dictionary_encode()
    column = pyarrow.DictionaryArray.from_arrays(np.zeros(10_000, np.int32), value.dictionary)
    table = pyarrow.table({"text": column, "label": ["x"] * 10_000})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match="unpacks to more than 100 times"):
        labelled(tmp_path / "train.parquet")


# --- lists ---


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('["a", "b c"]', ["a", "b c"]),
        ("['a', 'b']", ["a", "b"]),
        ("['a' 'b']", ["a", "b"]),
        ("['a'\n 'b']", ["a", "b"]),
        (str(np.array(["it's", 'say "x"', "both ' \""], dtype=object)), ["it's", 'say "x"', "both ' \""]),
        (repr(np.array(["a", "b c"])), ["a", "b c"]),
        (str(np.arange(3)), ["0", "1", "2"]),
        (str([np.int64(3), np.int64(1)]), ["3", "1"]),
        ("['np.array(3)', \"x\"]", ["np.array(3)", "x"]),
        ("('a',)", ["a"]),
        ("[]", []),
        ("2019", None),
        ("[Laughter] yes", None),
        ("[ laughs ]", None),
        ("[" * 10_000, None),
    ],
)
def test_lists_of_json_python_and_numpy(text, items):
    assert read_list(text) == items


def test_lists_that_lost_something_are_refused():
    with pytest.raises(ValueError, match="cut by NumPy"):
        read_list(str(np.array(["a"] * 2000)))
    for text in ('["a", null]', "['a', None]", "[1, NaN]"):
        with pytest.raises(ValueError, match="nothing"):
            read_list(text)


def test_values_as_text():
    assert [value_text(value) for value in (True, 1, 1.5, np.int64(3), b"a", ["a", 1])] == [
        "true", "1", "1.5", "3", "a", '["a", 1]',
    ]  # fmt: skip
    assert value_text([0, 1], ["O", "B-PER"]) == '["O", "B-PER"]'
    with pytest.raises(ValueError, match="names for 2 classes"):
        value_text(2, ["a", "b"])


def test_places_in_little_memory():
    locations = Locations([Location("a", 3, True), Location("b", 1, False)])
    assert str(locations[0]) == f"{locations[0]}" == "a:3" and str(locations.select(np.array([1]))[0]) == "b: row 1"


def test_the_gate_counts_what_it_leaves_out():
    gate = Gate(frozenset({"NA"}), skip=True)
    assert [gate.lacks(value) for value in (None, float("nan"), "", " NA ", "NAN", 0, [])] == [True] * 4 + [False] * 3
    assert gate.notes(5) == ()


@pytest.mark.parametrize("kind", ["CSV", "Tsv", "JSONL", "PARQUET", "csv.GZ"])
def test_endings_of_tables_are_known_in_any_capitals(tmp_path, kind):
    rows = [{"text": f"t{i}", "label": "ab"[i % 2]} for i in range(8)]
    small = write(tmp_path / f"small.{kind.lower()}", rows)
    path = small.rename(tmp_path / f"TRAIN.{kind}")
    for location in (path, tmp_path):
        config = LabelledTextDataConfig(path=str(location), validation_share=0.0)
        assert read_labelled(config, "train", seed=1)["train"].texts == [row["text"] for row in rows]


def test_csv_with_a_space_before_quotes_and_columns_without_a_name(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text('text, label,,\n"a, b", "x",,\nc, "y, z",,\n')
    data = read_labelled(LabelledTextDataConfig(path=str(path), validation_share=0.0), "train", seed=1)["train"]
    assert (data.texts, data.labels) == (["a, b", "c"], ["x", "y, z"])
    path.write_text("text,label,label\na,b,c\n")
    with pytest.raises(DataError, match="'label' is there twice"):
        read_labelled(LabelledTextDataConfig(path=str(path)), "train", seed=1)


def test_json_lines_with_another_ending_are_told_how_to_be_named(tmp_path):
    (path := tmp_path / "x.ndjson").write_text('{"text": "a", "label": "b"}\n')
    with pytest.raises(DataError, match=r"end the name with \.jsonl"):
        read_labelled(LabelledTextDataConfig(path=str(path)), "train", seed=1)


def test_a_list_is_no_single_label(tmp_path):
    path = write(tmp_path / "train.jsonl", [{"text": "a", "label": ["x"]}, {"text": "b", "label": ["y", "x"]}])
    config = LabelledTextDataConfig(path=str(path), validation_share=0.0, target=Target.labels)
    data = read_labelled(config, "train", seed=1)["train"]
    assert LabelSet.of(data, Target.labels, ",").names == ("x", "y")
    with pytest.raises(DataError, match=r"train.jsonl:1: the label is a list.*data.target=labels"):
        LabelSet.of(data, Target.label, ",")


@pytest.mark.parametrize(("label", "shown"), [("b,NaN", "'NaN'"), ('["a", "NA"]', "'NA'")])
def test_a_missing_value_among_several_labels_is_no_class(tmp_path, label, shown):
    path = write(tmp_path / "train.jsonl", [{"text": t, "label": v} for t, v in (("1", "a"), ("2", label), ("3", "b"))])
    config = LabelledTextDataConfig(path=str(path), validation_share=0.0, target=Target.labels)
    with pytest.raises(DataError, match=f"train.jsonl:2: a label in label is missing \\({shown}"):
        read_labelled(config, "train", seed=1)
    data = read_labelled(config, "train", seed=1, skip=True)["train"]
    assert (data.texts, [data.location(row)[-2:] for row in range(2)]) == (["1", "3"], [":1", ":3"])
    assert "1 of 3 rows" in data.notes[0]


def test_numbers_of_32_bits_are_the_labels_that_a_csv_file_has(tmp_path):
    values = pyarrow.array([0.1, 0.2] * 2, pyarrow.float32())
    pyarrow.parquet.write_table(pyarrow.table({"text": list("abcd"), "label": values}), tmp_path / "train.parquet")
    config = LabelledTextDataConfig(path=str(tmp_path), validation_share=0.0)
    assert read_labelled(config, "train", seed=1)["train"].labels == ["0.1", "0.2"] * 2


@pytest.mark.parametrize("text", ["{'a', 'b'}", "{a,b}", 'c("a", "b")'])
def test_lists_in_other_notations_are_refused(text):
    with pytest.raises(ValueError, match="write lists as JSON"):
        read_list(text)


def test_a_python_list_with_nan_lacks_a_value_and_is_no_words():
    assert read_list("['nan', 'a']") == ["nan", "a"]
    with pytest.raises(ValueError, match="holds nothing"):
        read_list("['a', nan]")
