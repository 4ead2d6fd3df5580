"""Strict readers of text and tables: every fault is an error that names the file and the line."""

from __future__ import annotations

import contextlib
import csv
import gzip
import itertools
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tformer_cli.data.core.cells import (
    BadRow,
    Gate,
    Location,
    Locations,
    cell_text,
    invalid_character,
    missing_column,
    schema_class_names,
)
from tformer_cli.data.core.columnar import COLUMNAR, ROWS_AT_ONCE, columnar_rows, columnar_schema
from tformer_cli.data.core.json_tables import json_rows
from tformer_cli.errors import DataError, unreadable
from tformer_cli.raw_lines import decoded_lines, line_blocks, without_mark
from tformer_cli.regular_files import open_regular

TABLES = (".tsv", ".csv", ".jsonl", ".tsv.gz", ".csv.gz", ".jsonl.gz", *COLUMNAR)
"""Endings of the tables that are looked for in a folder."""
READABLE = (*TABLES, ".json", ".json.gz")
"""Endings of readable tables, including one that other files have too."""
DELIMITERS = ";\t|"
"""Delimiters of CSV files other than commas, which spreadsheets write in many countries."""
MOST_CELL_CHARACTERS = 64 << 20
"""Longest value of a CSV file; an unclosed quote would otherwise read the rest of the file."""
SPACED_LINES = 200
"""Number of lines of a CSV file without a header that decide whether spaces follow its delimiters."""
DOUBLED = 'within a quoted value, write a quote twice: ""'
TRANSLATION = "translation"  # the column that holds {language: text} in Hugging Face's parallel datasets


def table_kind(path: Path) -> str:
    """Return the ending of `path` that is in `READABLE`, in capitals or small letters, or ""."""
    name = path.name.lower()
    return next((ending for ending in READABLE if name.endswith(ending) and name != ending), "")


def lines(path: Path) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 file, which is gzipped if its name ends with .gz.

    Only "\n" ends a line, and a "\r" before it is removed; U+2028 and other separators are text. The last line may
    lack its end. A byte-order mark at the start of the file is removed.

    Raises:
        DataError: if the file cannot be read, is empty, is not UTF-8, or contains a NUL or a line that is too long;
            names line and byte.
    """
    count = 0
    for block in _line_blocks(path):
        text = block if count else without_mark(block, path)
        if text:
            yield from decoded_lines(text, path, count + 1)
            count += text.count(b"\n") + (not text.endswith(b"\n"))
    if not count:
        raise DataError(f"{path}: the file is empty", "write it again, or choose another")


def read_lines(path: Path) -> list[str]:
    """Return all lines of a UTF-8 file, as `lines` yields them."""
    return list(lines(path))


def _line_blocks(path: Path) -> Iterator[bytes]:
    try:
        with open_regular(path) as file, gzip.open(file) if path.name.lower().endswith(".gz") else file as stream:
            yield from line_blocks(stream, path, size=max(1, path.stat().st_size))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file", "copy it again") from error
    except OSError as error:
        raise unreadable(path, error) from error


PAIR_SETTINGS = "data.source_language, data.target_language"
"""Settings that name the columns of sentence pairs."""


def table_rows(
    path: Path,
    columns: Sequence[str],
    *,
    setting: str = PAIR_SETTINGS,
    names: Sequence[str] | None = (),
    values: Collection[str] = (),
    kind: str = "",
    gate: Gate | None = None,
    blank: Collection[str] = (),
    locations: Locations | None = None,
) -> Iterator[list[str]]:
    """Yield the named columns of a TSV (no quoting), CSV, JSON, Parquet or Arrow file, row by row.

    TSV and CSV name their columns in the first line. JSON is an object per line, a list of objects, or a form that
    `json_tables` reads. JSON, Parquet and Arrow may contain the columns within one named `translation`.

    Args:
        path: the file; its ending gives the format.
        columns: names of the columns to read.
        setting: setting that names the columns, for errors.
        names: names of all columns, for a TSV or CSV file whose first line is data; None: there is no such setting.
        values: columns that may contain numbers, Booleans, classes and lists, which are converted to text.
        kind: one of `READABLE`; empty: the file's ending.
        gate: see `pick`.
        blank: see `pick`.
        locations: see `pick`.

    Yields:
        The values of each row, in the order of `columns`.

    Raises:
        DataError: if a column or value is missing, or the file is malformed; names the row.
    """
    rows = named_rows(path, columns, setting=setting, names=names, kind=kind)
    classes = table_class_names(path, kind)
    return pick(rows, columns, str(path), setting, values, gate=gate, blank=blank, locations=locations, classes=classes)


def table_class_names(path: Path, kind: str = "") -> dict[str, list[str]]:
    """Return the class names of a table by column, if `datasets` stored them in it."""
    return schema_class_names(columnar_schema(path)[0].metadata) if (kind or table_kind(path)) in COLUMNAR else {}


def named_rows(
    path: Path,
    columns: Sequence[str],
    *,
    setting: str,
    names: Sequence[str] | None = (),
    kind: str = "",
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Yield the rows of a table: the location of each, for error messages, and its values by column.

    Args:
        path: see `table_rows`.
        columns: see `table_rows`; Parquet and Arrow give these columns, other formats give all.
        setting: see `table_rows`.
        names: see `table_rows`.
        kind: see `table_rows`.
        rows_at_once: number of rows in memory.

    Raises:
        DataError: if a column is missing (all formats but JSON), or the file is malformed; names the row.
    """
    kind = (kind or table_kind(path)).removesuffix(".gz")
    if kind in COLUMNAR:
        selected = [TRANSLATION] if _is_nested(path, columns) else list(dict.fromkeys(columns))
        return columnar_rows(path, selected, setting, rows_at_once)
    if kind in (".json", ".jsonl"):
        return json_rows(path, kind, lines(path))
    return _separated_rows(path, kind, columns, setting, names)


def _is_nested(path: Path, columns: Sequence[str]) -> bool:
    """Return whether a Parquet or Arrow file has the columns within one named `translation`."""
    names = columnar_schema(path)[0].names
    return TRANSLATION in names and not all(name in names for name in columns)


def transpose(rows: Iterable[list[str]], columns: int) -> list[list[str]]:
    """Return the columns of rows, as lists."""
    table: list[list[str]] = [[] for _ in range(columns)]
    for row in rows:
        for column, value in zip(table, row, strict=True):
            column.append(value)
    return table


def pick(
    rows: Iterable[tuple[Location | str, dict[str, Any]]],
    columns: Sequence[str],
    origin: str,
    setting: str = PAIR_SETTINGS,
    values: Collection[str] = (),
    *,
    gate: Gate | None = None,
    blank: Collection[str] = (),
    locations: Locations | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[list[str]]:
    """Yield the named columns of rows, in the order of `columns`.

    Args:
        rows: the location of each row, for error messages, and its values by column.
        columns: names of the columns; if they do not exist, they are looked up within a column named `translation`.
        origin: name of the table in error messages.
        setting: setting that names the columns, for errors.
        values: columns that may contain numbers, Booleans, classes and lists, which are converted to text.
        gate: decides which values are missing and whether their rows are skipped; None: null and NaN are errors.
        blank: columns in which empty text is not a missing value.
        locations: collects the location of each row that is yielded.
        classes: class names by column, if numbers are class indices.

    Raises:
        DataError: if a column is missing, or a value is missing, not text or not valid text.
    """
    if gate is None:
        gate, blank = Gate(), columns
    empty, seen, classes, markers = True, set(), classes or {}, gate.markers
    cells = [(name, {"label": name in values, "names": classes.get(name), "blank": name in blank}) for name in columns]
    for location, row in rows:
        empty = False
        if TRANSLATION in row:
            nested = row[TRANSLATION]
            if isinstance(nested, dict) and not all(name in row for name in columns):
                row = nested
        try:
            picked = []
            for name, options in cells:
                value = row.get(name)
                if name not in seen:
                    if name not in row:
                        raise missing_column(location, name, row, setting)
                    seen.add(name)
                text = value.strip() if type(value) is str else ""  # nearly all cells are text that is its own value
                if not text or text in markers or invalid_character(text):
                    value = cell_text(value, location, name, gate, **options)
                picked.append(value)
        except BadRow as bad:
            gate.refuse(bad)
            continue
        if locations is not None and isinstance(location, Location):
            locations.append(location)
        yield picked
    if empty:
        raise DataError(f"{origin}: there are no rows")


def _separated_rows(
    path: Path, kind: str, columns: Sequence[str], setting: str, header_names: Sequence[str] | None
) -> Iterator[tuple[Location, dict[str, str]]]:
    text = enumerate(lines(path), 1)
    if not header_names or len(header_names) > 1:  # an empty line is no row
        text = itertools.dropwhile(lambda numbered: not numbered[1], text)
    if kind == ".csv":
        rows = _csv_rows(path, text, columns, header_names)
    else:
        rows = ((number, line.split("\t")) for number, line in text)
    first, header = (1, header_names) if header_names else next((row for row in rows if row[1]), (1, []))
    if not header:
        raise DataError(f"{path}: there are no rows")
    names = [name.strip() for name in header]
    origin, width = str(path), len(names)
    counts = Counter(names)
    for column in columns:
        if counts[column] > 1:
            raise DataError(f"{path}:{first}: column {column!r} is there twice", "rename one of them")
        if column not in counts:
            raise missing_column(
                f"{path}:{first}", column, names, setting, _unnamed(header_names, columns, kind, names, setting)
            )
    for number, values in rows:
        if len(values) != width:
            if len(names) > 1 and values in ([], [""]):  # an empty line
                continue
            if values:
                cause = f"{path}:{number}: {len(values)} columns, but {len(names)} column names"
                raise DataError(cause, "name all columns in the first line or in data.columns")
        yield Location(origin, number, True), dict(zip(names, values or [""], strict=True))


def _unnamed(
    header_names: Sequence[str] | None, columns: Sequence[str], kind: str, names: Sequence[str], setting: str
) -> str:
    """Return the remedy if the first line does not name the columns, or another delimiter separates them."""
    if header_names:
        return ""
    if names[0].startswith("{"):
        return "; for JSON lines, end the name with .jsonl"
    if len(names) == 1 and (mark := next((mark for mark in ",;|" if mark in names[0]), "")):
        return f"; are columns separated by {mark!r}? Write {'a tab' if kind == '.tsv' else 'a comma'}"
    if header_names is None:
        return "; the first line must name the columns"
    if setting.startswith("--"):
        return f"; if the first line is data, a column's place counts from 0: {setting} 0"
    return f"; if the first line is data, name its columns: data.columns=[{','.join(columns)}]"


def _csv_rows(
    path: Path, text: Iterator[tuple[int, str]], columns: Sequence[str], header_names: Sequence[str] | None
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file, each with the number of its first line; a quoted value may span lines."""
    csv.field_size_limit(MOST_CELL_CHARACTERS)
    first, head = next(text, (1, ""))
    skipped = first - 1
    delimiter = _delimiter(head, columns, header_names)
    sample = list(itertools.islice(text, SPACED_LINES)) if header_names else []
    text = itertools.chain(sample, text)
    csv_lines = (line + "\n" for _, line in text)
    if head.startswith("sep=") and len(head) == len("sep=;"):  # written by Excel
        delimiter, skipped = head[-1], first
    else:
        csv_lines = itertools.chain([head + "\n"], csv_lines)
    # Leading spaces belong to a value, as in csv.reader, unless the header has some or a quote may follow them. Without
    # a header, a single row does not decide, as its value may begin with spaces.
    spaced = _are_spaced([head, *(line for _, line in sample)], delimiter) if header_names else f"{delimiter} " in head
    line = 1 + skipped
    try:
        for first_line in csv_lines:
            row_lines, skips = itertools.chain([first_line], csv_lines), spaced or '"' in first_line
            reader = csv.reader(row_lines, delimiter=delimiter, strict=True, skipinitialspace=skips)
            yield line, next(reader)
            line += reader.line_num
    except csv.Error as error:
        raise _malformed_csv(path, line, str(error)) from error


def _are_spaced(lines: Iterable[str], delimiter: str) -> bool:
    """Return whether a space follows every delimiter in lines; those with quotes do not count."""
    text = "\n".join(line for line in lines if '"' not in line)
    return 0 < text.count(delimiter) == text.count(f"{delimiter} ")


def _malformed_csv(path: Path, line: int, reason: str) -> DataError:
    """Return the error for a malformed row of a CSV file, in terms of the format instead of Python's reader."""
    location = f"{path}:{line}: malformed CSV"
    if reason == "unexpected end of data":
        return DataError(f"{location}: a quote that opens in this row is never closed", f"close it; {DOUBLED}")
    if reason.startswith("field larger than"):
        cause = f"{location}: a value of more than {MOST_CELL_CHARACTERS:,} characters begins in this row"
        return DataError(cause, "if a quote in it is never closed, close it")
    if "expected after" in reason:
        return DataError(f"{location}: text after a closing quote", DOUBLED)
    if reason.startswith("new-line character seen"):
        return DataError(f"{location}: a carriage return within a value", "quote the value, or remove it")
    return DataError(f"{location}: {reason}")


def _delimiter(head: str, columns: Sequence[str], header_names: Sequence[str] | None) -> str:
    """Return the delimiter: a comma, unless only another one gives the columns, or as many as are named."""

    def fits(mark: str) -> bool:
        names = next(csv.reader([head], delimiter=mark), [])
        if header_names or not columns:  # without either, there are at least two columns, if a delimiter makes them
            return len(names) == len(header_names) if header_names else len(names) > 1
        return {name.strip() for name in names}.issuperset(columns)

    with contextlib.suppress(csv.Error):
        return "," if fits(",") else next((mark for mark in DELIMITERS if fits(mark)), ",")
    return ","
