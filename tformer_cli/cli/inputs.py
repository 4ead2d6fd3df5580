"""Inputs of `predict`, `translate` and `tokenize`: lines of text, rows of tables, sentences of CoNLL files.

A table is never read as lines. Its columns are those of the training data, or those that `--column` names.
"""

from __future__ import annotations

import csv
import json
import re
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tformer_cli.binary_files import check_is_text
from tformer_cli.cli import text
from tformer_cli.cli.reading import CONLL, FORMATS, LINES, SEPARATED, Line, Reading, is_index, split_line
from tformer_cli.cli.table_inputs import rows_of
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.raw_lines import check_expansion

SQUAD = "squad"
SQUAD_CONTENT = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"(version|data)"\s*:')
CONLL_ENDINGS = (".conll", ".conllu", ".conll03", ".iob", ".iob2", ".bio", ".bioes")
MAGIC = {b"PAR1": ".parquet", b"ARROW1": ".arrow"}
DELIMITERS = {"\t": ".tsv", ",": ".csv", ";": ".csv"}
DETECTION_LINES = 200
"""Number of lines from which the format of a file is detected."""


def read(files: Sequence[Path], how: Reading) -> Iterator[Line]:
    """Yield the inputs in files, or in standard input (`-`) if there are none.

    Raises:
        DataError: if a file cannot be read, or the columns of a table are unknown; the error names the location.
    """
    for file in files or [Path("-")]:
        yield from _of_file(file, how)


def _of_file(file: Path, how: Reading) -> Iterator[Line]:
    name = text.name_of(file)
    with text.opened(file) as stream:
        kind = _kind(file, stream.peek(text.DETECTION_BYTES), how)
        if how.header is not None and kind.removesuffix(".gz") not in SEPARATED:
            cause = f"{name}: {how.header_option} is for CSV and TSV, which this file is not"
            raise DataError(cause, "leave it out, or name the format: --format csv")
        if kind == LINES:
            for number, line in enumerate(text.decoded(stream, name), 1):
                yield Line(line, f"{name}:{number}", line)
        elif kind == CONLL:
            yield from _conll(text.decoded(stream, name), name, how)
        elif kind == SQUAD and how.documents is not None:
            with _on_disk(file, ".json", stream) as path, _named(path, name):
                yield from _questions(path, name, how)
        else:
            with _on_disk(file, kind, stream) as path, _named(path, name):
                yield from rows_of(path, kind.removesuffix(".gz"), name, how)


def _kind(file: Path, start: bytes, how: Reading) -> str:
    """Return the format of a file: lines, CoNLL columns, or the ending of a table.

    Args:
        file: name of the file; `-` for standard input.
        start: first bytes of the file.
        how: options of the user and the run.
    """
    from tformer_cli.data.core.files import table_kind

    ending = table_kind(file)
    if how.documents is not None and not how.columns and not how.form and SQUAD_CONTENT.match(start):
        return SQUAD
    if how.form:
        packed = ".gz" if ending.endswith(".gz") else ""
        return how.form if how.form in (LINES, CONLL) else f".{how.form}{packed}"
    if ending:
        return ending
    if file.name.lower().removesuffix(".gz").endswith(CONLL_ENDINGS):
        if how.words:
            return CONLL
        raise DataError(
            f"{text.name_of(file)}: a CoNLL file, but this run does not tag words", "--format lines reads it as lines"
        )
    return _kind_of_content(text.name_of(file), start, how)


def _kind_of_content(name: str, start: bytes, how: Reading) -> str:
    from tformer_cli.data.core.files import TRANSLATION

    for magic, kind in MAGIC.items():
        if start.startswith(magic):
            return kind
    check_is_text(name, start)
    lines = start.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").split("\n")
    first = lines[0].removesuffix("\r")
    columns = how.columns or how.expected
    if how.words and (all(map(is_index, how.columns)) if how.columns else _has_word_columns(lines, how)):
        return CONLL
    if first.startswith("{"):
        row = _json_object(first)
        if row is not None and (how.columns or set(columns) <= row.keys() or TRANSLATION in row):
            return ".jsonl"
    for mark, kind in DELIMITERS.items():
        cells = split_line(first, mark)
        if len(cells) > 1 and columns and set(columns) <= set(cells) and (how.columns or _is_header(lines, mark)):
            return kind
        if len(cells) > 1 and how.columns and all(map(is_index, how.columns)):
            return kind
    if how.columns:
        cause = f"{name}: --column {how.columns[0]}, but the first line does not name such a column"
        raise DataError(cause, f"say what the file is: --format {', '.join(FORMATS[1:])}")
    return LINES


