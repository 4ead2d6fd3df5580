"""Rows of tables as inputs of `predict`, `translate` and `tokenize`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tformer_cli.cli.reading import SETTING, Line, Reading, is_place, split_line
from tformer_cli.errors import DataError


def rows_of(path: Path, kind: str, name: str, how: Reading) -> Iterator[Line]:
    """Yield the rows of a table as inputs.

    Args:
        path: the table.
        kind: its ending.
        name: its name for the user.
        how: options for reading.

    Raises:
        DataError: if it cannot be read, its columns are unknown, or a row lacks a value; names the location.
    """
    from tformer_cli.cli.output import note
    from tformer_cli.data import files

    columns, names = _columns(path, kind, name, how)
    if not columns:
        return
    if not how.columns:
        note(f"{name}: read as a table, {_named_columns(columns)}")
    for at, row in files.named_rows(path, columns, setting=SETTING, names=names, kind=kind):
        yield _line(row, columns, str(at).replace(str(path), name), how)


def _line(row: dict[str, Any], columns: Sequence[str], place: str, how: Reading) -> Line:
    """Return a row as an input; a row without a value is an error, or an input with a fault.

    Raises:
        DataError: if a value is missing and not skipped, or is not text.
    """
    from tformer_cli.data.cells import MissingValue

    values: list[Any] = []
    fault = ""
    for column in columns:
        try:
            values.append(_value(row, column, place, words=how.words))
        except MissingValue as missing:
            if how.skip is None:
                raise DataError(missing.cause, "fill it in, or remove the row") from missing
            if not how.skip:
                raise
            values.append(None)
            fault = fault or missing.reason
    shown = values[0] if len(values) == 1 else dict(zip(columns, values, strict=True))
    return Line(values[0] if len(values) == 1 else tuple(values), place, shown, fault)


def _value(row: dict[str, Any], column: str, place: str, *, words: bool) -> Any:
    from tformer_cli.data import files

    if not words:
        return next(files.pick(iter([(place, row)]), [column], place, SETTING))[0]
    from tformer_cli.data.sentences import words_of

    if column not in row:
        raise files.missing_column(place, column, row, SETTING)
    return words_of(row[column], place, column)


def _named_columns(columns: Sequence[str]) -> str:
    return f"column{'s'[: len(columns) != 1]} {', '.join(map(repr, columns))}"


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
        if not (separated and all(map(is_place, how.columns))):
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
    rows = [line.split("\t") if marks == "\t" else split_line(line, mark) for mark in marks]
    return next((row for row in rows if wanted and set(wanted) <= set(row)), max(rows, key=len))
