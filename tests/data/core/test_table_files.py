"""Written tables have the same content when they are read."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from tformer_cli.data.core import files
from tformer_cli.data.core.table_files import encoded_rows, writable_kind
from tformer_cli.errors import ConfigError, DataError

ROWS = [
    {"text": 'a "b", c\r\nd\te', "reference": "x", "probability": 0.25, "probabilities": {"x": 0.25, "y, z": 0.75}},
    {"text": " é日\u2028", "reference": "", "probability": None, "probabilities": {"x": 0.5, "y, z": 0.5}},
]


def content(kind: str) -> bytes:
    return b"".join(encoded_rows(ROWS, kind))


@pytest.mark.parametrize("kind", [".csv", ".csv.gz"])
def test_csv_holds_every_value(kind, tmp_path):
    raw = gzip.decompress(content(kind)) if kind.endswith(".gz") else content(kind)
    header, *rows = csv.reader(io.StringIO(raw.decode(), newline=""))
    assert header == list(ROWS[0])
    assert [row[0] for row in rows] == [row["text"] for row in ROWS]
    assert [row[2] for row in rows] == ["0.25", ""]
    assert json.loads(rows[0][3]) == ROWS[0]["probabilities"]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("text,label\n    return 1, a\n  x,b\n", [["    return 1", " a"], ["  x", "b"]]),
        ("text, label\n    return 1, a\n", [["return 1", "a"]]),  # as the header
        ("text; label\n    return 1; a\n", [["return 1", "a"]]),
        ('text,label\n  "a, b", "c"\n  d,e\n', [["a, b", "c"], ["  d", "e"]]),  # spaces before a quote
        ('text,label\n"a\n  b",c\n  d,e\n', [["a\n  b", "c"], ["  d", "e"]]),
    ],
)
def test_leading_spaces_of_csv_belong_to_a_value(text, rows, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    assert list(files.table_rows(tmp_path / "t.csv", ["text", "label"])) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("    return 1, a\n  x,b\n", [["    return 1", " a"], ["  x", "b"]]),  # not by the first row alone
        ("x,b\n    return 1, a\n", [["x", "b"], ["    return 1", " a"]]),
        ("    return 1, a\nx, b\n", [["return 1", "a"], ["x", "b"]]),  # a space after each comma
        ('x, b\n"a,b", c\n y, d\n', [["x", "b"], ["a,b", "c"], ["y", "d"]]),
        ("sep=;\nx; b\n  y;c\n", [["x", " b"], ["  y", "c"]]),
    ],
)
def test_leading_spaces_of_csv_without_a_header(text, rows, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    names = ["text", "label"]
    assert list(files.table_rows(tmp_path / "t.csv", names, names=names)) == rows


def test_tsv_has_a_line_a_row(tmp_path):
    (tmp_path / "t.tsv").write_bytes(content(".tsv"))
    rows = list(
        files.table_rows(tmp_path / "t.tsv", ["text", "probability"], values=["probability"], blank=["probability"])
    )
    assert rows == [['a "b", c  d e', "0.25"], [" é日\u2028", ""]]


def test_json_lines_are_the_rows():
    assert [json.loads(line) for line in content(".jsonl").decode().split("\n")[:-1]] == ROWS
    assert [json.loads(line) for line in gzip.decompress(content(".jsonl.gz")).decode().split("\n")[:-1]] == ROWS
    assert content(".jsonl.gz") == content(".jsonl.gz")


def test_parquet_holds_every_value(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "t.parquet").write_bytes(content(".parquet"))
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == ROWS
    odd = b"".join(encoded_rows([{"picture": "caf\udce9"}], ".parquet"))
    (tmp_path / "o.parquet").write_bytes(odd)
    assert parquet.read_table(tmp_path / "o.parquet").to_pylist() == [{"picture": "caf\\udce9"}]


def test_no_rows_are_a_table_too():
    assert b"".join(encoded_rows([], ".csv")) == b""


def test_the_ending_says_which():
    assert writable_kind(Path("a/B.CSV"), "--predictions") == ".csv"
    assert writable_kind(Path("b.jsonl.gz"), "--predictions") == ".jsonl.gz"
    for name in ("b.xlsx", ".csv", "csv"):
        with pytest.raises(
            ConfigError, match="--predictions .*: not the name of a table that is written: end it with one of .csv"
        ):
            writable_kind(Path(name), "--predictions")


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("t.csv", "\n\ntext,label\na,x\n\nb,y\n", [["a", "x"], ["b", "y"]]),
        ("t.csv", "\nsep=;\ntext;label\na;x\n", [["a", "x"]]),
        ("t.csv", "sep=;\n\ntext;label\na;x\n", [["a", "x"]]),
        ("t.tsv", "\n\ntext\tlabel\na\tx\n", [["a", "x"]]),
    ],
)
def test_empty_lines_may_stand_before_the_names_of_columns(name, content, rows, tmp_path):
    (tmp_path / name).write_text(content)
    assert list(files.table_rows(tmp_path / name, ("text", "label"))) == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "\n\n", "there are no rows"),
        ("t.tsv", "\n\n", "there are no rows"),
        ("t.csv", "sep=;\n", "there are no rows"),
        ("t.csv", "\n\ntext,label\na\n", "t.csv:4: 1 columns, but 2 column names"),
        ("t.csv", "\n\ntxt,label\na,b\n", "t.csv:3: no column 'text'"),
        ("t.csv", '\n\ntext,label\na,"b\n', "t.csv:4: malformed CSV"),
    ],
)
def test_faults_after_empty_lines_name_the_line(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        list(files.table_rows(tmp_path / name, ("text", "label")))
