"""Files with one word per line: CoNLL of all years, CoNLL-U, GermEval, WNUT, OntoNotes.

Columns are separated by tabs if every line of a word has one, and by blanks otherwise. An empty line ends a sentence.
Comments and lines that mark documents are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.data import files
from tformer_cli.data.cells import Gate, MissingValue, Place
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import TaggedDataConfig

DOCUMENT, COMMENT = "-DOCSTART-", "#"
"""First column of a document mark in CoNLL 2002 and 2003; first character of a comment."""
NO_TAG = {"O", "o", "-X-", "-", "_", "0", DOCUMENT}
"""Values in the tag column of a document mark."""
BLANKS = re.compile(r"[ \t]+")
NUMBER, WORD_NUMBER = re.compile(r"\d{1,9}"), re.compile(r"\d{1,9}(?:[-.]\d{1,9})?")
WORD_HEAD = re.compile(r"\d{1,9}|_")
TAG = re.compile(r"O|[BIESLU]-.+")
BRACKETS = re.compile(r"\*\)?|\([^()*\s]+[*)]")
"""Entities in OntoNotes: (ORG* begins one, * continues it or is outside, *) ends it, (ORG) is one of a single word."""
CONLL_U, FORM, UPOS, HEAD = 10, 1, 3, 6
GERMEVAL, OUTER_TAG = 4, 2
ONTONOTES, ONTONOTES_NUMBER, ONTONOTES_WORD, ONTONOTES_ENTITY = 12, 2, 3, 10
"""Smallest number of columns of these formats, and the indices of their columns."""

Line = tuple[int, str]
Sentence = tuple[Place, list[str], list[str]]
"""Location of the first line, words, tags."""


@dataclass
class _Layout:
    """The layout of the lines of a file.

    Attributes:
        delimiter: delimiter of columns; "": blanks.
        last: whether the last column counts; it does not if every line ends with a tab.
        width: number of columns of a word's line.
        word: index of the column of words.
        tag: index of the column of tags.
        is_conll_u: whether lines numbered 1-2 and 1.1 are not words, and _ is not a tag.
        brackets: whether entities are marked as in OntoNotes.
        tags: the tags of lines that cannot be comments.
        note: how the columns were read, if not by the settings.
    """

    delimiter: str
    last: bool = True
    width: int = 0
    word: int = 0
    tag: int = -1
    is_conll_u: bool = False
    brackets: bool = False
    tags: set[str] = field(default_factory=set)
    note: str = ""

    def columns(self, line: str) -> list[str]:
        """Return the columns of a line."""
        if not self.delimiter:
            return BLANKS.split(line.strip(" \t"))
        columns = [column.strip(" ") for column in line.split(self.delimiter)]
        return columns if self.last else columns[:-1]


def read_conll(path: Path, config: TaggedDataConfig, gate: Gate) -> tuple[list[Sentence], str]:
    """Read the sentences of a file, and return them with a note on how the columns were read.

    Raises:
        DataError: if there are no sentences, or lines have different numbers of columns, or not the columns of the
            settings; names the line.
    """
    blocks = list(_blocks(files.lines(path)))
    layout = _layout(str(path), blocks, config.delimiter, config.word_column, config.tag_column)
    sentences = []
    for block in blocks:
        try:
            sentences += _sentences(str(path), block, layout, gate)
        except MissingValue as missing:
            gate.refuse(missing)
    if not sentences and not gate.left_out:
        raise DataError(f"{path}: there are no sentences")
    return sentences, layout.note


def read_words(
    lines: Iterable[str], origin: str, delimiter: str, word_column: int, *, named: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Read the sentences of a file without its tags, by the rules of `read_conll`.

    Args:
        lines: lines of the file.
        origin: name of the file in error messages.
        delimiter: delimiter of columns; "": detected from the file.
        word_column: index of the column of words, from 0; -1 is the last.
        named: whether the user named that column, so that the column of a known format does not replace it.

    Yields:
        The line number at which each sentence begins, and its words.

    Raises:
        DataError: if lines have different numbers of columns, or lack that column; names the line.
    """
    blocks = list(_blocks(lines))
    if not blocks:
        return
    layout = _layout(origin, blocks, delimiter, word_column, None)
    layout.word = word_column if named else layout.word
    for block in blocks:
        for place, words, _ in _sentences(origin, block, layout, None):
            yield place.number, words


