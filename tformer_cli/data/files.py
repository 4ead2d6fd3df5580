"""Strict readers of text and tables: every fault is an error that names the file and the line."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from tformer_cli.errors import DataError

TABLES = (".tsv", ".csv", ".jsonl", ".jsonl.gz", ".parquet")
TRANSLATION = "translation"  # the column that holds {language: text} in Hugging Face's parallel datasets


def table_kind(path: Path) -> str:
    """The ending in `TABLES` that `path` has, or ""."""
    return next((ending for ending in TABLES if path.name.endswith(ending) and path.name != ending), "")


def read_lines(path: Path) -> list[str]:
    r"""The lines of a UTF-8 file.

    Only "\n" ends a line, and one "\r" before it belongs to it; U+2028 and other separators are text. The
    last line may lack its end. A byte-order mark at the file's start is dropped.

    Raises:
        DataError: if the file cannot be read, is empty, is not UTF-8 or holds a NUL; names line and byte.
    """
    lines = _read_text(path).split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


PAIR_SETTINGS = "data.source_language, data.target_language"
"""Settings that name the columns of sentence pairs."""


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    setting: str = PAIR_SETTINGS,
    names: Sequence[str] = (),
    values: Collection[str] = (),
    kind: str = "",
) -> list[list[str]]:
    """The named columns of a TSV (no quoting), CSV, JSON-lines or Parquet file.

    TSV and CSV name their columns in the first line. JSON lines and Parquet may hold the columns in one named
    `translation`.

    Args:
        path: the file; its ending says what it is.
        columns: names.
        setting: where the names were set, for errors.
        names: of all columns, for a TSV or CSV file whose first line is data.
        values: columns that may hold numbers, truth values and lists of texts, which become text.
        kind: of `TABLES`; empty: the file's ending.

    Returns:
        The values of each column, in the order of `columns`.

    Raises:
        DataError: if a column or value is not there, or the file is malformed; names the row.
    """
    kind = kind or table_kind(path)
    if kind == ".parquet":
        return _read_parquet(path, columns, setting, values)
    rows = _json_rows(path) if kind.startswith(".jsonl") else _separated_rows(path, kind, names)
    return columns_of(rows, columns, str(path), setting, values)


def columns_of(
    rows: Iterator[tuple[str, dict[str, Any]]],
    columns: Sequence[str],
    origin: str,
    setting: str = PAIR_SETTINGS,
    values: Collection[str] = (),
) -> list[list[str]]:
    """Collect the named columns of rows.

    Args:
        rows: the place of each row, as an error would name it, and its values by column.
        columns: names; looked up in a column named `translation` if there is one and they are not there
            themselves.
        origin: what an error calls the table.
        setting: where the names were set, for errors.
        values: columns that may hold numbers, truth values and lists of texts, which become text.

    Raises:
        DataError: if a column is not there or a value is not text.
    """
    found: list[list[str]] = [[] for _ in columns]
    for place, row in rows:
        nested = row.get(TRANSLATION)
        if isinstance(nested, dict) and not all(name in row for name in columns):
            row = nested
        for column, name in zip(found, columns, strict=True):
            value = row.get(name)
            if name in values and isinstance(value, (int, float, list)):
                value = json.dumps(value, ensure_ascii=False)
            if not isinstance(value, str):
                if name not in row:
                    raise missing_column(place, name, row, setting)
                raise DataError(f"{place}: {name} is {'empty (null)' if value is None else 'not text'}")
            column.append(value)
    if found and not found[0]:
        raise DataError(f"{origin}: there are no rows")
    return found


def missing_column(place: str, name: str, columns: Any, setting: str) -> DataError:
    """The error for a column that is not there; lists those that are."""
    listed = ", ".join(map(repr, columns)) or "none"
    return DataError(
        f"{place}: no column {name!r}",
        f"columns there: {listed} ({setting})",
    )


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.name.endswith(".gz") else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file", "copy it again") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _read_text(path: Path) -> str:
    data = _read_bytes(path)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}: the file is UTF-16", "convert it to UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    if not data:
        raise DataError(f"{path}: the file is empty")
    if (nul := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise DataError(f"{path}:{line}: a NUL byte", "remove it")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)  # from 1
        cause = f"{path}:{line}: not UTF-8: byte {column} of the line is 0x{data[error.start]:02x}"
        raise DataError(cause, "convert the file to UTF-8") from error


def _separated_rows(path: Path, kind: str, names: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, str]]]:
    lines = read_lines(path)
    if kind == ".csv":
        csv.field_size_limit(2**31 - 1)
        reader = csv.reader((line + "\n" for line in lines), strict=True)
        rows = _csv_rows(path, reader)
    else:
        rows = ((number, line.split("\t")) for number, line in enumerate(lines, 1))
    if not names:
        _, names = next(rows)
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise DataError(f"{path}:1: column {min(repeated)!r} is there twice")
    for number, values in rows:
        if len(values) != len(names):
            cause = f"{path}:{number}: {len(values)} columns where {len(names)} are named"
            raise DataError(cause, "the first line, or data.columns, must name them all")
        yield f"{path}:{number}", dict(zip(names, values, strict=True))


def _csv_rows(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    line = 1
    try:
        for values in reader:
            yield line, values
            line = reader.line_num + 1  # a quoted value may span lines: a row is named by its first
    except csv.Error as error:
        raise DataError(f"{path}:{line}: malformed CSV: {error}") from error


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(read_lines(path), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON", "each line must be one JSON object") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: not a JSON object", "each line must be one JSON object")
        yield f"{path}:{number}", row


def _read_parquet(path: Path, columns: Sequence[str], setting: str, values: Collection[str]) -> list[list[str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if TRANSLATION in names and not all(name in names for name in columns):
            wanted = [TRANSLATION]
        else:
            wanted = list(dict.fromkeys(columns))
            for name in wanted:
                if name not in names:
                    raise missing_column(str(path), name, names, setting)
        return columns_of(_parquet_rows(path, file, wanted), columns, str(path), setting, values)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as Parquet: {reason}") from error


def _parquet_rows(path: Path, file: Any, wanted: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    for batch in file.iter_batches(columns=wanted):
        for row in batch.to_pylist():
            number += 1
            yield f"{path}: row {number}", row
