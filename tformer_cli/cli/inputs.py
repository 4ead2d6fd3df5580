"""Inputs of `predict`, `translate` and `tokenize`: lines of text, rows of tables, sentences of CoNLL files.

A table is never read as lines. Its columns are those of the training data, or those that `--column` names.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tformer_cli.cli import text
from tformer_cli.errors import ConfigError, DataError

LINES, CONLL, SQUAD = "lines", "conll", "squad"
SQUAD_CONTENT = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"(version|data)"\s*:')
FORMATS = (LINES, "csv", "tsv", "json", "jsonl", "parquet", "arrow", CONLL)
CONLL_ENDINGS = (".conll", ".conllu", ".conll03", ".iob", ".iob2", ".bio", ".bioes")
MAGIC = {b"PAR1": ".parquet", b"ARROW1": ".arrow"}
DELIMITERS = {"\t": ".tsv", ",": ".csv", ";": ".csv"}
SETTING = "--column"
LOOKED_AT_LINES = 200


@dataclass(frozen=True)
class Line:
    """An input.

    Attributes:
        value: the input for the task.
        place: its name in error messages.
        shown: its form in the output of `--json`.
    """

    value: Any
    place: str
    shown: Any


@dataclass(frozen=True)
class Reading:
    """Options for reading files.

    Attributes:
        columns: columns named by the user.
        form: one of `FORMATS`, if the user named it; empty: detected from the file.
        expected: columns of the training tables.
        names: names of all columns, if the training tables have no header line.
        words: whether the inputs are sentences of words.
        word_column: column of words in CoNLL files.
        delimiter: delimiter of columns in CoNLL files; empty: detected from the file.
        known_tags: tags that identify such files.
        documents: reads a file in SQuAD's JSON, for question answering.
    """

    columns: tuple[str, ...] = ()
    form: str = ""
    expected: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    words: bool = False
    word_column: int = 0
    delimiter: str = ""
    known_tags: frozenset[str] = frozenset()
    documents: Callable[[Path], Iterator[tuple[str, Any]]] | None = None

    def check(self) -> None:
        """Check that the options are compatible.

        Raises:
            ConfigError: if they are not.
        """
        if self.form and self.form not in FORMATS:
            raise ConfigError(f"--format: {self.form!r} is not one of {', '.join(FORMATS)}")
        if self.columns and self.form == LINES:
            raise ConfigError("--column goes with tables, and --format lines reads lines", "leave one of them out")
        if self.form == CONLL and not self.words:
            raise ConfigError("--format conll goes with runs that tag words", "--format lines reads lines")
        if self.columns and len(self.columns) != max(1, len(self.expected)):
            wanted = max(1, len(self.expected))
            cause = f"--column is given {len(self.columns)} time{'s'[: len(self.columns) != 1]}"
            raise ConfigError(cause, f"an input is made of {wanted} column{'s'[: wanted != 1]}")


def read(files: Sequence[Path], how: Reading) -> Iterator[Line]:
    """Yield the inputs in files, or in standard input (`-`) if there are none.

    Raises:
        DataError: if a file cannot be read, or the columns of a table are unknown; names the location.
    """
    for file in files or [Path("-")]:
        yield from _of_file(file, how)


def _of_file(file: Path, how: Reading) -> Iterator[Line]:
    name = text.name_of(file)
    with text.opened(file) as stream:
        kind = _kind(file, stream.peek(text.LOOKED_AT_BYTES), how)
        if kind == LINES:
            for number, line in enumerate(text.decoded(stream, name), 1):
                yield Line(line, f"{name}:{number}", line)
        elif kind == CONLL:
            yield from _conll(text.decoded(stream, name), name, how)
        elif kind == SQUAD and how.documents is not None:
            with _on_disk(file, ".json", stream) as path, _named(path, name):
                for place, row in how.documents(path):
                    shown = dict(zip(how.expected, row, strict=True))
                    yield Line(row, place.replace(str(path), name), shown)
        else:
            with _on_disk(file, kind, stream) as path, _named(path, name):
                yield from _table(path, kind.removesuffix(".gz"), name, how)


def _kind(file: Path, start: bytes, how: Reading) -> str:
    """Return the format of a file: lines, CoNLL columns, or the ending of a table.

    Args:
        file: its name; `-` for standard input.
        start: its first bytes.
        how: options of the user and the run.
    """
    from tformer_cli.data.files import table_kind

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
        raise DataError(f"{text.name_of(file)}: columns of words", "--format lines reads it as lines")
    return _kind_of_content(text.name_of(file), start, how)


def _kind_of_content(name: str, start: bytes, how: Reading) -> str:
    for magic, kind in MAGIC.items():
        if start.startswith(magic):
            return kind
    lines = start.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").split("\n")
    first = lines[0].removesuffix("\r")
    wanted = how.columns or how.expected
    if how.words and (all(map(_is_place, how.columns)) if how.columns else _has_word_columns(lines, how)):
        return CONLL
    if first.startswith("{"):
        row = _json_object(first)
        if row is not None and (how.columns or set(wanted) <= row.keys() or "translation" in row):
            return ".jsonl"
    for mark, kind in DELIMITERS.items():
        cells = _split(first, mark)
        if len(cells) > 1 and wanted and set(wanted) <= set(cells) and (how.columns or _is_header(lines, mark)):
            return kind
        if len(cells) > 1 and how.columns and all(map(_is_place, how.columns)):
            return kind
    if how.columns:
        cause = f"{name}: --column {how.columns[0]}, but the first line does not name such a column"
        raise DataError(cause, f"say what the file is: --format {', '.join(FORMATS[1:])}")
    return LINES


def _is_header(lines: list[str], mark: str) -> bool:
    """Return whether the first line is a header: names without spaces around them, and a row with as many cells."""
    try:
        names, row, *_ = [*csv.reader((line + "\n" for line in lines[:LOOKED_AT_LINES]), delimiter=mark), [], []]
    except csv.Error:
        return False
    return all(name == name.strip() for name in names) and len(row) in (0, len(names))


def _is_place(column: str) -> bool:
    """Return whether a column is given by its index, from 0; -1 is the last."""
    return re.fullmatch(r"-?\d{1,6}", column) is not None


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _has_word_columns(lines: list[str], how: Reading) -> bool:
    """Return whether lines are in CoNLL format: the same number of columns, and a column with known tags."""
    rows = [line.split() for line in lines[: min(LOOKED_AT_LINES, len(lines) - 1)] if not line.startswith("#")]
    rows = [row for row in rows if row and row[0] != "-DOCSTART-"]
    widths = {len(row) for row in rows}
    if len(widths) != 1 or widths == {1} or len(rows) < 2:
        return False
    return any(all(row[column] in how.known_tags for row in rows) for column in range(1, widths.pop()))


def _conll(lines: Iterator[str], name: str, how: Reading) -> Iterator[Line]:
    """Yield sentences of words: one word per line, a blank line after each sentence."""
    named = bool(how.columns)
    if named and not _is_place(how.columns[0]):
        raise ConfigError(f"--column {how.columns[0]}: columns of CoNLL files have numbers", "--column 0 is the first")
    from tformer_cli.data.conll import read_words

    column = int(how.columns[0]) if named else how.word_column
    for number, words in read_words(lines, name, how.delimiter, column, named=named):
        yield Line(words, f"{name}:{number}", words)


# --- tables ---


def _table(path: Path, kind: str, name: str, how: Reading) -> Iterator[Line]:
    from tformer_cli.cli.output import note
    from tformer_cli.data import files

    columns, names = _columns(path, kind, name, how)
    if not columns:
        return
    if not how.columns:
        note(f"{name}: read as a table, {_named_columns(columns)}")
    for at, row in files.named_rows(path, columns, setting=SETTING, names=names, kind=kind):
        place = str(at).replace(str(path), name)
        values = [_value(row, column, place, words=how.words) for column in columns]
        shown = values[0] if len(values) == 1 else dict(zip(columns, values, strict=True))
        yield Line(values[0] if len(values) == 1 else tuple(values), place, shown)


def _named_columns(columns: Sequence[str]) -> str:
    return f"column{'s'[: len(columns) != 1]} {', '.join(map(repr, columns))}"


def _value(row: dict[str, Any], column: str, place: str, *, words: bool) -> Any:
    from tformer_cli.data import files
    from tformer_cli.data.cells import MissingValue

    if words:
        from tformer_cli.data.sentences import words_of

        return words_of(_cell(row, column, place), place)
    try:
        return next(files.pick(iter([(place, row)]), [column], place, SETTING))[0]
    except MissingValue as error:
        raise DataError(error.cause, "fill it in, or remove the row") from error


def _cell(row: dict[str, Any], column: str, place: str) -> Any:
    from tformer_cli.data import files

    if column not in row:
        raise files.missing_column(place, column, row, SETTING)
    return row[column]


def _columns(path: Path, kind: str, name: str, how: Reading) -> tuple[list[str], list[str]]:
    """Return the columns to read of a table, none if it is empty, and the names of all if its first line is data.

    Raises:
        DataError: if neither the user nor the training tables determine them.
    """
    separated = kind in (".csv", ".tsv")
    there = names_there(path, kind, how.columns or how.expected, separated=separated)
    if there is None:
        return [], []
    wanted = how.columns or how.expected
    if wanted and set(wanted) <= set(there):
        return list(wanted), []
    width = len(there)
    if how.columns:
        if not (separated and all(map(_is_place, how.columns))):
            return list(how.columns), []  # an error will list the existing columns
        if not all(-width <= int(column) < width for column in how.columns):
            raise DataError(f"{name}: {width} columns, and --column {', '.join(how.columns)}", "they count from 0")
        return [str(int(column) % width) for column in how.columns], list(map(str, range(width)))
    if separated and width == len(how.names) and set(wanted) <= set(how.names):
        return list(wanted), list(how.names)
    listed = ", ".join(map(repr, there[:12])) + (", ..." if width > 12 else "")
    ask = "--column NAME" + (" for each text of a pair" if len(how.expected) > 1 else "")
    if separated:
        ask += " (or its place, from 0, if the first line is data)"
    raise DataError(f"{name}: a table with columns {listed}", f"which is to be read? {ask}, or --format lines")


def names_there(path: Path, kind: str, wanted: Sequence[str], *, separated: bool) -> list[str] | None:
    """Return the columns of a table; None if it is empty.

    Raises:
        DataError: if it cannot be read.
    """
    from tformer_cli.data import files

    if kind in files.COLUMNAR:
        names = list(files.columnar_schema(path)[0].names)
        return [*names, *wanted] if files.TRANSLATION in names else names
    if not path.stat().st_size:
        return None
    if separated:
        return _cells(next(iter(files.lines(path))), "\t" if kind.startswith(".tsv") else ",;\t|", wanted)
    for _, row in files.named_rows(path, [], setting=SETTING, kind=kind):
        nested = row.get(files.TRANSLATION)
        return [*row, *nested] if isinstance(nested, dict) else list(row)
    return None


def _cells(line: str, marks: str, wanted: Sequence[str]) -> list[str]:
    """Split the first line of a table by the delimiter that gives the wanted columns, or otherwise the most."""
    if line.startswith("sep=") and len(line) == len("sep=;"):
        return list(wanted)
    rows = [line.split("\t") if marks == "\t" else _split(line, mark) for mark in marks]
    return next((row for row in rows if wanted and set(wanted) <= set(row)), max(rows, key=len))


def _split(line: str, mark: str) -> list[str]:
    """Return the cells of a line of CSV; none if it is malformed."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=mark), [])]
    except csv.Error:
        return []