def _blocks(lines: Iterable[str]) -> Iterator[list[Line]]:
    """Yield blocks of lines between empty lines."""
    block: list[Line] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _sentences(path: str, block: list[Line], layout: _Layout, gate: Gate | None) -> Iterator[Sentence]:
    """Yield the sentence of a block, or two if a document begins within it; without a gate, tags are not checked."""
    words: list[str] = []
    tags: list[str] = []
    place = Place(path, block[0][0], True)
    for number, line in block:
        columns = layout.columns(line)
        if _is_mark(line, columns, layout, first=not words):
            if words:
                yield place, words, _plain_tags(tags, layout)
            words, tags = [], []
            continue
        if _is_comment(line, columns, layout, first=not words):
            continue
        here = Place(path, number, True)
        if len(columns) != layout.width:
            cause = (
                f"{here}: {len(columns)} column{'s'[: len(columns) != 1]} where the lines before have {layout.width}"
            )
            raise DataError(cause, "mend the line, or name the mark between columns: data.delimiter=...")
        if layout.is_conll_u and not NUMBER.fullmatch(columns[0]):
            continue
        place = place if words else here
        word, tag = columns[layout.word], columns[layout.tag]
        if not word or (gate is not None and (gate.lacks(tag) or (layout.is_conll_u and tag == "_"))):
            raise MissingValue(here, "the tag" if word else "the word", tag if word else word)
        words.append(word)
        tags.append(tag)
    if words:
        yield place, words, _plain_tags(tags, layout)


def _is_mark(line: str, columns: list[str], layout: _Layout, *, first: bool) -> bool:
    """Return whether a line marks a document: it has no tag, and begins a sentence or cannot be a word."""
    if line.split()[0] != DOCUMENT:
        return False
    return (first or "-X-" in columns) and (columns[-1] in NO_TAG or len(columns) != layout.width)


def _is_comment(line: str, columns: list[str], layout: _Layout, *, first: bool) -> bool:
    """Return whether a line that begins with # is a comment.

    It is one if its number of columns is not that of words, or if its tag is no tag of a word. A single # within a
    sentence is a word.
    """
    if not line.startswith(COMMENT):
        return False
    if len(columns) != layout.width:
        return True
    return columns[layout.tag] not in layout.tags and (first or columns[0] != COMMENT)


def _plain_tags(tags: list[str], layout: _Layout) -> list[str]:
    """Convert bracketed tags to IOB2; of nested entities the columns contain only the outermost."""
    if not layout.brackets:
        return tags
    plain, kind, begins = [], "", False
    for tag in tags:
        if tag.startswith("("):
            kind, begins = tag[1:-1], True
        plain.append(f"{'B' if begins else 'I'}-{kind}" if kind else "O")
        begins = False
        if tag.endswith(")"):
            kind = ""
    return plain


# --- layout of a file ---


