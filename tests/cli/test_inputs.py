"""Tables are read by columns, CoNLL files by sentences, and other files line by line."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tformer_cli import raw_lines
from tformer_cli.cli.inputs import read
from tformer_cli.cli.prediction_output import as_lines, in_order
from tformer_cli.cli.reading import Line, Reading
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.predictors.base import Prediction

TEXT = Reading(expected=("text",))
PAIR = Reading(expected=("question", "context"))
WORDS = Reading(expected=("tokens",), words=True, known_tags=frozenset({"O", "B-PER"}))


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def values(content: str | bytes, how: Reading = TEXT, name: str = "f.csv") -> list:
    raw = content if isinstance(content, bytes) else content.encode()
    Path(name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return [line.value for line in read([Path(name)], how)]


def piped(monkeypatch, content: bytes, how: Reading = TEXT) -> list[Line]:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    return list(read([], how))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.csv", 'id,text\n1,"a, b"\n2,"c\nd ""e"""\n'),
        ("f.csv", '\ufeffid,text\r\n1,"a, b"\r\n2,"c\nd ""e"""\r\n'),
        ("f.jsonl", '{"text": "a, b"}\n{"id": 2, "text": "c\\nd \\"e\\""}\n'),
        ("f.csv", 'id;text\n1;"a, b"\n2;"c\nd ""e"""\n'),
        ("f.csv.gz", 'id,text\n1,"a, b"\n2,"c\nd ""e"""\n'),
        ("f.json", '[{"text": "a, b"}, {"text": "c\\nd \\"e\\""}]'),
        ("f.jsonl.gz", '{"text": "a, b"}\n{"text": "c\\nd \\"e\\""}\n'),
        ("f.txt", 'id,text\n1,"a, b"\n2,"c\nd ""e"""\n'),  # a header of the training columns, whatever the name
    ],
)
def test_rows_of_tables_with_the_training_columns(name, content, capsys):
    assert values(content, name=name) == ["a, b", 'c\nd "e"']
    assert capsys.readouterr().err == f"{name}: read as a table, column 'text'\n"


def test_tab_separated_values_have_no_quotes():
    assert values('text\tlabel\n"a\t1\n', name="f.tsv") == ['"a']


def test_parquet_by_name_and_by_content(monkeypatch, capsys):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "n": [1, 2]}), "t.parquet")
    assert [line.value for line in read([Path("t.parquet")], TEXT)] == ["a", "b"]
    Path("t.parquet").rename("t")
    assert [line.value for line in read([Path("t")], TEXT)] == ["a", "b"]
    assert [line.value for line in piped(monkeypatch, Path("t").read_bytes())] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.csv", "sentence,label\na,b\n"),
        ("f.tsv", "b\ta\n"),
        ("f.csv", "sentence,label\n"),
        ("f.jsonl", '{"sentence": "a"}\n'),
        ("f.jsonl", '{"text2": "a"}\n'),
    ],
)
def test_a_table_with_other_columns_is_never_read_as_lines(name, content):
    with pytest.raises(DataError, match=r"^f\.\w+: a table with columns '.*: which is to be read\? --column NAME"):
        values(content, name=name)
    assert values(content, Reading(form="lines", expected=("text",)), name)[0] == content.split("\n")[0]


@pytest.mark.parametrize(
    ("column", "content", "expected"),
    [
        ("sentence", "sentence,label\na,b\n", ["a"]),
        ("1", "b\ta\nd\tc\n", ["a", "c"]),  # the index of a column, if the first line is data
        ("-1", "b\ta\nd\tc\n", ["a", "c"]),
        ("1", "1\t2\na\tb\n", ["2", "b"]),  # numbers are no names
        ("1", "1\ttext\na\tb\n", ["a"]),  # except beside the training columns
        ("-1", "sep=;\nx;a b\n", ["a b"]),
        ("text", "\n\ntext,label\na,b\n", ["a"]),
        ("1", "\n\nlabel,text\nb,a\n", ["a"]),
        ("-1", "\nsep=;\nx;a b\n", ["a b"]),
        ("text", "\n\n", []),
    ],
)
def test_columns_that_the_user_names(column, content, expected):
    name = "f.tsv" if "\t" in content else "f.csv"
    assert values(content, Reading((column,), expected=("text",)), name) == expected