def _is_header(lines: list[str], mark: str) -> bool:
    """Return whether the first line is a header: names without spaces around them, and a row with as many cells."""
    try:
        names, row, *_ = [*csv.reader((line + "\n" for line in lines[:DETECTION_LINES]), delimiter=mark), [], []]
    except csv.Error:
        return False
    return all(name == name.strip() for name in names) and len(row) in (0, len(names))


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _has_word_columns(lines: list[str], how: Reading) -> bool:
    """Return whether lines are in CoNLL format: the same number of columns, and a column with known tags."""
    rows = [line.split() for line in lines[: min(DETECTION_LINES, len(lines) - 1)] if not line.startswith("#")]
    rows = [row for row in rows if row and row[0] != "-DOCSTART-"]
    widths = {len(row) for row in rows}
    if len(widths) != 1 or widths == {1} or len(rows) < 2:
        return False
    return any(all(row[column] in how.known_tags for row in rows) for column in range(1, widths.pop()))


def _conll(lines: Iterator[str], name: str, how: Reading) -> Iterator[Line]:
    """Yield sentences of words: one word per line, a blank line after each sentence."""
    named = bool(how.columns)
    if named and not is_index(how.columns[0]):
        raise ConfigError(
            f"--column {how.columns[0]}: columns of CoNLL files are given by index", "--column 0 is the first"
        )
    from tformer_cli.data.text.conll import read_words

    column = int(how.columns[0]) if named else how.word_column
    for number, words in read_words(lines, name, how.delimiter, column, named=named):
        yield Line(words, f"{name}:{number}", words)


def _questions(path: Path, name: str, how: Reading) -> Iterator[Line]:
    """Yield the questions of a file in SQuAD's JSON; a bad row is an error, or an input with a fault."""
    from tformer_cli.data.core.cells import BadRow

    assert how.documents is not None
    for position, row in how.documents(path):
        location = position.replace(str(path), name)
        if not isinstance(row, BadRow):
            yield Line(row, location, dict(zip(how.expected, row, strict=True)))
        elif how.skip:
            yield Line(None, location, None, row.reason)
        else:
            raise row


# --- files ---


@contextmanager
def _on_disk(file: Path, kind: str, stream: IO[bytes]) -> Iterator[Path]:
    """Yield the path of a table with the ending of its format: the file itself, or a copy of piped data."""
    from tformer_cli.data.core import files

    regular = str(file) != "-" and stat.S_ISREG(file.stat().st_mode)
    if regular and (kind not in files.COLUMNAR or files.table_kind(file) == kind):
        yield file
        return
    with tempfile.NamedTemporaryFile(prefix="tformer-", suffix=kind.removesuffix(".gz")) as copy:
        copied, size = 0, file.stat().st_size if regular else 0
        while block := stream.read(text.DETECTION_BYTES):
            copied += copy.write(block)
            if size:
                check_expansion(file, copied, size)
        copy.flush()
        yield Path(copy.name)


@contextmanager
def _named(path: Path, name: str) -> Iterator[None]:
    """Replace the path of a file in errors by its name for the user."""
    try:
        yield
    except DataError as error:
        if str(path) == name or str(path) not in error.cause:
            raise
        raise DataError(error.cause.replace(str(path), name), error.remedy) from error


def reading_of(task: Any, columns: tuple[str, ...], form: str, header: bool | None = None) -> Reading:
    """Return the options for reading the text inputs of a task.

    Raises:
        ConfigError: if the options do not apply to it.
    """
    from tformer_cli.config.schema import BadSample

    data = task.config.data
    reading = Reading(
        columns,
        form,
        expected=task.predictor.input_columns,
        names=tuple(getattr(data, "columns", ())),
        words=hasattr(data, "word_column"),
        word_column=getattr(data, "word_column", 0),
        delimiter=getattr(data, "delimiter", ""),
        known_tags=frozenset(getattr(task.data, "tags", ())),
        documents=getattr(task.predictor, "documents", None),
        header=header,
        skip=task.config.trainer.on_bad_sample is BadSample.skip,
    )
    reading.check()
    return reading
