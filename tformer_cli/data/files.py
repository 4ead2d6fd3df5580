"""Strict readers of text and tables: every fault is an error that names the file and the line."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.errors import DataError

if TYPE_CHECKING:
    import pyarrow

COLUMNAR = (".parquet", ".arrow")
TABLES = (".tsv", ".csv", ".jsonl", ".jsonl.gz", *COLUMNAR)
ROWS_AT_ONCE, PARQUET_BUFFER_BYTES = 256, 1 << 20  # of what is in memory at once
ARROW_MAGIC = b"ARROW1"
TRANSLATION = "translation"  # the column that holds {language: text} in Hugging Face's parallel datasets


def table_kind(path: Path) -> str:
    """The ending in `TABLES` that `path` has, or ""."""
    return next((ending for ending in TABLES if path.name.endswith(ending) and path.name != ending), "")


def lines(path: Path) -> Iterator[str]:
    r"""The lines of a UTF-8 file, gzipped if its name ends so, one at a time.

    Only "\n" ends a line, and one "\r" before it belongs to it; U+2028 and other separators are text. The
    last line may lack its end. A byte-order mark at the file's start is dropped.

    Raises:
        DataError: if the file cannot be read, is empty, is not UTF-8 or holds a NUL; names line and byte.
    """
    number = 0
    for number, data in enumerate(_raw_lines(path), 1):
        if number == 1:
            if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise DataError(f"{path}: the file is UTF-16", "convert it to UTF-8")
            data = data.removeprefix(codecs.BOM_UTF8)
            if not data:
                break
        if b"\0" in data:
            raise DataError(f"{path}:{number}: a NUL byte", "remove it")
        try:
            line = data.decode()
        except UnicodeDecodeError as error:
            wrong = f"byte {error.start + 1} of the line is 0x{data[error.start]:02x}"
            raise DataError(f"{path}:{number}: not UTF-8: {wrong}", "convert the file to UTF-8") from error
        yield line.removesuffix("\n").removesuffix("\r")
    else:
        if number:
            return
    raise DataError(f"{path}: the file is empty")


def read_lines(path: Path) -> list[str]:
    """All lines of a UTF-8 file, as `lines` gives them."""
    return list(lines(path))


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as stream:
            yield from stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file", "copy it again") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


PAIR_SETTINGS = "data.source_language, data.target_language"
"""Settings that name the columns of sentence pairs."""


def table_rows(
    path: Path,
    columns: Sequence[str],
    *,
    setting: str = PAIR_SETTINGS,
    names: Sequence[str] = (),
    values: Collection[str] = (),
    kind: str = "",
) -> Iterator[list[str]]:
    """The named columns of a TSV (no quoting), CSV, JSON-lines, Parquet or Arrow file, a row at a time.

    TSV and CSV name their columns in the first line. The others may hold the columns in one named `translation`.

    Args:
        path: the file; its ending says what it is.
        columns: names.
        setting: where the names were set, for errors.
        names: of all columns, for a TSV or CSV file whose first line is data.
        values: columns that may hold numbers, truth values and lists of texts, which become text.
        kind: of `TABLES`; empty: the file's ending.

    Yields:
        The values of each row, in the order of `columns`.

    Raises:
        DataError: if a column or value is not there, or the file is malformed; names the row.
    """
    rows = named_rows(path, columns, setting=setting, names=names, kind=kind)
    return pick(rows, columns, str(path), setting, values)


def named_rows(
    path: Path,
    columns: Sequence[str],
    *,
    setting: str,
    names: Sequence[str] = (),
    kind: str = "",
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table as they are: the place of each, as an error would name it, and its values by column.

    Args:
        path: as `table_rows`.
        columns: as `table_rows`; Parquet and Arrow give these columns, the others all.
        setting: as `table_rows`.
        names: as `table_rows`.
        kind: as `table_rows`.
        rows_at_once: in memory.

    Raises:
        DataError: if a column is not there (Parquet, Arrow), or the file is malformed; names the row.
    """
    kind = kind or table_kind(path)
    if kind in COLUMNAR:
        return _columnar_rows(path, kind, columns, setting, rows_at_once)
    return _json_rows(path) if kind.startswith(".jsonl") else _separated_rows(path, kind, names)