def test_columns_that_are_not_there():
    with pytest.raises(DataError, match=r"^f\.csv:\d: no column 'x': columns there: 'text', 'label'"):
        values("text,label\na,b\n", Reading(("x",), expected=("text",)))
    with pytest.raises(DataError, match=r"^f\.tsv: --column 2: the table has 2 columns: indices start at 0"):
        values("a\tb\n", Reading(("2",), expected=("text",)), "f.tsv")


def test_training_tables_without_a_line_of_names():
    how = Reading(expected=("text",), names=("label", "text"))
    assert values("x\ta\ny\tb\n", how, "f.tsv") == ["a", "b"]
    assert values("label\ttext\nx\ta\n", how, "f.tsv") == ["a"]
    with pytest.raises(DataError, match="which is to be read"):
        values("a\n", how, "f.tsv")


def test_pairs_are_two_columns(capsys):
    Path("f.csv").write_text('context,question\n"tab\there\nand on",why?\n')
    (line,) = read([Path("f.csv")], PAIR)
    assert line.value == ("why?", "tab\there\nand on") and line.location == "f.csv:2"
    assert line.shown == {"question": "why?", "context": "tab\there\nand on"}
    assert "columns 'question', 'context'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--column is given 1 time: an input consists of 2 columns"):
        Reading(("question",), expected=PAIR.expected).check()


def test_a_table_on_standard_input(monkeypatch, capsys):
    (line,) = piped(monkeypatch, b"id,text\n1,a\n")
    assert (line.value, line.location) == ("a", "standard input:2")
    assert capsys.readouterr().err == "standard input: read as a table, column 'text'\n"
    (line,) = piped(monkeypatch, b'{"sentence": "a"}\n', Reading(("sentence",), expected=("text",)))
    assert line.value == "a"
    with pytest.raises(DataError, match=r"standard input:2: text is missing \(null\): fill it in, or remove the row"):
        piped(monkeypatch, b'{"text": "a"}\n{"text": null}\n')
    with pytest.raises(DataError, match="the first line does not name such a column: say what the file is: --format"):
        piped(monkeypatch, b"a b\n", Reading(("sentence",), expected=("text",)))


@pytest.mark.parametrize("line", ["text, and more", "text,and more", "{a}", '{"x": 1}', "a\tb", "text", "\ufeff"])
def test_what_only_looks_like_a_table_is_lines(line, monkeypatch):
    assert [row.value for row in piped(monkeypatch, line.encode() + b"\nb\n")] == [line.removeprefix("\ufeff"), "b"]


def test_a_pipe_is_read_once():
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text("id,text\n1,a\n"))
    writer.start()
    assert [line.value for line in read([Path("pipe")], TEXT)] == ["a"]
    writer.join()


def test_lines_are_unpacked():
    assert values("a\nb\n", name="f.txt.gz") == ["a", "b"]
    Path("cut.txt.gz").write_bytes(gzip.compress(b"a\n" * 1000)[:-9])
    with pytest.raises(DataError, match=r"cut.txt.gz: damaged gzip file"):
        list(read([Path("cut.txt.gz")], TEXT))


@pytest.mark.parametrize("name", ["f.conll", "f.txt"])
def test_columns_of_words(name):
    content = "-DOCSTART- O\n\n# id 7\nAnn B-PER\nsaw O\n\nBob B-PER\n\n-DOCSTART- O\nKim B-PER\n"
    Path(name).write_text(content)
    lines = list(read([Path(name)], WORDS))
    assert [line.value for line in lines] == [["Ann", "saw"], ["Bob"], ["Kim"]]
    assert [line.location for line in lines] == [f"{name}:4", f"{name}:7", f"{name}:10"]


def test_other_columns_of_words():
    content = "1\tNew York\tX\n2\tsaw\tX\n\n1\tBob\tX\n"
    assert values(content, Reading(("1",), "conll", words=True), "f.txt") == [["New York", "saw"], ["Bob"]]
    with pytest.raises(DataError, match=r"f.txt:1: 3 columns: --column says which"):
        values(content, Reading(("3",), "conll", words=True), "f.txt")
    with pytest.raises(DataError, match="a CoNLL file"):
        values(content, TEXT, "f.conll")
    assert values("Ann saw Bob\nBob saw Ann\n", WORDS, "f.txt") == ["Ann saw Bob", "Bob saw Ann"]
    with pytest.raises(ConfigError, match="--format conll is for runs that tag words"):
        Reading(form="conll").check()


