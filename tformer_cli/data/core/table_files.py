"""Writing of tables: CSV, TSV, JSON lines or Parquet, by the file's ending."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tformer_cli.errors import ConfigError

WRITABLE = (".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".tsv.gz", ".jsonl.gz")
"""Endings of tables that can be written."""
ROWS_AT_ONCE = 1024


def writable_kind(path: Path, option: str) -> str:
    """Return the ending of `path` that is in `WRITABLE`.

    Raises:
        ConfigError: if it has none; names the option that gave the path.
    """
    kind = next((ending for ending in WRITABLE if path.name.lower().endswith(ending) and path.name != ending), "")
    if not kind:
        raise ConfigError(
            f"{option} {path}: not the name of a table that is written", f"end it with one of {', '.join(WRITABLE)}"
        )
    return kind


def encoded_rows(rows: Sequence[Mapping[str, Any]], kind: str) -> Iterator[bytes]:
    """Yield the content of a table's file, some rows at a time.

    Lists and mappings are JSON in CSV and TSV. TSV has no quoting: tabs and line breaks in its values become spaces.

    Args:
        rows: the rows, all with the same columns.
        kind: one of `WRITABLE`.
    """
    if kind == ".parquet":
        yield _parquet(rows)
        return
    lines = _lines(rows, kind.removesuffix(".gz"))
    if not kind.endswith(".gz"):
        yield from (line.encode("utf-8", "backslashreplace") for line in lines)
        return
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as file:  # reproducible: no name, no time
        for line in lines:
            file.write(line.encode("utf-8", "backslashreplace"))
    yield packed.getvalue()


def _lines(rows: Sequence[Mapping[str, Any]], kind: str) -> Iterator[str]:
    if kind == ".jsonl":
        for row in rows:
            yield json.dumps(row, ensure_ascii=False) + "\n"
        return
    mark, cell = (",", _quoted) if kind == ".csv" else ("\t", _unbroken)
    yield mark.join(map(cell, rows[0])) + "\n" if rows else ""
    for row in rows:
        yield mark.join(cell(_text(value)) for value in row.values()) + "\n"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _quoted(text: str) -> str:
    """Return a cell of CSV (RFC 4180), quoted if it contains quotes, commas, line breaks, or spaces at an end."""
    if text != text.strip() or any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _unbroken(text: str) -> str:
    return text.translate({ord("\t"): " ", ord("\n"): " ", ord("\r"): " "})


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    content = io.BytesIO()
    clean = [{name: _valid(value) for name, value in row.items()} for row in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(clean), content)
    return content.getvalue()


def _valid(value: Any) -> Any:
    """Return a value with valid UTF-8, since names of files may contain other bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_valid(item) for item in value]
    return value