def _layout(path: str, blocks: list[list[Line]], delimiter: str, word_column: int, tag_column: int | None) -> _Layout:
    """Detect the layout of a file; if `tag_column` is None, tags are not read."""
    sure = [[line for line in block if not line[1].startswith((COMMENT, DOCUMENT))] for block in blocks]
    sure = [block for block in sure if block] or [[line for line in block if _is_word(line[1])] for block in blocks]
    lines = [line for block in sure for line in block]
    if not lines:
        raise DataError(f"{path}: there are no sentences", "put a word a line, and an empty line after each sentence")
    layout = _Layout(delimiter or ("\t" if all("\t" in line for _, line in lines) else ""))
    table = [[layout.columns(line) for _, line in block] for block in sure]
    if layout.delimiter and all(columns[-1] == "" for block in table for columns in block):
        layout.last = False
        table = [[columns[:-1] for columns in block] for block in table]
    layout.width, layout.word, layout.tag = len(table[0][0]), word_column, -1 if tag_column is None else tag_column
    even = [columns for block in table for columns in block if len(columns) == layout.width]
    _recognise(layout, table, even, tagged=tag_column is not None)
    for column in (layout.word, layout.tag):
        if not -layout.width <= column < layout.width:
            cause = f"{path}:{lines[0][0]}: {layout.width} columns"
            remedy = "see data.word_column and data.tag_column, which count from 0, and data.delimiter"
            raise DataError(
                cause, "--column says which of them has the words, from 0" if tag_column is None else remedy
            )
    if tag_column is not None and layout.word % layout.width == layout.tag % layout.width:
        cause = (
            f"{path}:{lines[0][0]}: words and tags are both in column {layout.word % layout.width} of {layout.width}"
        )
        raise DataError(cause, "name them: data.word_column=..., data.tag_column=..., or the mark: data.delimiter=...")
    within = [layout.columns(line) for block in blocks for _, line in block[1:] if line.startswith(COMMENT)]
    hashes = [columns for columns in within if columns[0] == COMMENT and len(columns) == layout.width]
    layout.tags = {columns[layout.tag] for columns in (*even, *hashes)}
    values = {columns[layout.tag] for columns in even}
    layout.brackets = "*" in values and len(values) > 1 and all(map(BRACKETS.fullmatch, values))
    return layout


def _is_word(line: str) -> bool:
    """Return whether a line is a word, in a file whose lines all begin with # or -DOCSTART-."""
    return not line.startswith(DOCUMENT)


def _recognise(layout: _Layout, table: list[list[list[str]]], even: list[list[str]], *, tagged: bool) -> None:
    """Use the columns of a known format, unless the settings name others."""
    word, tag = layout.word, layout.tag
    is_wide = layout.width == CONLL_U and _counts(table, 0, WORD_NUMBER)
    if is_wide and (layout.delimiter == "\t" or all(WORD_HEAD.fullmatch(columns[HEAD]) for columns in even)):
        layout.is_conll_u = True
        layout.word, layout.tag = word or FORM, UPOS if tag == -1 else tag
        layout.note = f"CoNLL-U: words of column {layout.word}, tags of column {layout.tag}"
    elif layout.width >= ONTONOTES and _counts(table, ONTONOTES_NUMBER, NUMBER) and not _counts(table, 0, NUMBER):
        layout.word, layout.tag = word or ONTONOTES_WORD, ONTONOTES_ENTITY if tag == -1 else tag
        layout.note = f"CoNLL-2012: words of column {layout.word}, tags of column {layout.tag}"
    elif layout.width > 1 + tagged and not word and _counts(table, 0, NUMBER):
        layout.word = 1
        nested = layout.width == GERMEVAL and all(TAG.fullmatch(c[2]) and TAG.fullmatch(c[3]) for c in even)
        layout.tag = OUTER_TAG if nested and tag == -1 else tag
        what = f"the outer tags, of column {OUTER_TAG}" if layout.tag == OUTER_TAG and nested else "the tags"
        layout.note = f"column 0 numbers the words, which are column 1, with {what}"


def _counts(table: list[list[list[str]]], column: int, pattern: re.Pattern[str]) -> bool:
    """Return whether a column numbers the words of each sentence from 0 or 1; other values of `pattern` are ignored."""
    for block in table:
        cells = [columns[column] if column < len(columns) else "" for columns in block]
        if not all(map(pattern.fullmatch, cells)):
            return False
        numbers = [int(cell) for cell in cells if NUMBER.fullmatch(cell)]
        if not numbers or numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            return False
    return True
