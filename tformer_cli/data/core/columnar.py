"""Tables that are stored by column: Parquet and Arrow."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.data.core.cells import Location, has_short_floats, missing_column, shortest
from tformer_cli.data.core.columnar_sizes import VALUE_BYTES, check_messages, check_type, pieces, plain, viewed_bytes
from tformer_cli.data.core.parquet_pages import pages, row_groups
from tformer_cli.errors import DataError
from tformer_cli.raw_lines import check_expansion
from tformer_cli.regular_files import open_regular

if TYPE_CHECKING:
    import pyarrow.parquet

COLUMNAR = (".parquet", ".arrow", ".feather")
ROWS_AT_ONCE, PARQUET_BUFFER_BYTES = 256, 1 << 20  # limits of what is in memory at once
BATCH_BYTES = 128 << 20
"""Maximum unpacked size of the rows read at once, unless a single one is larger."""
ARROW_MAGIC, OLD_FEATHER_MAGIC = b"ARROW1", b"FEA1"


@contextlib.contextmanager
def _columnar_errors(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, EOFError, ValueError, struct.error, AssertionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
        raise DataError(f"{path}: cannot be read as {kind}: {reason}") from error


def columnar_rows(path: Path, selected: list[str], setting: str, rows_at_once: int) -> Iterator[tuple[Location, dict]]:
    """Yield the rows of a Parquet or Arrow file, in the form of `files.named_rows`.

    Rows are unpacked some at a time. A file is refused before it is unpacked to far more than its size.
    """
    number, unpacked, origin = 0, 0, str(path)
    with _columnar_errors(path):
        schema, size = columnar_schema(path)[0], path.stat().st_size
        for name in selected:
            if name not in schema.names:
                raise missing_column(str(path), name, schema.names, setting)
            check_type(path, name, schema.field(name).type)
        batches = _parquet_batches if path.suffix.lower() == ".parquet" else _arrow_batches
        for batch in batches(path, selected, rows_at_once):
            short = [field.name for field in batch.schema if has_short_floats(str(field.type))]
            for piece, piece_size in pieces(batch):
                unpacked += piece_size
                check_expansion(path, unpacked, size)
                for row in plain(piece).to_pylist():
                    number += 1
                    short_values = {column: shortest(row[column]) for column in short}
                    yield Location(origin, number, False), row | short_values if short else row


def columnar_schema(path: Path) -> tuple[pyarrow.Schema, int]:
    """Return the schema and the number of rows of a Parquet or Arrow file.

    Raises:
        DataError: if the file cannot be read as what its ending says.
    """
    with _columnar_errors(path):
        open_regular(path).close()
        if path.suffix.lower() != ".parquet":
            with _arrow_file(path) as (schema, num_rows, _):
                _ = schema.names  # raises ValueError if the names of a damaged file are not UTF-8
                return schema, num_rows
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows


def _parquet_batches(path: Path, selected: list[str], rows_at_once: int) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow.parquet

    options: dict[str, Any] = {"buffer_size": PARQUET_BUFFER_BYTES, "pre_buffer": False}
    with pyarrow.parquet.ParquetFile(path) as file:
        metadata = file.metadata
    leaves = [
        number for number in range(metadata.num_columns) if _belongs(metadata.schema.column(number).path, selected)
    ]
    lists = [leaf.path for leaf in map(metadata.schema.column, leaves) if leaf.max_repetition_level]
    claimed, size = 0, path.stat().st_size
    with (
        open_regular(path) as raw,
        pyarrow.parquet.ParquetFile(path, metadata=metadata, read_dictionary=lists, **options) as file,
    ):
        for number, chunks in enumerate(row_groups(raw)):
            largest = 1
            if len(chunks) != metadata.num_columns:
                raise ValueError(f"row group {number + 1} has {len(chunks)} of {metadata.num_columns} columns")
            for leaf in leaves:
                for page in pages(raw, chunks[leaf]):
                    claimed += page.size + VALUE_BYTES * page.num_values
                    check_expansion(path, claimed, size)
                    largest = max(largest, page.size)  # no value is larger than its page, and a dictionary repeats it
            rows = max(1, min(rows_at_once, BATCH_BYTES // largest))
            yield from file.iter_batches(rows, row_groups=[number], columns=selected, use_threads=False)


def _belongs(leaf: str, columns: list[str]) -> bool:
    """Return whether a leaf of Parquet's schema is one of the columns, or a part of one."""
    return any(leaf == column or leaf.startswith(f"{column}.") for column in columns)


def _arrow_batches(path: Path, selected: list[str], rows_at_once: int) -> Iterator[pyarrow.RecordBatch]:
    shown, size = 0, path.stat().st_size
    with _arrow_file(path) as (_, _, batches):
        for batch in batches:
            chosen = batch.select(selected)
            shown += sum(map(viewed_bytes, chosen.columns))
            check_expansion(path, shown, size)  # before the validation, which reads everything that views refer to
            chosen.validate(full=True)
            for start in range(0, chosen.num_rows, rows_at_once):
                yield chosen.slice(start, rows_at_once)


@contextlib.contextmanager
def _arrow_file(path: Path) -> Iterator[tuple[pyarrow.Schema, int, Iterator[pyarrow.RecordBatch]]]:
    """Open a memory-mapped Arrow file: return its schema, its number of rows and an iterator over its record batches.

    The file has the random-access format, which Feather has too, or the streaming format, which `datasets` writes.

    Raises:
        DataError: if it has version 1 of Feather, or its buffers claim to unpack to far more than the file's size.
    """
    import pyarrow

    with pyarrow.memory_map(str(path)) as source:
        start = source.read(len(ARROW_MAGIC))
        if start.startswith(OLD_FEATHER_MAGIC):
            cause = f"{path}: Feather version 1, which pyarrow no longer writes"
            raise DataError(cause, "write it again with a newer pandas or pyarrow, or as Parquet")
        num_rows = check_messages(path, source)
        source.seek(0)
        if start == ARROW_MAGIC:
            file = pyarrow.ipc.open_file(source)
            yield file.schema, num_rows, (file.get_batch(number) for number in range(file.num_record_batches))
        else:
            stream = pyarrow.ipc.open_stream(source)
            yield stream.schema, num_rows, iter(stream)
