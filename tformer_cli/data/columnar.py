"""Tables that are stored by column: Parquet and Arrow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.data.cells import Place, has_short_floats, missing_column, shortest
from tformer_cli.errors import DataError
from tformer_cli.raw_lines import check_expansion
from tformer_cli.regular import open_regular

if TYPE_CHECKING:
    import pyarrow

COLUMNAR = (".parquet", ".arrow")
ROWS_AT_ONCE, PARQUET_BUFFER_BYTES = 256, 1 << 20  # in memory at once
FEW_ROWS, MOST_BATCH_BYTES = 8, 1 << 30
ARROW_MAGIC = b"ARROW1"


@contextlib.contextmanager
def _columnar_errors(path: Path, kind: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as {kind.removeprefix('.').capitalize()}: {reason}") from error


def columnar_rows(
    path: Path, kind: str, wanted: list[str], setting: str, rows_at_once: int
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the rows of a Parquet or Arrow file in the form of `files.named_rows`."""
    number = unpacked = 0
    with _columnar_errors(path, kind):
        names = columnar_schema(path)[0].names
        for name in wanted:
            if name not in names:
                raise missing_column(str(path), name, names, setting)
        batches = _arrow_batches if kind == ".arrow" else _parquet_batches
        for batch in batches(path, wanted, rows_at_once):
            unpacked += batch.nbytes
            check_expansion(path, unpacked, path.stat().st_size)
            short = [field.name for field in batch.schema if has_short_floats(str(field.type))]
            for row in batch.to_pylist():
                number += 1
                yield Place(str(path), number, False), row | {name: shortest(row[name]) for name in short}


def columnar_schema(path: Path) -> tuple[pyarrow.Schema, int]:
    """Return the columns of a Parquet or Arrow file with their types, and its number of rows.

    Raises:
        DataError: if the file cannot be read in the format of its ending.
    """
    kind = path.suffix.lower()
    with _columnar_errors(path, kind):
        open_regular(path).close()
        if kind == ".arrow":
            with _arrow_file(path) as (schema, batches):
                return schema, sum(batch.num_rows for batch in batches)
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows


def _parquet_batches(path: Path, wanted: list[str], rows_at_once: int) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False) as file:
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        chunks = (group.column(number) for group in groups for number in range(group.num_columns))
        largest = max(  # bound on a value: the column's size in a row group
            (c.total_uncompressed_size for c in chunks if c.path_in_schema.partition(".")[0] in wanted), default=0
        )
        rows = max(min(FEW_ROWS, rows_at_once), min(rows_at_once, MOST_BATCH_BYTES // max(1, largest)))
        yield from file.iter_batches(rows, columns=wanted, use_threads=False)


def _arrow_batches(path: Path, wanted: list[str], rows_at_once: int) -> Iterator[pyarrow.RecordBatch]:
    with _arrow_file(path) as (_, batches):
        for batch in batches:
            chosen = batch.select(wanted)
            chosen.validate(full=True)
            for start in range(0, chosen.num_rows, rows_at_once):
                yield chosen.slice(start, rows_at_once)


@contextlib.contextmanager
def _arrow_file(path: Path) -> Iterator[tuple[pyarrow.Schema, Iterator[pyarrow.RecordBatch]]]:
    """Open a memory-mapped Arrow file, in the random-access format or in the streaming format of `datasets`."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as source:
        if source.read(len(ARROW_MAGIC)) == ARROW_MAGIC:
            file = pyarrow.ipc.open_file(source)
            yield file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
        else:
            source.seek(0)
            stream = pyarrow.ipc.open_stream(source)
            yield stream.schema, iter(stream)
