"""Sentences of words in the cells of a table."""

from __future__ import annotations

import json
import re
from typing import Any

from tformer_cli.data.core.cells import Gate, InvalidText, MissingValue, invalid_character, read_list
from tformer_cli.errors import DataError

BLANKS = re.compile(r"[ \t\r\n]+")
"""White space between words; others, such as no-break spaces, are characters of a word."""


def separated_words(text: str) -> list[str]:
    """Return the words of a text that are separated by spaces."""
    return list(filter(None, BLANKS.split(text)))


def words_of(cell: Any, location: str, column: str) -> list[str]:
    """Return the words in a cell: a list, a list in JSON, Python or NumPy notation, or words separated by spaces.

    Args:
        cell: the value in the table.
        location: location of its row, for errors.
        column: its name, for errors.

    Raises:
        MissingValue: if the value, or a word of a list, is null or NaN.
        InvalidText: if a word has an invalid character.
        DataError: if it is none of these.
    """
    if Gate().lacks(cell, blank=True):
        raise MissingValue(location, column, cell)
    for word in cell if isinstance(cell, list) else []:
        if Gate().lacks(word, blank=True):
            raise MissingValue(location, f"a word in {column}", word)
    if isinstance(cell, str):
        try:
            values = read_list(cell)
        except ValueError as error:
            raise DataError(f"{location}: the list of words {error}") from error
        cell = separated_words(cell) if values is None else values
    if not isinstance(cell, list):
        raise DataError(f"{location}: not a list of words")
    words = [word if isinstance(word, str) else json.dumps(word) for word in cell]
    if character := next(filter(None, map(invalid_character, words)), ""):
        raise InvalidText(location, f"a word in {column}", character)
    return words
