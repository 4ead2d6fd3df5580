"""Pictures and recordings before they are read: files, rows of tables and of Hugging Face datasets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.data.core import files
from tformer_cli.data.core.cells import Gate, MissingValue, Place, cell_text, class_names
from tformer_cli.data.core.hub import hub_named_rows, hub_origin
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import DataConfig

PATHS = ("string", "large_string", "string_view")  # Arrow's types of a column of paths
ROWS_AT_ONCE = 16  # of a table, with what is in them, in memory
LOOKED_AT = 64  # that the size of all is estimated from


@dataclass(frozen=True)
class Row:
    """An image or recording that is not decoded yet.

    Attributes:
        name: its file, or its row in a table.
        text: its label or transcript; None if it has none, or if they are not read.
        content: its file, or the content of a file.
        fault: the fault of its label or transcript, or "".
    """

    name: str
    text: str | None
    content: Path | bytes
    fault: str = ""

    @classmethod
    def of_file(cls, path: Path, text: str | None) -> Row:
        """One that is a file."""
        return cls(str(path), text, path)


@dataclass(frozen=True)
class Found:
    """The pictures or recordings of a split, before they are read.

    Attributes:
        origin: where they come from, for people.
        key: all that their content depends on; None: there is no telling, so that nothing can be kept.
        count: how many; None: it is not known before they are read.
        rows: gives them from the first on, as often as it is called.
        sample: some of them, evenly spaced if that is cheap.
        notes: what the user should know.
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
        what: name of an item, for errors.
        setting: setting that names the columns, for errors.
        others: columns that `keep` reads.
        keep: whether to keep a row, given its values.
        is_label: whether a number, a Boolean, a class or a list may stand for the text.
    """

    content: str
    text: str | None
    missing: tuple[str, ...]
    what: str
    setting: str
    others: tuple[str, ...] = ()
    keep: Callable[[dict[str, Any]], bool] | None = None
    is_label: bool = True

    @property
    def wanted(self) -> list[str]:
        """All columns that are looked at."""
        return list(dict.fromkeys([self.content, *([] if self.text is None else [self.text]), *self.others]))


def of_files(origin: str, rows: list[Row], notes: tuple[str, ...] = ()) -> Found:
    """Files, of which name, text, size and time say what is in them."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.name, row.text, *state(row.content), *filter(None, [row.fault])]).encode())
    step = max(1, len(rows) // LOOKED_AT)
    key: list[object] = ["files", digest.hexdigest()]
    return Found(origin, key, len(rows), lambda: iter(rows), lambda: rows[::step], notes)


def state(path: Path | bytes) -> list[int]:
    """Size and time of a file; none if it is not there."""
    if isinstance(path, Path):
        with suppress(OSError, ValueError):
            status = path.stat()
            return [status.st_size, status.st_mtime_ns]
    return []


def of_stream(origin: str, key: list[object] | None, count: int | None, rows: Callable[[], Iterator[Row]]) -> Found:
    """Rows of which only the first are cheap to look at."""
    return Found(origin, key, count, rows, lambda: islice(rows(), LOOKED_AT))


def of_table(path: Path, columns: Columns) -> Found:
    """The rows of a table; paths in it are relative to its folder."""
    names, count, inside = files.table_class_names(path).get(columns.text or ""), None, False
    if files.table_kind(path) in files.COLUMNAR:
        schema, count = files.columnar_schema(path)
        inside = columns.content in schema.names and str(schema.field(columns.content).type) not in PATHS

    def rows() -> Iterator[Row]:
        table_rows = files.named_rows(path, columns.wanted, setting=columns.setting, rows_at_once=ROWS_AT_ONCE)
        return _rows(table_rows, columns, str(path), path.parent, names)

    if not inside:
        return of_files(str(path), list(rows()))
    return of_stream(str(path), ["table", str(path.resolve()), *state(path), *columns.missing], count, rows)


def of_hub(config: DataConfig, split: str, data: Any, columns: Columns, decoded: type, undecoded: Any) -> Found:
    """The rows of a dataset.

    Args:
        config: what dataset it is.
        split: of it.
        data: as `hub_data` gave it.
        columns: what is read of it.
        decoded: its kind of feature for what is read.
        undecoded: what stands for that; pictures or recordings are decoded by tformer alone.
    """
    origin, features, wanted = hub_origin(config, split), data.features or {}, columns.wanted
    if isinstance(features.get(columns.content), decoded):
        data = data.cast_column(columns.content, undecoded)
    names = class_names(features.get(columns.text))
    if set(wanted) < set(features):
        data = data.remove_columns([column for column in features if column not in wanted])

    def rows() -> Iterator[Row]:
        return _rows(hub_named_rows(config, split, data, ROWS_AT_ONCE), columns, origin, None, names)

    if config.streaming:  # what is in it, and how many, only reading tells
        return of_stream(origin, None, None, rows)
    return of_stream(origin, ["hub", origin, data._fingerprint, *columns.missing], len(data), rows)


def _rows(
    rows: Iterable[tuple[Place, dict[str, Any]]],
    columns: Columns,
    origin: str,
    folder: Path | None,
    names: Sequence[str] | None,
) -> Iterator[Row]:
    """Rows of a table: `folder` is what its paths are relative to, `names` what its numbers of classes mean."""
    number, gate = 0, Gate(frozenset(columns.missing))
    for number, (place, row) in enumerate(rows, 1):
        for column in columns.wanted:
            if column not in row:
                raise files.missing_column(place, column, row, columns.setting)
        if columns.keep and not columns.keep(row):
            continue
        name, text = f"row {number} of {origin}", None
        if columns.text is not None:
            try:
                text = cell_text(row[columns.text], place, columns.text, gate, label=columns.is_label, names=names)
            except MissingValue as missing:
                yield Row(str(place), None, b"", missing.reason)
                continue
        content = _content(row[columns.content], folder, name, columns)
        yield Row.of_file(content, text) if isinstance(content, Path) else Row(name, text, content)
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
        raise DataError(f"{name}: {columns.content} is neither a {columns.what}'s bytes nor a path", columns.setting)
    if folder is None and ("://" in path or "::" in path):  # a data set that is streamed
        import fsspec

        with fsspec.open(path, "rb") as stream:
            return stream.read()  # pyright: ignore[reportAttributeAccessIssue] - typed as a list of files as well
    return (folder or Path()) / path