def transpose(rows: Iterable[list[str]], columns: int) -> list[list[str]]:
    """The columns of rows, in memory."""
    found: list[list[str]] = [[] for _ in range(columns)]
    for row in rows:
        for column, value in zip(found, row, strict=True):
            column.append(value)
    return found


def pick(
    rows: Iterator[tuple[str, dict[str, Any]]],
    columns: Sequence[str],
    origin: str,
    setting: str = PAIR_SETTINGS,
    values: Collection[str] = (),
) -> Iterator[list[str]]:
    """The named columns of rows, in their order.

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
    empty = True
    for place, row in rows:
        nested = row.get(TRANSLATION)
        if isinstance(nested, dict) and not all(name in row for name in columns):
            row = nested
        found = []
        for name in columns:
            value = row.get(name)
            if name in values and isinstance(value, (int, float, list)):
                value = json.dumps(value, ensure_ascii=False)
            if not isinstance(value, str):
                if name not in row:
                    raise missing_column(place, name, row, setting)
                raise DataError(f"{place}: {name} is {'empty (null)' if value is None else 'not text'}")
            found.append(value)
        empty = False
        yield found
    if empty:
        raise DataError(f"{origin}: there are no rows")


def missing_column(place: str, name: str, columns: Any, setting: str) -> DataError:
    """The error for a column that is not there; lists those that are."""
    listed = ", ".join(map(repr, columns)) or "none"
    return DataError(
        f"{place}: no column {name!r}",
        f"columns there: {listed} ({setting})",
    )


def _separated_rows(path: Path, kind: str, names: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, str]]]:
    text = lines(path)
    if kind == ".csv":
        csv.field_size_limit(2**31 - 1)
        reader = csv.reader((line + "\n" for line in text), strict=True)
        rows = _csv_rows(path, reader)
    else:
        rows = ((number, line.split("\t")) for number, line in enumerate(text, 1))
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
    for number, line in enumerate(lines(path), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON", "each line must be one JSON object") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: not a JSON object", "each line must be one JSON object")
        yield f"{path}:{number}", row


@contextlib.contextmanager
def _columnar_errors(path: Path, kind: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as {kind.removeprefix('.').capitalize()}: {reason}") from error


def _columnar_rows(
    path: Path, kind: str, columns: Sequence[str], setting: str, rows_at_once: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    with _columnar_errors(path, kind):
        names = columnar_schema(path)[0].names
        if TRANSLATION in names and not all(name in names for name in columns):
            wanted = [TRANSLATION]
        else:
            wanted = list(dict.fromkeys(columns))
            for name in wanted:
                if name not in names:
                    raise missing_column(str(path), name, names, setting)
        batches = _arrow_batches if kind == ".arrow" else _parquet_batches
        for batch in batches(path, wanted, rows_at_once):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row


def columnar_schema(path: Path) -> tuple[pyarrow.Schema, int]:
    """The columns of a Parquet or Arrow file with their types, and its number of rows.

    Raises:
        DataError: if the file cannot be read as what its ending says.
    """
    kind = table_kind(path)
    with _columnar_errors(path, kind):
        if kind == ".arrow":
            with _arrow_file(path) as (schema, batches):
                return schema, sum(batch.num_rows for batch in batches)
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows


def _parquet_batches(path: Path, wanted: list[str], rows_at_once: int) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False) as file:
        yield from file.iter_batches(rows_at_once, columns=wanted, use_threads=False)


def _arrow_batches(path: Path, wanted: list[str], rows_at_once: int) -> Iterator[pyarrow.RecordBatch]:
    with _arrow_file(path) as (_, batches):
        for batch in batches:
            chosen = batch.select(wanted)
            chosen.validate(full=True)
            for start in range(0, chosen.num_rows, rows_at_once):
                yield chosen.slice(start, rows_at_once)


@contextlib.contextmanager
def _arrow_file(path: Path) -> Iterator[tuple[pyarrow.Schema, Iterator[pyarrow.RecordBatch]]]:
    """An Arrow file, mapped; of the random-access format or, as `datasets` writes it, of the streaming one."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as source:
        if source.read(len(ARROW_MAGIC)) == ARROW_MAGIC:
            file = pyarrow.ipc.open_file(source)
            yield file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
        else:
            source.seek(0)
            stream = pyarrow.ipc.open_stream(source)
            yield stream.schema, iter(stream)
