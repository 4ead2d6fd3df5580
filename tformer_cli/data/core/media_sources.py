"""Images and recordings before they are decoded: files, rows of tables and of Hugging Face datasets."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.data.core import files
from tformer_cli.data.core.cells import BadRow, Gate, Location, cell_text, class_names
from tformer_cli.data.core.hub import hub_named_rows, hub_origin
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import DataConfig

PATHS = ("string", "large_string", "string_view")
"""Arrow types of a column of paths."""
ROWS_AT_ONCE = 16
"""Rows of a table in memory, with their images or recordings."""
SAMPLED_ROWS = 64
"""Rows from which the size of all is estimated."""
ABSENT = "no such file, named in"
"""Beginning of the fault of a row whose file does not exist."""


@dataclass(frozen=True)
class Row:
    """An image or recording that is not decoded yet.

    Attributes:
        name: its file, or its row in a table.
        text: its label or transcript; None if it has none, or if they are not read.
        content: its file, or the content of a file.
        fault: the fault of its label or transcript, or "no such file" with its place in the table; or "".
    """

    name: str
    text: str | None
    content: Path | bytes
    fault: str = ""

    @property
    def repair(self) -> str:
        """Return how to repair the fault."""
        return "add the file or remove the row" if self.fault.startswith(ABSENT) else "repair or remove it"

    @classmethod
    def of_file(cls, path: Path, text: str | None) -> Row:
        """Return the row of a file."""
        return cls(str(path), text, path)


@dataclass(frozen=True)
class UndecodedSplit:
    """The images or recordings of a split, before they are decoded.

    Attributes:
        origin: human-readable description of the source.
        key: everything that their content depends on; None: the content cannot be identified, so it is not cached.
        count: number of rows; None: it is not known before they are read.
        rows: returns an iterator over all rows.
        sample: returns some of the rows, evenly spaced if that is cheap.
        notes: notes for the user.
    """

    origin: str
    key: list[object] | None
    count: int | None
    rows: Callable[[], Iterator[Row]]
    sample: Callable[[], Iterable[Row]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """The columns that are read from a table.

    Attributes:
        content: column of images or recordings: bytes, paths, or both in the form of `datasets`.
        text: column of labels or transcripts; None: they are not read.
        missing: texts that mean a missing label or transcript.
        item: what an image or recording is called in errors.
        setting: setting that names the columns, for errors.
        others: columns that `keep` reads.
        keep: whether to keep a row, given its values.
        is_label: whether a number, a Boolean, a class or a list may stand for the text.
    """

    content: str
    text: str | None
    missing: tuple[str, ...]
    item: str
    setting: str
    others: tuple[str, ...] = ()
    keep: Callable[[dict[str, Any]], bool] | None = None
    is_label: bool = True

    @property
    def names(self) -> list[str]:
        """Return the names of all columns that are read."""
        return list(dict.fromkeys([self.content, *([] if self.text is None else [self.text]), *self.others]))


def split_of_files(origin: str, rows: list[Row], notes: tuple[str, ...] = ()) -> UndecodedSplit:
    """Return the split of some files, whose content is identified by name, text, size and time."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.name, row.text, *state(row.content), *filter(None, [row.fault])]).encode())
    step = max(1, len(rows) // SAMPLED_ROWS)
    key: list[object] = ["files", digest.hexdigest()]
    return UndecodedSplit(origin, key, len(rows), lambda: iter(rows), lambda: rows[::step], notes)


def state(path: Path | bytes) -> list[int]:
    """Return the size and the modification time of a file; an empty list if it does not exist or is not a path."""
    if isinstance(path, Path):
        with suppress(OSError, ValueError):
            status = path.stat()
            return [status.st_size, status.st_mtime_ns]
    return []


def split_of_stream(
    origin: str, key: list[object] | None, count: int | None, rows: Callable[[], Iterator[Row]]
) -> UndecodedSplit:
    """Return a split that is read in order; its sample consists of the first rows, which are cheap to read."""
    return UndecodedSplit(origin, key, count, rows, lambda: islice(rows(), SAMPLED_ROWS))


def split_of_parts(parts: Sequence[UndecodedSplit]) -> UndecodedSplit:
    """Return the split of the rows of several parts, one after the other, such as the tables of a pattern `train-*`."""
    if len(parts) == 1:
        return parts[0]
    keys, counts = [part.key for part in parts], [part.count for part in parts]
    sampled_rows = max(1, SAMPLED_ROWS // len(parts))
    return UndecodedSplit(
        ", ".join(part.origin for part in parts),
        None if None in keys else ["parts", *keys],
        None if None in counts else sum(filter(None, counts)),
        lambda: chain.from_iterable(part.rows() for part in parts),
        lambda: chain.from_iterable(islice(part.sample(), sampled_rows) for part in parts),
        tuple(note for part in parts for note in part.notes),
    )


def split_of_table(path: Path, columns: Columns) -> UndecodedSplit:
    """Return the split in a table, in which paths are relative to its folder."""
    names, count, inside = files.table_class_names(path).get(columns.text or ""), None, False
    if files.table_kind(path) in files.COLUMNAR:
        schema, count = files.columnar_schema(path)
        inside = columns.content in schema.names and str(schema.field(columns.content).type) not in PATHS

    def rows(*, inside: bool = False) -> Iterator[Row]:
        table_rows = files.named_rows(path, columns.names, setting=columns.setting, rows_at_once=ROWS_AT_ONCE)
        return _rows(table_rows, columns, str(path), path.parent, names, inside=inside)

    if not inside or _names_files(rows()):
        return split_of_files(str(path), list(rows()))
    key = ["table", str(path.resolve()), *state(path), *columns.missing]
    return split_of_stream(str(path), key, count, functools.partial(rows, inside=True))


def _names_files(rows: Iterable[Row]) -> bool:
    """Return whether one of the first rows names a file, whose content may change while the table does not."""
    return any(isinstance(row.content, Path) for row in islice(filter(lambda row: row.content, rows), SAMPLED_ROWS))


def split_of_hub(
    config: DataConfig, split: str, data: Any, columns: Columns, decoded: type, undecoded: Any
) -> UndecodedSplit:
    """Return a split of a Hugging Face dataset.

    Args:
        config: configuration of the dataset.
        split: name of the split.
        data: the split, as `hub_data` returns it.
        columns: the columns to read.
        decoded: the class of features that `datasets` would decode.
        undecoded: the feature to which they are cast, as only tformer decodes images and recordings.
    """
    origin, features, selected = hub_origin(config, split), data.features or {}, columns.names
    if isinstance(features.get(columns.content), decoded):
        data = data.cast_column(columns.content, undecoded)
    names = class_names(features.get(columns.text))
    if set(selected) < set(features):
        data = data.remove_columns([column for column in features if column not in selected])

    def rows(*, inside: bool = False) -> Iterator[Row]:
        return _rows(hub_named_rows(config, split, data, ROWS_AT_ONCE), columns, origin, None, names, inside=inside)

    if config.streaming:  # neither its content nor its number of rows is known
        return split_of_stream(origin, None, None, rows)
    if _names_files(rows()):
        return split_of_files(origin, list(rows()))
    key = ["hub", origin, data._fingerprint, *columns.missing]
    return split_of_stream(origin, key, len(data), functools.partial(rows, inside=True))


def _rows(
    rows: Iterable[tuple[Location, dict[str, Any]]],
    columns: Columns,
    origin: str,
    folder: Path | None,
    names: Sequence[str] | None,
    *,
    inside: bool,
) -> Iterator[Row]:
    """Yield the rows of a table.

    Args:
        rows: the location and the values of each row.
        columns: the columns to read.
        origin: name of the table.
        folder: folder to which paths in the table are relative.
        names: class names, if labels are class indices.
        inside: whether all images or recordings must be in the table, since it alone identifies them in the cache.

    Raises:
        DataError: if a column is missing, there are no rows, or one names a file that is not in the table.
    """
    number, gate = 0, Gate(frozenset(columns.missing))
    for number, (location, row) in enumerate(rows, 1):
        for column in columns.names:
            if column not in row:
                raise files.missing_column(location, column, row, columns.setting)
        if columns.keep and not columns.keep(row):
            continue
        name, text = f"row {number} of {origin}", None
        if columns.text is not None:
            try:
                text = cell_text(row[columns.text], location, columns.text, gate, label=columns.is_label, names=names)
            except BadRow as bad:
                yield Row(str(location), None, b"", bad.reason)
                continue
        content = _content(row[columns.content], folder, name, columns)
        if not isinstance(content, Path):
            yield Row(name, text, content)
        elif inside:
            cause = f"{location}: {columns.content} is a path, but rows before it hold the bytes of a {columns.item}"
            raise DataError(cause, "write bytes in all rows, or paths in all")
        elif os.path.exists(content):
            yield Row.of_file(content, text)
        else:
            yield Row(str(content), text, content, f"{ABSENT} {location}")
    if not number:
        raise DataError(f"{origin}: there are no rows")


def _content(value: Any, folder: Path | None, name: str, columns: Columns) -> Path | bytes:
    path = None
    if isinstance(value, dict):
        value, path = value.get("bytes"), value.get("path")
    if value is None and path is None:
        return b""
    if isinstance(value, bytes):
        return value
    path = path if value is None else value
    if not isinstance(path, str):
        raise DataError(f"{name}: {columns.content} is neither a {columns.item}'s bytes nor a path", columns.setting)
    if folder is None and ("://" in path or "::" in path):  # a data set that is streamed
        import fsspec

        with fsspec.open(path, "rb") as stream:
            return stream.read()  # pyright: ignore[reportAttributeAccessIssue] - typed as a list of files as well
    return (folder or Path()) / path
