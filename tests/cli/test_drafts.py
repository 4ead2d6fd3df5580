"""translate --draft: line n is the draft for input n, and another number of lines is an error."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tformer_cli.cli.drafts import check, paired
from tformer_cli.cli.main import main
from tformer_cli.cli.reading import Line
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.predictors.base import Prediction


@pytest.fixture
def editor(stand_ins, monkeypatch):
    """A task whose answer is the draft between the source's words; standard input has three lines."""
    task = stand_ins.task
    task.takes_drafts = True
    task.answer = lambda pair: Prediction("+".join(pair), {"rounds": 2})
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a\n\nc\n"), isatty=lambda: False))
    return task


def test_each_input_is_answered_with_its_draft(editor, capsys):
    Path("drafts").write_bytes("\ufeffx y\r\nz\n\n".encode())
    assert main(["translate", "r", "--draft", "drafts"]) == 0
    assert capsys.readouterr().out == "a+x y\n+z\nc+\n"


def test_the_rounds_are_in_json(editor, capsys):
    Path("drafts").write_text("x\ny\nz\n")
    assert main(["translate", "r", "--draft", "drafts", "--json"]) == 0
    first = capsys.readouterr().out.split("\n")[0]
    assert first == '{"input": "a", "text": "a+x", "rounds": 2}'


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (2, "drafts: 2 drafts, and standard input:3 is input 3"),
        (0, "drafts: 0 drafts, and standard input:1 is input 1"),
        (4, "drafts: more drafts than the 3 inputs"),
    ],
)
def test_another_number_of_drafts_is_an_error(editor, capsys, lines, cause):
    Path("drafts").write_text("x\n" * lines)
    assert main(["translate", "r", "--draft", "drafts", "--output", "out"]) != 0
    error = capsys.readouterr().err
    assert f"error: {cause}: give one draft for each line of the input" in error
    assert not Path("out").exists()


def test_a_missing_file_of_drafts_is_an_error_before_the_model_is_opened(stand_ins, capsys):
    assert main(["translate", "r", "--draft", "nowhere"]) != 0
    assert "nowhere" in capsys.readouterr().err and not stand_ins.open_run


@pytest.mark.parametrize("name", ["drafts.jsonl", "drafts.csv", "drafts.TSV.gz", "drafts.parquet"])
def test_a_table_of_drafts_is_refused_before_the_model_is_opened(stand_ins, capsys, name):
    """Its lines would be taken for drafts: `{"de": "x"}` for a translation."""
    Path(name).write_text('{"de": "x"}\n')
    assert main(["translate", "r", "--draft", name]) == 1
    error = f"error: --draft {name}: a table, and drafts are lines of text: write one draft a line, as in .txt\n"
    assert capsys.readouterr().err == error and not stand_ins.open_run


def test_inputs_and_drafts_cannot_both_be_standard_input():
    for files in ([], [Path("-")]):
        with pytest.raises(ConfigError, match="--draft -: the inputs are read from standard input"):
            check(Path("-"), files)
    check(Path("-"), [Path("inputs")])


def test_rows_of_tables_have_drafts_too(tmp_path):
    (tmp_path / "drafts").write_text("x\n")
    (line,) = paired([Line(("a",), "row 1", "a")], tmp_path / "drafts")
    assert (line.value, line.shown) == (("a", "x"), "a")
    with pytest.raises(DataError, match="2 drafts"):
        (tmp_path / "drafts").write_text("x\ny\n")
        list(paired([Line("a", f"row {row}", "a") for row in range(3)], tmp_path / "drafts"))


def test_a_skipped_row_takes_its_draft_with_it(tmp_path):
    """With on_bad_sample=skip, a row without text has no value; the rows after it have their own drafts."""
    (tmp_path / "drafts").write_text("x\ny\nz\n")
    skipped = Line(None, "row 2", None, "no text")
    rows = paired([Line("a", "row 1", "a"), skipped, Line(("c",), "row 3", "c")], tmp_path / "drafts")
    first, second, third = rows
    assert (first.value, third.value) == (("a", "x"), ("c", "z")) and second == skipped
