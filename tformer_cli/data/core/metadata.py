"""Tables of images or recordings, such as `metadata.csv` in their folder: each row has a file, its text, and its split.

This is the layout of Hugging Face's `imagefolder` and `audiofolder`. A column may contain the split of each row.
Without it, the first folder of each file is its split if it has the name of one: `test/10.png`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from tformer_cli.data.core import files
from tformer_cli.data.core.cells import Gate
from tformer_cli.data.core.media_sources import PATHS, Columns, UndecodedSplit, split_of_table, state
from tformer_cli.data.core.names import NAMES, SPLITS, one_with_ending
from tformer_cli.errors import ConfigError, DataError

METADATA = "metadata"
"""Name, without an ending, of a table in the folder of its files."""
CONDITION = re.compile(r"([^=!]+)(!?=)(.*)")
"""A condition of `data.only`: COLUMN=VALUE or COLUMN!=VALUE."""


@dataclass(frozen=True)
class Column:
    """A column that is read.

    Attributes:
        setting: the setting that names it.
        name: its name in the settings; empty: the first of `usual` that the table has.
        usual: usual names.
        kind: its content, for messages: "recordings".
    """

    setting: str
    name: str
    usual: Sequence[str]
    kind: str

    def find(self, names: Sequence[str]) -> str | None:
        """Return its name among those of a table; None if the table does not have it."""
        return next((name for name in ([self.name] if self.name else self.usual) if name in names), None)

    def among(self, names: Sequence[str], origin: str) -> str:
        """Return its name among those of a table.

        Raises:
            DataError: if the table does not have it.
        """
        column = self.find(names)
        if column is None:
            if self.name:
                raise files.missing_column(origin, self.name, names, self.setting)
            remedy = f"columns there: {', '.join(map(repr, names))}; name the right one with {self.setting}"
            raise DataError(f"{origin}: no column of {self.kind}: {', '.join(self.usual)}", remedy)
        return column


@dataclass(frozen=True)
class MetadataTables:
    """Tables of files with texts, and the rows of them that form a split.

    Attributes:
        config: settings of the data, with `split_column` and `only`.
        content: the column of files.
        text: the column of their texts.
        item: what a file is, for messages: "recording".
        is_label: see `Columns`.
    """

    config: Any
    content: Column
    text: Column
    item: str
    is_label: bool = True

    @property
    def settings(self) -> str:
        """Return the settings that select columns and rows, for messages."""
        return f"{self.content.setting}, {self.text.setting}, data.split_column, data.only"

    def named(self, path: Path) -> list[Path]:
        """Return the table of a split, or the rows of a table as TABLE/SPLIT; nothing if there are none.

        Args:
            path: a folder and the name of the split, with or without an ending.

        Raises:
            DataError: if there are several tables, or a split has several spellings.
        """
        if path.is_file():
            return [path]
        if table := metadata_of(path):
            return [table]
        if tables := one_with_ending(path, files.TABLES):
            return tables
        return self._named_rows(path)

    def _named_rows(self, path: Path) -> list[Path]:
        """Return TABLE/SPLIT if the rows of a folder's table name the split; nothing if they do not."""
        data_path = Path(self.config.path).expanduser()
        table = data_path if data_path.is_file() and data_path.parent == path.parent else metadata_of(path.parent)
        if not table or not files.table_kind(table):
            return []
        names = [name for name in self._splits(table) if name.lower() == path.name.lower()]
        if len(names) > 1:
            cause = f"{table}: {' and '.join(sorted(map(repr, names)))} are spellings of one split"
            raise DataError(cause, "write the name of the split in one way")
        return [table / name for name in names]

    def _training_rows(self, table: Path) -> Path:
        """Return the rows of the training split of the table `data.path` as TABLE/SPLIT.

        Raises:
            DataError: if there are none, or several splits have usual names of it.
        """
        names = NAMES["train"] if self.config.train == "train" else (self.config.train,)
        matches = [rows for name in names for rows in self._named_rows(table.parent / name)]
        if len(matches) == 1:
            return matches[0]
        cause = "several names of the training split" if matches else f"no training split {self.config.train!r}"
        remedy = f"splits there: {', '.join(map(repr, sorted(self._splits(table))))}; name it: data.train=..."
        raise DataError(f"{table}: {cause}", remedy)

    def train_folder(self, folder: Path) -> list[Path] | None:
        """Return the table of a folder as the training split; nothing if its rows name splits; None: it has none."""
        table = metadata_of(folder)
        if table is None:
            return None
        return [] if self._splits(table) else [table]

    def find(self, path: Path) -> UndecodedSplit | None:
        """Return the files of a table, or of TABLE/SPLIT; None if the path is neither."""
        config = self.config
        if files.table_kind(path) and path.is_file():
            if path != Path(config.path).expanduser() or not self._splits(path):
                return self._read(path, "")
            path = self._training_rows(path)
        if files.table_kind(path.parent) and path.parent.is_file():
            return self._read(path.parent, path.name)
        if config.only:
            cause = f"data.only={config.only}: {path} is no table"
            raise ConfigError(cause, f"put a {METADATA}.csv among the {self.content.kind}")
        return None

    def columns(self, names: Sequence[str], origin: str, split: str = "") -> Columns:
        """Return the columns to read of a table.

        Args:
            names: names of its columns.
            origin: its name in messages.
            split: split of the rows that are read: the value of `split_column`, or, without such a column, the first
                folder of the file; empty: all rows are read.

        Raises:
            DataError: if a column is missing.
            ConfigError: if settings are impossible.
        """
        config = self.config
        content, text = self.content.among(names, origin), self.text.among(names, origin)
        if content == text:
            cause = f"{self.content.setting} and {self.text.setting} both name {content!r}"
            raise ConfigError(cause, "they must name different columns")
        conditions: list[tuple[str, Callable[[Any], bool]]] = []
        if split and config.split_column in names:
            conditions.append((config.split_column, lambda value: _as_text(value) == split))
        elif split:
            conditions.append((content, lambda value: _first_folder(value) == split))
        if config.only:
            if not (match := CONDITION.fullmatch(config.only)):
                cause = f"data.only: {config.only!r} is not a condition"
                raise ConfigError(cause, "write COLUMN=VALUE or COLUMN!=VALUE")
            conditions.append((match[1], lambda value: (_as_text(value) == match[3]) == (match[2] == "=")))

        def keep(row: dict[str, Any]) -> bool:
            return all(holds(row[column]) for column, holds in conditions)

        others, missing = tuple(column for column, _ in conditions), tuple(config.missing)
        condition = keep if conditions else None
        return Columns(content, text, missing, self.item, self.settings, others, condition, self.is_label)

    def narrowed(self, rows: UndecodedSplit, columns: Columns, split: str, origin: str) -> UndecodedSplit:
        """Return the split with the settings that select its rows added to its key and its origin."""
        config = self.config
        key = rows.key and [*rows.key, columns.names, config.split_column, split, config.only]
        return dataclasses.replace(rows, key=key, origin=f"{origin}, {config.only}" if config.only else origin)

    def _read(self, table: Path, split: str) -> UndecodedSplit:
        names = self._names(table)
        columns = self.columns(names, str(table), split)
        rows = f"{self.config.split_column}={split}" if self.config.split_column in names else f"{split}/"
        origin = f"{table}, {rows}" if split else str(table)
        undecoded = split_of_table(table, columns)
        if split and (empty := self._rows_without_split(table, names)):
            note = f"{table}: {empty:,} rows with an empty {self.config.split_column!r} belong to no split"
            undecoded = dataclasses.replace(undecoded, notes=(*undecoded.notes, note))
        return self.narrowed(undecoded, columns, split, origin)

    def _rows_without_split(self, table: Path, names: Sequence[str]) -> int:
        """Return the number of rows whose cell in the column of splits is empty; 0 if there is no such column."""
        column = self.config.split_column
        return _row_splits(table, column, *state(table))[1] if column in names else 0

    def _names(self, table: Path) -> list[str]:
        """Return the names of a table's columns."""
        if files.table_kind(table) in files.COLUMNAR:
            return files.columnar_schema(table)[0].names
        names = _row_names(table, *state(table))
        if not names:
            raise DataError(f"{table}: there are no rows")
        return list(names)

    def _splits(self, table: Path) -> list[str]:
        """Return the splits that a table's rows name, in a column or as the first folder of their files.

        Raises:
            DataError: if some rows name their split and others do not.
        """
        config, names = self.config, self._names(table)
        if config.split_column in names:
            return list(_row_splits(table, config.split_column, *state(table))[0])
        splits = SPLITS | {name.lower() for name in (config.train, config.validation, config.test) if name}
        content = self.content.find(names)
        if content is None or table.name.partition(".")[0].lower() in splits:  # train.csv is one split
            return []
        if files.table_kind(table) in files.COLUMNAR:
            schema, _ = files.columnar_schema(table)
            if str(schema.field(content).type) not in PATHS:
                return []
        return list(_folder_splits(table, content, splits, config.split_column, *state(table)))