def test_lists_of_words():
    assert values(json.dumps({"tokens": ["New York", "is"]}) + "\n", WORDS, "f.jsonl") == [["New York", "is"]]
    content = """tokens,tags\n"[""Ann"", ""saw""]",x\n"['Ann', 'saw']",x\nAnn saw,x\n"""
    assert values(content, WORDS) == [["Ann", "saw"]] * 3


def test_impossible_options():
    with pytest.raises(ConfigError, match="--format: 'pdf' is not one of lines, csv"):
        Reading(form="pdf").check()
    with pytest.raises(ConfigError, match="--column is for tables"):
        Reading(("a",), "lines", expected=("text",)).check()


def test_columns_of_words_are_read_as_training_reads_them():
    """CoNLL-U has word numbers, multiword tokens (1-2) and comments; GermEval has word numbers too."""
    word = "{}\t{}\t_\tNOUN\t_\t_\t0\t_\t_\t_\n"
    content = "# text = du vin\n" + "".join(
        word.format(*pair) for pair in [("1-2", "du"), (1, "de"), (2, "le"), (3, "vin"), ("3.1", "x"), (4, "#")]
    )
    assert values(content, WORDS, "f.conllu") == [["de", "le", "vin", "#"]]
    assert values(content, Reading(("2",), "conll", words=True), "f.conllu") == [["_", "_", "_", "_"]]
    assert values("# http://x [2009]\n1\tNew\n2\tYork\n\n1\tBob\n", WORDS, "g.conll") == [["New", "York"], ["Bob"]]
    assert values("New;York\nBob;Kim\n", Reading((), "conll", words=True, delimiter=";"), "g.conll") == [["New", "Bob"]]
    with pytest.raises(DataError, match=r"h.conll:2: 1 column, but the lines before have 2"):
        values("Ann O\nsaw\n", WORDS, "h.conll")


@pytest.mark.parametrize(
    ("content", "column", "expected", "reported"),
    [
        ("label\ttext\nx\ta\n", "1", ["a"], "column 1 ('text'); the first line names the columns (if it is"),
        ("mood\tsentence\nx\ta b\ny\tc d\n", "-1", ["a b", "c d"], "column 1 ('sentence'); the first line names"),
        ("id\tsentence\n1\ta\n2\tb\n", "1", ["a", "b"], "column 1 ('sentence'); the first line names"),
        ("x\ta b\ny\tc d\n", "1", ["a b", "c d"], "column 1; the first line is data (if it names"),
        ("x\ta\ny\tc d\nx\te f\n", "1", ["a", "c d", "e f"], "column 1; the first line is data"),
        ("x\ta\ny\tb\n", "1", ["a", "b"], "column 1; the first line is data"),
        ("1\ta\n2\tc d\n", "1", ["a", "c d"], "column 1; the first line is data"),
        ("x\ta\n", "1", ["a"], "column 1; the first line is data"),
    ],
)  # fmt: skip
def test_the_header_is_detected_and_reported_for_a_column_given_by_its_place(
    content, column, expected, reported, capsys
):
    assert values(content, Reading((column,), expected=("text",)), "f.tsv") == expected
    assert capsys.readouterr().err.startswith(f"f.tsv: read as a table, {reported}")


def test_options_set_whether_the_first_line_is_a_header(capsys):
    content = "mood\tsentence\nx\ta b\n"
    assert values(content, Reading(("1",), expected=("text",), header=False), "f.tsv") == ["sentence", "a b"]
    assert values("x\ta\ny\tb\n", Reading(("1",), expected=("text",), header=True), "f.tsv") == ["b"]
    assert [line.partition("; ")[2] for line in capsys.readouterr().err.splitlines()] == [
        "the first line is data", "the first line names the columns",
    ]  # fmt: skip
    assert values("0\t1\nx\ta\n", Reading(("1",), expected=("text",), header=True), "f.tsv") == ["a"]
    with pytest.raises(ConfigError, match="--column text with --no-header"):
        Reading(("text",), expected=("text",), header=False).check()
    with pytest.raises(ConfigError, match="--header is for CSV and TSV, and --format is lines"):
        Reading((), "lines", header=True).check()
    for name, line in (("f.jsonl", '{"text": "a"}\n'), ("f.txt", "a line\n")):
        with pytest.raises(DataError, match=f"{name}: --no-header is for CSV and TSV"):
            values(line, Reading(expected=("text",), header=False), name)


def test_rows_without_a_value_keep_their_place_if_they_are_skipped():
    Path("f.jsonl").write_text('{"text": "a"}\n{"text": null}\n{"text": "c"}\n')
    with pytest.raises(DataError, match=r"f.jsonl:2: text is missing \(null\): .*trainer.on_bad_sample=skip"):
        list(read([Path("f.jsonl")], Reading(expected=("text",), skip=False)))
    lines = list(read([Path("f.jsonl")], Reading(expected=("text",), skip=True)))
    assert [(line.location, line.fault) for line in lines] == [
        ("f.jsonl:1", ""), ("f.jsonl:2", "text is missing (null)"), ("f.jsonl:3", ""),
    ]  # fmt: skip
    Path("f.jsonl").write_text('{"question": "q", "context": null}\n{"question": null, "context": null}\n')
    lines = list(read([Path("f.jsonl")], Reading(expected=("question", "context"), skip=True)))
    assert [line.fault for line in lines] == ["context is missing (null)", "question is missing (null)"]
    assert lines[0].shown == {"question": "q", "context": None}
    Path("f.jsonl").write_text('{"tokens": ["a", null]}\n{"tokens": null}\n{"tokens": ["a"]}\n')
    lines = list(read([Path("f.jsonl")], Reading(expected=("tokens",), words=True, skip=True)))
    assert [line.fault for line in lines] == ["a word in tokens is missing (null)", "tokens is missing (null)", ""]


@pytest.mark.parametrize(
    ("row", "how", "fault"),
    [
        ('{"text": "x \\ud800"}', TEXT, "text holds an unpaired surrogate (\\ud800), which is not valid Unicode"),
        ('{"question": "q", "context": "\\u0000"}', PAIR, "context holds a NUL character"),
        ('{"tokens": ["a", "\\ud800"]}', WORDS, "a word in tokens holds an unpaired surrogate (\\ud800), which is"),
    ],
)
def test_rows_of_text_that_is_not_valid_are_named_or_skipped(row, how, fault, monkeypatch):
    for skip, remedy in ((None, "correct it, or remove the row"), (False, "trainer.on_bad_sample=skip")):
        with pytest.raises(DataError) as caught:
            values(f"{row}\n", replace(how, skip=skip), "f.jsonl")
        assert caught.value.cause.startswith(f"f.jsonl:1: {fault}") and caught.value.remedy.endswith(remedy)
    (line,) = piped(monkeypatch, f"{row}\n".encode(), replace(how, skip=True))
    assert line.fault.startswith(fault)


@pytest.mark.parametrize("at_once", [True, False])
def test_inputs_with_a_fault_have_an_empty_prediction_in_their_place(at_once):
    def answers(inputs):
        yield from (Prediction(value.upper()) for value in inputs)

    faults = ["", "f", "f", "", "f"]
    lines = [Line(None if fault else "abcde"[n], f"p:{n}", None, fault) for n, fault in enumerate(faults)]
    records = list(in_order(lines, answers, at_once=at_once))
    assert [line.location for line, _ in records] == [f"p:{n}" for n in range(5)]
    assert [answer.text for _, answer in records] == ["A", "", "", "D", ""]
    assert [answer.details.get("error", "") for _, answer in records] == faults
    assert [as_lines(*record, 1) for record in records] == ["A\n", "\n", "\n", "D\n", "\n"]
    assert next(iter(in_order(lines[1:3], answers, at_once=at_once)))[1].details == {"error": "f"}


def test_a_packed_table_is_bounded_while_it_is_copied(monkeypatch):
    monkeypatch.setattr(raw_lines, "LARGE_BYTES", 1 << 16)
    Path("f.parquet.gz").write_bytes(gzip.compress(b"PAR1" + bytes(1 << 20)))
    with pytest.raises(DataError, match=r"f.parquet.gz: unpacks to more than 100 times its"):
        list(read([Path("f.parquet.gz")], Reading(form="parquet", expected=("text",))))
    Path("f.zip").write_bytes(b"PK\3\4" + bytes(9))
    with pytest.raises(DataError, match=r"f.zip: a ZIP archive"):
        list(read([Path("f.zip")], Reading(("text",), expected=("text",))))
