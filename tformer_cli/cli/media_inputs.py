"""Inputs of `predict` for images and recordings: files, folders, and tables that name or contain them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tformer_cli.cli import text
from tformer_cli.cli.reading import Line
from tformer_cli.cli.table_inputs import column_names
from tformer_cli.errors import ConfigError, DataError


def media(task: Any, paths: Sequence[Path], columns: tuple[str, ...]) -> Iterator[Line]:
    """Yield files, and those in folders and tables; without paths, the files named on standard input.

    Raises:
        DataError: if a file or folder does not exist; for arguments, before the first prediction.
    """
    if len(columns) > 1:
        raise ConfigError(f"--column is given {len(columns)} times", "an input is one column")
    for path in paths:
        if str(path) != "-" and not path.exists():
            raise DataError(
                f"{path}: no such file or folder", f"this run reads {task.predictor.files.contents}: give their paths"
            )
    return (line for path in paths or [Path("-")] for line in _media_of(task, path, columns))


def _media_of(task: Any, path: Path, columns: tuple[str, ...]) -> Iterator[Line]:
    from tformer_cli.cli.output import note
    from tformer_cli.data.core.files import table_kind
    from tformer_cli.data.core.media import passed_over

    if str(path) == "-":
        for named in text.lines([path]):
            if named.strip():
                yield from _media_of(task, Path(named), columns)
    elif path.is_dir():
        files = task.predictor.files.files_of(path)
        if message := passed_over(path, task.predictor.files.endings):
            note(message)
        yield from (Line(str(file), str(file), str(file)) for file in files)
    elif table_kind(path) and path.is_file():
        for row in task.predictor.rows_of_table(path, _media_column(task, path, columns)):
            yield Line(row, row.name, row.name)
    else:
        yield Line(str(path), str(path), str(path))


def _media_column(task: Any, path: Path, columns: tuple[str, ...]) -> str:
    """Return the column of a table that names or contains the files.

    Raises:
        DataError: if neither the user nor the training tables determine it.
    """
    from tformer_cli.data.core.files import table_kind

    if columns:
        return columns[0]
    kind = table_kind(path).removesuffix(".gz")
    names: list[str] = []
    for column in task.predictor.input_columns:
        names = column_names(path, kind, [column], separated=kind in (".csv", ".tsv")) or []
        if column in names:
            return column
    listed = ", ".join(map(repr, names[:12])) or "none"
    raise DataError(f"{path}: a table with columns {listed}", "which names the files? --column NAME")
