"""Rows of tables as inputs of `predict`, `translate` and `tokenize`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tformer_cli.cli.reading import SEPARATED, SETTING, Line, Reading, is_index, split_line
from tformer_cli.errors import DataError

COMPARED_ROWS = 200
"""Number of rows with which the first line is compared to detect a header."""
NAME = re.compile(r"[^\W\d][\w.-]{0,39}")
"""Pattern of names of columns, which are not numbers."""


@dataclass(frozen=True)
class Layout:
    """The columns to read of a table.

    Attributes:
        columns: names of the columns in order; empty if the table is empty.
        names: names of all columns, if the first line does not name them or its names are not used.
        skips_first: whether the first line is skipped.
        note: description for the user; empty: none is needed.
    """

    columns: list[str]
    names: list[str]
    skips_first: bool = False
    note: str = ""


def rows_of(path: Path, kind: str, name: str, how: Reading) -> Iterator[Line]:
    """Yield the rows of a table as inputs.

    Args:
        path: path of the table.
        kind: ending of its format.
        name: name of the table for the user.
        how: options for reading.

    Raises:
        DataError: if it cannot be read, its columns are unknown, or a row lacks a value; the error names the location.
    """
    from tformer_cli.cli.output import note
    from tformer_cli.data.core import files

    layout = _layout(path, kind, name, how)
    if not layout.columns:
        return
    if layout.note:
        note(f"{name}: read as a table, {layout.note}")
    rows = files.named_rows(path, layout.columns, setting=SETTING, names=layout.names, kind=kind)
    for position, row in islice(rows, int(layout.skips_first), None):
        yield _line(row, layout.columns, str(position).replace(str(path), name), how)


def _line(row: dict[str, Any], columns: Sequence[str], location: str, how: Reading) -> Line:
    """Return a row as an input; a row without a value or valid text is an error, or an input with a fault.

    Raises:
        DataError: if a value is missing or not valid text, and is not skipped; or is not text.
    """
    from tformer_cli.data.core.cells import BadRow

    values: list[Any] = []
    fault = ""
    for column in columns:
        try:
            values.append(_value(row, column, location, words=how.words))
        except BadRow as bad:
            if how.skip is None:
                raise DataError(bad.cause, f"{bad.repair}, or remove the row") from bad
            if not how.skip:
                raise
            values.append(None)
            fault = fault or bad.reason
    shown = values[0] if len(values) == 1 else dict(zip(columns, values, strict=True))
    return Line(values[0] if len(values) == 1 else tuple(values), location, shown, fault)


def _value(row: dict[str, Any], column: str, location: str, *, words: bool) -> Any:
    from tformer_cli.data.core import files

    if not words:
        return next(files.pick(iter([(location, row)]), [column], location, SETTING))[0]
    from tformer_cli.data.text.sentences import words_of

    if column not in row:
        raise files.missing_column(location, column, row, SETTING)
    return words_of(row[column], location, column)


def _named_columns(columns: Sequence[str]) -> str:
    return f"column{'s'[: len(columns) != 1]} {', '.join(map(repr, columns))}"


def _layout(path: Path, kind: str, name: str, how: Reading) -> Layout:
    """Return the columns to read of a table.

    Raises:
        DataError: if neither the user nor the training tables determine them.
    """
    separated, columns = kind in SEPARATED, how.columns or how.expected
    names = column_names(path, kind, columns, separated=separated)
    if names is None:
        return Layout([], [])
    by_index = separated and len(how.columns) > 0 and all(map(is_index, how.columns))
    is_header = how.header or (how.header is None and (not by_index or _has_training_columns(names, how)))
    if columns and is_header and set(columns) <= set(names):
        return Layout(list(columns), [], note="" if how.columns else _named_columns(columns))
    if by_index:
        return _by_index(path, kind, name, how, names)
    if how.columns:
        return Layout(list(how.columns), [])  # an error will list the existing columns
    if separated and not how.header and len(names) == len(how.names) and set(columns) <= set(how.names):
        return Layout(list(columns), list(how.names), note=_named_columns(columns))
    listed = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
    option = "--column NAME" + (" for each text of a pair" if len(how.expected) > 1 else "")
    if separated:
        option += " (or its index, from 0)"
    raise DataError(f"{name}: a table with columns {listed}", f"which is to be read? {option}, or --format lines")


def _has_training_columns(first: Sequence[str], how: Reading) -> bool:
    return bool(how.expected) and set(how.expected) <= set(first)


def _by_index(path: Path, kind: str, name: str, how: Reading, first: list[str]) -> Layout:
    """Return the columns that the user gave by index, and whether the first line is a header.

    Raises:
        DataError: if there are fewer columns.
    """
    width = len(first)
    if not all(-width <= int(column) < width for column in how.columns):
        size = f"{width} column{'s'[: width != 1]}"
        cause = f"{name}: --column {', '.join(how.columns)}: the table has {size}"
        raise DataError(cause, "indices start at 0")
    indices, names = [int(column) % width for column in how.columns], list(map(str, range(width)))
    header = how.header
    if header is None:
        header = _has_training_columns(first, how) or _are_names(path, kind, first, names)
    note = f"column{'s'[: len(indices) != 1]} {', '.join(map(str, indices))}"
    if header:
        note += f" ({', '.join(repr(first[index]) for index in indices)}); the first line names the columns"
        note += "" if how.header else " (if it is data: --no-header)"
    else:
        note += "; the first line is data" + ("" if how.header is False else " (if it names the columns: --header)")
    return Layout(list(map(str, indices)), names, header, note)


def _are_names(path: Path, kind: str, first: list[str], indices: list[str]) -> bool:
    """Return whether the first line looks like a header.

    Its cells are then names, no column contains its name again, and at least half of the values of one column are
    numbers or sentences.
    """
    from tformer_cli.data.core import files

    if not all(map(NAME.fullmatch, first)) or len(set(first)) < len(first):
        return False
    rows: list[list[str]] = []
    with suppress(DataError):  # raised again when that row is read
        for _, row in islice(files.named_rows(path, [], setting=SETTING, names=indices, kind=kind), COMPARED_ROWS):
            rows.append([value.strip() for value in row.values()])  # noqa: PERF401 - rows before an error are kept
    columns = list(zip(*rows[1:], strict=True))
    if any(name in column for name, column in zip(first, columns, strict=False)):
        return False
    return any(2 * sum(map(bool, map(NAME.fullmatch, column))) <= len(column) for column in columns)


def column_names(path: Path, kind: str, expected: Sequence[str], *, separated: bool) -> list[str] | None:
    """Return the names of the columns of a table; None if it is empty.

    Args:
        path: path of the table.
        kind: ending of its format.
        expected: columns that it should have; they determine the delimiter of CSV.
        separated: whether it is CSV or TSV.

    Raises:
        DataError: if it cannot be read.
    """
    from tformer_cli.data.core import files

    if kind in files.COLUMNAR:
        names = list(files.columnar_schema(path)[0].names)
        return [*names, *expected] if files.TRANSLATION in names else names
    if not path.stat().st_size:
        return None
    if separated:
        lines = list(islice(filter(None, files.lines(path)), 2))  # empty lines may precede the names
        if not lines:
            return None
        first, *second = lines
        if first.startswith("sep=") and len(first) == len("sep=;"):  # written by Excel
            return split_line(second[0], first[-1]) if second else None
        return _cells(first, "\t" if kind.startswith(".tsv") else ",;\t|", expected)
    for _, row in files.named_rows(path, [], setting=SETTING, kind=kind):
        nested = row.get(files.TRANSLATION)
        return [*row, *nested] if isinstance(nested, dict) else list(row)
    return None


def _cells(line: str, delimiters: str, expected: Sequence[str]) -> list[str]:
    """Split the first line of a table by the delimiter that gives the expected columns, or else the most columns."""
    rows = [line.split("\t") if delimiters == "\t" else split_line(line, delimiter) for delimiter in delimiters]
    return next((row for row in rows if expected and set(expected) <= set(row)), max(rows, key=len))
