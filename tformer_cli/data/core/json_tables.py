"""Tables in JSON: an object per line, a list of objects, or one object that contains all rows.

One object contains the rows in a list (`{"data": [{...}, ...]}`), a list per column
(`{"text": [...], "label": [...]}`), or a table as pandas writes it, by column or with `orient="split"`. Only files that
end with `.json` may have these three forms.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tformer_cli.data.core.cells import Location
from tformer_cli.errors import DataError

FORMS = "write a list of objects, or an object per line"
SHOWN_KEYS = 5
NumberedLines = Iterable[tuple[int, str]]


def json_rows(path: Path, kind: str, lines: Iterable[str]) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Yield the rows of a table in JSON: the location and the values by column.

    Args:
        path: path of the file, for errors.
        kind: `.json` or `.jsonl`.
        lines: the lines of the file.

    Raises:
        DataError: if it is not JSON, or not a table; names the line.
    """
    text: NumberedLines = enumerate(lines, 1)
    start = next(((number, line) for number, line in text if line.strip()), None)
    if start is None:
        return
    text = itertools.chain([start], text)
    first = start[1].lstrip()
    if kind == ".jsonl" and first.startswith("["):
        cause = f"{path}:{start[0]}: a list, where each line must be an object"
        raise DataError(cause, "end the name of such a file with .json")
    if kind == ".json" and first.startswith("["):
        items = _array(path, text)
    elif kind == ".json" and first.startswith("{"):
        document, text = _document(path, text)
        if document is not None:
            for number, row in enumerate(_table(path, document), 1):
                yield Location(str(path), number, False), row
            return
        items = _lines(path, text)
    else:
        items = _lines(path, text)
    origin = str(path)
    for number, row in items:
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: not a JSON object", "each line, or item of one list, must be an object")
        yield Location(origin, number, True), row


# --- an object per line, or a list of objects ---


def _lines(path: Path, text: NumberedLines) -> Iterator[tuple[int, Any]]:
    decode = json.JSONDecoder().decode
    for number, line in text:
        if line and not line.isspace():
            try:
                yield number, decode(line)
            except (ValueError, RecursionError) as error:
                raise _no_json(path, number) from error


def _array(path: Path, text: NumberedLines) -> Iterator[tuple[int, Any]]:
    """Yield the items of a JSON list, each with the number of its first line."""
    first, decoder = 0, json.JSONDecoder()
    parts = []
    for number, line in text:
        first = first or number
        parts.append(line)
    document = "\n".join(parts)
    position, number, last = document.index("[") + 1, first, 0
    while True:
        position = _after_blanks(document, position)
        number, last = number + document.count("\n", last, position), position
        if document[position : position + 1] == "]":
            break
        try:
            item, position = decoder.raw_decode(document, position)
        except (ValueError, RecursionError) as error:
            raise _no_json(path, number) from error
        yield number, item
        position = _after_blanks(document, position)
        if document[position : position + 1] == ",":
            position += 1
        elif document[position : position + 1] != "]":
            raise _no_json(path, number + document.count("\n", last, position))
    if document[position + 1 :].strip():
        raise _no_json(path, number + 1)


def _after_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _no_json(path: Path, number: int) -> DataError:
    return DataError(f"{path}:{number}: not JSON", "each line, or item of one list, must be a JSON object")


# --- one object that contains a table ---


def _document(path: Path, text: NumberedLines) -> tuple[dict[str, Any] | None, NumberedLines]:
    """Return the single object of a file, or None and all lines if the lines are objects."""
    lines = iter(text)
    number, line = next(lines)
    read: list[tuple[int, str]] = []  # up to the next line that is not blank
    for following in lines:
        read.append(following)
        if following[1].strip():
            break
    several = bool(read) and bool(read[-1][1].strip())
    all_lines: NumberedLines = itertools.chain([(number, line)], read, lines)
    if several and _is_json(line):
        return None, all_lines
    try:
        document = json.loads("\n".join(content for _, content in all_lines))
    except (ValueError, RecursionError) as error:
        raise _no_json(path, number + getattr(error, "lineno", 1) - 1) from error
    if not several and not _must_be_table(document):
        return None, [(number, line)]
    return document, []


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _must_be_table(document: dict[str, Any]) -> bool:
    """Return whether an object on a single line is a table, not a row, which may contain lists of objects too."""
    rows = _lists_of_rows(document)
    return "data" in rows or len(rows) == len(document) == 1 or _columns(document) is not None or _is_split(document)


def _lists_of_rows(document: dict[str, Any]) -> list[str]:
    """Return the keys whose values are lists of objects."""
    return [
        key
        for key, value in document.items()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    ]


def _columns(document: dict[str, Any]) -> dict[str, list[Any]] | None:
    """Return the columns if all values are lists of one length, or objects by row number, as pandas writes them."""
    values = list(document.values())
    if len(values) > 1 and all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        return document if len(_lists_of_rows(document)) < len(values) else None  # None: several tables
    if values and all(isinstance(value, dict) and value and value.keys() == values[0].keys() for value in values):
        rows = list(values[0])  # columns may list them in different orders
        columns = {name: [value[row] for row in rows] for name, value in document.items()}
        return columns if _are_row_names(values[0]) else None
    return None


def _are_row_names(rows: dict[str, Any]) -> bool:
    """Return whether the keys are row numbers, as pandas writes them."""
    return all(key.isdigit() for key in rows)


def _is_split(document: dict[str, Any]) -> bool:
    """Return whether a document has the orientation `split` of pandas: column names, and rows as lists."""
    names, rows = document.get("columns"), document.get("data")
    if not (isinstance(names, list) and isinstance(rows, list) and rows):
        return False
    return all(isinstance(row, list) and len(row) == len(names) for row in rows)


def _may_be_row(columns: dict[str, list[Any]]) -> bool:
    """Return whether lists of one length may also be a single row: words and their tags contain no white space."""
    items = [item for column in columns.values() for item in column]
    return not any(isinstance(item, list | dict) or (isinstance(item, str) and len(item.split()) > 1) for item in items)


def _table(path: Path, document: Any) -> Iterable[dict[str, Any]]:
    """Return the rows of the table in an object.

    Raises:
        DataError: if there is no table, or several, or it may also be a row; names the keys.
    """
    if _is_split(document):
        return [dict(zip(map(str, document["columns"]), row, strict=True)) for row in document["data"]]
    keys = _lists_of_rows(document)
    if "data" in keys:
        return document["data"]
    columns = _columns(document)
    listed = ", ".join(map(repr, itertools.islice(document, SHOWN_KEYS))) + ", ..." * (len(document) > SHOWN_KEYS)
    if columns is not None:
        if columns is document and _may_be_row(columns):
            cause = f"{path}: ambiguous: the lists of its one object ({listed}) may be one row of words, or columns"
            raise DataError(cause, "for a row, end the name with .jsonl; for columns, write a list of objects")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if len(keys) == 1:
        return document[keys[0]]
    if keys:
        raise DataError(f"{path}: an object with several lists of rows: {', '.join(map(repr, keys))}", FORMS)
    raise DataError(f"{path}: one object ({listed or 'empty'}), not a table", FORMS)