def metadata_of(folder: Path) -> Path | None:
    """Return the table that describes the files of a folder; None if there is none.

    Raises:
        DataError: if there are several.
    """
    tables = one_with_ending(folder / METADATA, files.TABLES, "keep one of them", any_capitals=True)
    return tables[0] if tables else None


def with_wildcards(path: Path, named: Callable[[Path], list[Path]]) -> list[Path]:
    """Return the files that `named` returns for a path, or for each path that matches a name with *."""
    if "*" in path.name and not path.is_file():
        matches = sorted(path.parent.glob(path.name))
        return list(dict.fromkeys(file for match in matches for file in named(match)))
    return named(path)


@functools.lru_cache(maxsize=16)
def _row_names(table: Path, *version: int) -> tuple[str, ...]:
    """Return the names of the columns of a table of text; in JSON, all names that occur in any row.

    Args:
        table: the table.
        version: its size and modification time, so that a table that changed is read again.
    """
    rows = (row for _, row in files.named_rows(table, [], setting=""))
    if not files.table_kind(table).startswith(".json"):
        rows = itertools.islice(rows, 1)  # all have the columns of the first line
    return tuple(dict.fromkeys(name for row in rows for name in row))


@functools.lru_cache(maxsize=16)
def _row_splits(table: Path, column: str, *version: int) -> tuple[tuple[str, ...], int]:
    """Return the values of a column of splits, and the number of its empty cells; see `_row_names`."""
    splits, empty = dict[str, None](), 0
    for location, row in files.named_rows(table, [column], setting="data.split_column"):
        if column not in row:
            cause = f"{location}: no {column!r}, which other rows have"
            raise DataError(cause, "write the split of each row, or of none")
        if Gate().lacks(row[column]):
            empty += 1
        else:
            splits[_as_text(row[column])] = None
    return tuple(splits), empty


@functools.lru_cache(maxsize=16)
def _folder_splits(
    table: Path, column: str, splits: frozenset[str], split_column: str, *version: int
) -> tuple[str, ...]:
    """Return the first folders of a table's files if they have names of splits, in lower case `splits`.

    Raises:
        DataError: if only some files are in such folders.
    """
    folders, outside = dict[str, None](), None
    for location, row in files.named_rows(table, [column], setting=""):
        folder = _first_folder(row.get(column))
        if folder.lower() in splits:
            folders[folder] = None
        else:
            outside = outside or location
    if folders and outside:
        cause = f"{outside}: {column} has no folder of a split, such as {next(iter(folders))!r} in other rows"
        raise DataError(cause, f"add a column {split_column!r} with the split of each row")
    return tuple(folders)


def _first_folder(path: Any) -> str:
    """Return the first folder of a relative path; "" if it has none, or is no path."""
    parts = PurePath(path).parts if isinstance(path, str) else ()
    return parts[0] if len(parts) > 1 else ""


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
