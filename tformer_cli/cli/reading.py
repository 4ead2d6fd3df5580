"""The options for reading the inputs of `predict`, `translate` and `tokenize`, and the class of these inputs."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.errors import ConfigError

if TYPE_CHECKING:
    from tformer_cli.data.core.cells import BadRow

LINES, CONLL = "lines", "conll"
FORMATS = (LINES, "csv", "tsv", "json", "jsonl", "parquet", "arrow", CONLL)
SEPARATED = (".csv", ".tsv")
SETTING = "--column"


@dataclass(frozen=True)
class Line:
    """An input.

    Attributes:
        value: the input for the task.
        location: its location in error messages.
        shown: its form in the output of `--json`.
        fault: reason why the input is skipped; empty for most.
    """

    value: Any
    location: str
    shown: Any
    fault: str = ""


@dataclass(frozen=True)
class Reading:
    """Options for reading files.

    Attributes:
        columns: columns named by the user.
        form: one of `FORMATS`, if the user named it; empty: detected from the file.
        expected: columns of the training tables.
        names: names of all columns, if the training tables have no header line.
        words: whether the inputs are sentences of words.
        word_column: column of words in CoNLL files.
        delimiter: delimiter of columns in CoNLL files; empty: detected from the file.
        known_tags: tags that identify CoNLL files.
        documents: function that reads a file in SQuAD's JSON, for question answering, and yields the location of each
            question with its values or the error for its row.
        header: whether the first line of a CSV or TSV file names its columns; None: detected from the file.
        skip: whether rows without a value or valid text are skipped, otherwise the first is an error; None: there is no
            such setting.
    """

    columns: tuple[str, ...] = ()
    form: str = ""
    expected: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    words: bool = False
    word_column: int = 0
    delimiter: str = ""
    known_tags: frozenset[str] = frozenset()
    documents: Callable[[Path], Iterator[tuple[str, tuple[str, ...] | BadRow]]] | None = None
    header: bool | None = None
    skip: bool | None = None

    @property
    def header_option(self) -> str:
        """The option that sets `header`."""
        return "--header" if self.header else "--no-header"

    def check(self) -> None:
        """Check that the options are compatible.

        Raises:
            ConfigError: if they are not.
        """
        if self.form and self.form not in FORMATS:
            raise ConfigError(f"--format: {self.form!r} is not one of {', '.join(FORMATS)}")
        if self.columns and self.form == LINES:
            raise ConfigError("--column is for tables, and --format lines reads lines", "leave one of them out")
        if self.header is not None and self.form not in ("", "csv", "tsv"):
            cause = f"{self.header_option} is for CSV and TSV, and --format is {self.form}"
            raise ConfigError(cause, "leave one of them out")
        if self.header is False and not all(map(is_index, self.columns)):
            cause = f"--column {self.columns[0]} with --no-header: no line names the columns"
            raise ConfigError(cause, "--column 0 is the first")
        if self.form == CONLL and not self.words:
            raise ConfigError("--format conll is for runs that tag words", "--format lines reads lines")
        if self.columns and len(self.columns) != max(1, len(self.expected)):
            count = max(1, len(self.expected))
            cause = f"--column is given {len(self.columns)} time{'s'[: len(self.columns) != 1]}"
            raise ConfigError(cause, f"an input consists of {count} column{'s'[: count != 1]}")


def is_index(column: str) -> bool:
    """Return whether a column is given by its index, from 0; -1 is the last."""
    return re.fullmatch(r"-?\d{1,6}", column) is not None


def split_line(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line of CSV; none if it is malformed."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []
