"""Tables in JSON are read in every form that programs write; other content is an error that names it."""

from __future__ import annotations

import json

import pytest

from tformer_cli.data.core import files
from tformer_cli.errors import DataError

ROWS = [{"text": "a text", "label": 1}, {"text": "b", "label": 0}]


def read(folder, value: object, name: str = "t.json", indent: int | None = None) -> list:
    content = value if isinstance(value, str) else json.dumps(value, indent=indent)
    (folder / name).write_text(content)
    return [row for _, row in files.named_rows(folder / name, ["text", "label"], setting="data.text")]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        {"data": ROWS},
        {"version": "1.0", "data": ROWS},
        {"rows": ROWS},
        {"text": ["a text", "b"], "label": [1, 0]},
        {"text": {"0": "a text", "1": "b"}, "label": {"0": 1, "1": 0}},
        {"text": {"0": "a text", "1": "b"}, "label": {"1": 0, "0": 1}},
        {"columns": ["text", "label"], "index": [0, 1], "data": [["a text", 1], ["b", 0]]},
        {"schema": {"fields": []}, "data": ROWS},
    ],
)
def test_every_form_of_a_table(value, indent, tmp_path):
    assert read(tmp_path, value, indent=indent) == ROWS


def test_columns_of_lists_and_of_objects(tmp_path):
    assert read(tmp_path, {"tokens": [["a", "b"], ["c"]], "tags": [["O", "O"], ["O"]]}) == [
        {"tokens": ["a", "b"], "tags": ["O", "O"]},
        {"tokens": ["c"], "tags": ["O"]},
    ]
    pairs = [{"en": "a", "de": "b"}, {"en": "c", "de": "d"}]
    assert read(tmp_path, {"id": [1, 2], "translation": pairs})[1] == {"id": 2, "translation": pairs[1]}


def test_a_single_row_stays_a_row(tmp_path):
    several = {"translation": {"en": "a", "de": "b"}, "scores": {"bleu": 1, "chrf": 2}}
    for row in ({"text": "a"}, {"translation": {"en": "a", "de": "b"}}, several, {"text": "a", "more": [{"x": 1}]}, {}):
        assert read(tmp_path, row) == [row]
    assert read(tmp_path, '{"text": "a"}\n\n{"text": "b"}\n') == [{"text": "a"}, {"text": "b"}]
    assert read(tmp_path, {"text": ["a"], "label": ["b"]}, "t.jsonl") == [{"text": ["a"], "label": ["b"]}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"train": ROWS, "test": ROWS}, "an object with several lists of rows: 'train', 'test': write"),
        ({"text": ["a", "b"], "label": [1]}, "one object \\('text', 'label'\\), not a table: write a list"),
        ({"tokens": ["Ann", "saw"], "tags": ["X", "O"]}, "\\('tokens', 'tags'\\) may be one row of words, or columns"),
        ({"tokens": ["Ann", "saw"], "tags": [1, 0]}, "may be one row of words, or columns"),
        ({"text": "a", "label": 1}, "one object \\('text', 'label'\\), not a table"),
    ],
)  # fmt: skip
def test_an_object_without_a_table_is_an_error_that_names_its_keys(value, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(tmp_path, value, indent=1)


def test_a_row_of_words_on_one_line_is_not_read_as_columns(tmp_path):
    with pytest.raises(DataError, match="may be one row of words, or columns"):
        read(tmp_path, {"tokens": ["Ann", "saw"], "tags": ["X", "O"]})
    assert read(tmp_path, {"tokens": ["Ann", "saw"], "tags": ["X", "O"]}, "t.jsonl")[0]["tokens"] == ["Ann", "saw"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (
            "[1]",
            "t.jsonl",
            "t.jsonl:1: a list, where each line must be an object: end the name of such a file with .json",
        ),
        ('\n{\n"data": [\n{"text" 1}]}', "t.json", "t.json:4: not JSON"),
        ('{"text": "a"}\n{"text": ', "t.json", "t.json:2: not JSON"),
        ("[" * 100_000, "t.json", "t.json:1: not JSON"),
        ('{"a": ' * 100_000, "t.json", "t.json:1: not JSON"),
    ],
)
def test_malformed_json_is_named_by_its_line(content, name, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content, name)