@contextmanager
def _on_disk(file: Path, kind: str, stream: IO[bytes]) -> Iterator[Path]:
    """Return a table as a file with the ending of its format: the file itself, or a copy of piped data."""
    from tformer_cli.data import files

    regular = str(file) != "-" and stat.S_ISREG(file.stat().st_mode)
    if regular and (kind not in files.COLUMNAR or files.table_kind(file) == kind):
        yield file
        return
    with tempfile.NamedTemporaryFile(prefix="tformer-", suffix=kind.removesuffix(".gz")) as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        yield Path(copy.name)


@contextmanager
def _named(path: Path, name: str) -> Iterator[None]:
    """Make errors name the file as the user gave it."""
    try:
        yield
    except DataError as error:
        if str(path) == name or str(path) not in error.cause:
            raise
        raise DataError(error.cause.replace(str(path), name), error.remedy) from error


def reading_of(task: Any, columns: tuple[str, ...], form: str) -> Reading:
    """Return the options for reading the text inputs of a task.

    Raises:
        ConfigError: if the options do not apply to it.
    """
    data = task.config.data
    reading = Reading(
        columns,
        form,
        expected=task.input_columns,
        names=tuple(getattr(data, "columns", ())),
        words=hasattr(data, "word_column"),
        word_column=getattr(data, "word_column", 0),
        delimiter=getattr(data, "delimiter", ""),
        known_tags=frozenset(getattr(task, "tags", ())),
        documents=getattr(task, "documents", None),
    )
    reading.check()
    return reading
