"""Sentences of words without their tags: of CoNLL columns, and of cells that hold lists."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from tformer_cli.data.cells import read_list
from tformer_cli.errors import DataError

DOCUMENT = "-DOCSTART-"
"""The word that opens a document in CoNLL 2003: no sentence."""


def word_sentences(lines: Iterable[str], origin: str, column: int) -> Iterator[tuple[int, list[str]]]:
    """Sentences of CoNLL columns: a word a line, apart by tabs or white space, a blank line after each sentence.

    Args:
        lines: of the file.
        origin: what an error calls it.
        column: of the words, from 0; -1 is the last.

    Yields:
        The number of each sentence's first line, and its words.

    Raises:
        DataError: if a line has no such column.
    """
    first, words = 0, list[str]()
    for number, line in enumerate(chain(lines, [""]), 1):
        columns = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or columns[0] == DOCUMENT:
            if words:
                yield first, words
            words = []
            continue
        if not words and line.startswith("#") and (len(columns) == 1 or line.startswith("# ")):
            continue  # a comment
        try:
            words.append(columns[column])
        except IndexError as error:
            remedy = "--column says which of them has the words, from 0"
            raise DataError(f"{origin}:{number}: {len(columns)} columns", remedy) from error
        first = first if len(words) > 1 else number


def words_of(cell: Any, place: str) -> list[str]:
    """The words in a cell: a list, or text with a list as JSON, Python or NumPy writes it, or words apart by spaces.

    Raises:
        DataError: if it is none of these.
    """
    if isinstance(cell, str):
        try:
            values = read_list(cell)
        except ValueError as error:
            raise DataError(f"{place}: the list of words {error}") from error
        cell = cell.split() if values is None else values
    if not isinstance(cell, list):
        raise DataError(f"{place}: not a list of words")
    return [word if isinstance(word, str) else json.dumps(word) for word in cell]
