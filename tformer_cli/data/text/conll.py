"""Files with one word per line: CoNLL of all years, CoNLL-U, GermEval, WNUT, OntoNotes.

Columns are separated by tabs if every line of a word has one, and by blanks otherwise. An empty line ends a sentence.
Comments and lines that mark documents are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.data.core import files
from tformer_cli.data.core.cells import Gate, Location, MissingValue
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import TaggedDataConfig

DOCUMENT, COMMENT = "-DOCSTART-", "#"
"""First column of a document mark in CoNLL 2002 and 2003; first character of a comment."""
NO_TAG = {"O", "o", "-X-", "-", "_", "0", DOCUMENT}
"""Values in the tag column of a document mark."""
NUMBER, WORD_NUMBER = re.compile(r"\d{1,9}"), re.compile(r"\d{1,9}(?:[-.]\d{1,9})?")
WORD_HEAD = re.compile(r"\d{1,9}|_")
TAG = re.compile(r"O|[BIESLU]-.+")
BRACKETS = re.compile(r"\*\)?|\([^()*\s]+[*)]")
"""Entities in OntoNotes: (ORG* begins one, * continues it or is outside, *) ends it, (ORG) is one of a single word."""
CONLL_U, FORM, UPOS, HEAD = 10, 1, 3, 6
GERMEVAL, OUTER_TAG = 4, 2
ONTONOTES, ONTONOTES_NUMBER, ONTONOTES_WORD, ONTONOTES_ENTITY = 12, 2, 3, 10
"""Number of columns of these formats (the smallest one of OntoNotes), and indices of columns."""

Block = tuple[int, list[str]]
"""Number of the first line, and the lines; none is empty."""
Table = list[list[str]]
"""Columns of the lines of a block."""
Sentence = tuple[Location, list[str], list[str]]
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
        is_word: whether the beginning of a line shows that it is a word's.
        values: the tags of these lines.
        tags: the tags of lines that cannot be comments.
        note: how the columns were read, if not by the settings.
    """

    delimiter: str
    last: bool = True
    width: int = 0
    word: int = 0
    tag: int = -1
    is_conll_u: bool = False
    is_word: Callable[[str], bool] = lambda line: not line.startswith((COMMENT, DOCUMENT))
    values: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)
    note: str = ""

    def columns(self, line: str) -> list[str]:
        """Return the columns of a line."""
        if not self.delimiter:
            columns = line.replace("\t", " ").split(" ")  # other white space may be a part of a word
            return [column for column in columns if column] if "" in columns else columns
        columns = line.split(self.delimiter)
        columns = [column.strip(" ") for column in columns] if " " in line else columns
        return columns if self.last else columns[:-1]

    def words_and_tags(self, lines: list[str]) -> tuple[list[str], list[str]] | None:
        """Return the words and tags of lines that all have `width` columns; None if a line has not.

        A list for each line would take twice as long, so all lines are divided at once if they are regular: one
        delimiter between columns, and no blanks around them.
        """
        text, delimiter = "\n".join(lines), self.delimiter or " "
        text = text if self.delimiter else text.replace("\t", " ")
        if self.last and not (self.delimiter and " " in text):
            cells = text.replace("\n", f"{delimiter}\n{delimiter}").split(delimiter)
            step, ends = self.width + 1, len(lines) - 1
            is_even = len(cells) == step * len(lines) - 1 and cells[self.width :: step].count("\n") == ends
            if is_even and cells.count("\n") == ends and (self.delimiter or "" not in cells):
                return cells[self.word % self.width :: step], cells[self.tag % self.width :: step]
        table = [self.columns(line) for line in lines]
        if any(len(columns) != self.width for columns in table):
            return None
        return [columns[self.word] for columns in table], [columns[self.tag] for columns in table]

    def has_brackets(self) -> bool:
        """Return whether entities are marked as in OntoNotes."""
        return "*" in self.values and len(self.values) > 1 and all(map(BRACKETS.fullmatch, self.values))


def read_conll(path: Path, config: TaggedDataConfig, gate: Gate) -> tuple[list[Sentence], str]:
    """Read the sentences of a file, and return them with a note on how the columns were read.

    Raises:
        DataError: if there are no sentences, or lines have different numbers of columns, or not the columns of the
            settings; names the line.
    """
    blocks = list(_blocks(files.lines(path)))
    layout = _layout(str(path), blocks, config.delimiter, config.word_column, config.tag_column)
    sentences = list(_sentences(str(path), blocks, layout, gate))
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
    for location, words, _ in _sentences(origin, blocks, layout, None):
        yield location.number, words


def _blocks(lines: Iterable[str]) -> Iterator[Block]:
    """Yield blocks of lines between empty lines."""
    number, block = 0, list[str]()
    for number, line in enumerate(lines, 1):
        if line and not line.isspace():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []
    if block:
        yield number - len(block) + 1, block


def _sentences(path: str, blocks: list[Block], layout: _Layout, gate: Gate | None) -> Iterator[Sentence]:
    """Yield the sentences of a file; without a gate, tags are not checked.

    Nearly all blocks contain only words with their tags, and are read at once. The tags of all blocks decide which
    lines of the others are comments.
    """
    simple = [_simple_block(lines, layout, gate) for _, lines in blocks]
    has_brackets = layout.has_brackets()
    for block, sentence in zip(blocks, simple, strict=True):
        sentences = (
            [(Location(path, block[0], True), *sentence)] if sentence else _line_by_line(path, block, layout, gate)
        )
        try:
            for location, words, tags in sentences:
                yield location, words, _plain_tags(tags) if has_brackets else tags
        except MissingValue as missing:
            if gate is None:
                raise
            gate.refuse(missing)


def _simple_block(lines: list[str], layout: _Layout, gate: Gate | None) -> tuple[list[str], list[str]] | None:
    """Return the words and tags of a block if each line is a word with its tag; None: it is read line by line.

    The tags are added to those of the layout.
    """
    text = "\n".join(lines)
    has_marks = text.startswith(COMMENT) or f"\n{COMMENT}" in text or DOCUMENT in text
    sentence = None if has_marks else layout.words_and_tags(lines)
    if not sentence:
        _add_tags(lines, layout)
        return None
    words, tags = sentence
    values = set(tags)
    layout.values |= values
    layout.tags |= values
    lacks = not all(words) or (gate is not None and any(map(gate.lacks, values)))
    return None if lacks or layout.is_conll_u else sentence


def _add_tags(lines: list[str], layout: _Layout) -> None:
    """Add the tags of lines that are surely words to the layout, and those of lines that may be the word #."""
    for index, line in enumerate(lines):
        is_word = layout.is_word(line)
        if is_word or (index and line.startswith(COMMENT)):
            columns = layout.columns(line)
            if len(columns) == layout.width and (is_word or columns[0] == COMMENT):
                layout.tags.add(columns[layout.tag])
                layout.values |= {columns[layout.tag]} if is_word else set()


def _line_by_line(path: str, block: Block, layout: _Layout, gate: Gate | None) -> Iterator[Sentence]:
    """Yield the sentence of a block, or two if a document begins within it."""
    words: list[str] = []
    tags: list[str] = []
    first, lines = block
    location = Location(path, first, True)
    for number, line in enumerate(lines, first):
        columns = layout.columns(line)
        if _is_mark(line, columns, layout, first=not words):
            if words:
                yield location, words, tags
            words, tags = [], []
            continue
        if _is_comment(line, columns, layout, first=not words):
            continue
        here = Location(path, number, True)
        if len(columns) != layout.width:
            cause = f"{here}: {len(columns)} column{'s'[: len(columns) != 1]}, but the lines before have {layout.width}"
            raise DataError(cause, "correct the line, or name the delimiter: data.delimiter=...")
        if layout.is_conll_u and not NUMBER.fullmatch(columns[0]):
            continue
        location = location if words else here
        word, tag = columns[layout.word], columns[layout.tag]
        if not word or (gate is not None and (gate.lacks(tag) or (layout.is_conll_u and tag == "_"))):
            raise MissingValue(here, "the tag" if word else "the word", tag if word else word)
        words.append(word)
        tags.append(tag)
    if words:
        yield location, words, tags


def _is_mark(line: str, columns: list[str], layout: _Layout, *, first: bool) -> bool:
    """Return whether a line marks a document: it has no tag, and begins a sentence or cannot be a word."""
    if line.split()[0] != DOCUMENT:
        return False
    return (first or "-X-" in columns) and (len(columns) != layout.width or columns[-1] in NO_TAG)


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


def _plain_tags(tags: list[str]) -> list[str]:
    """Convert bracketed tags to IOB2; of nested entities the columns contain only the outermost."""
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


def _layout(path: str, blocks: list[Block], delimiter: str, word_column: int, tag_column: int | None) -> _Layout:
    """Detect the layout of a file, except its tags; if `tag_column` is None, tags are not read."""
    layout = _Layout(delimiter)
    if not any(layout.is_word(line) for _, block in blocks for line in block):
        layout.is_word = _is_word

    def words() -> Iterator[str]:
        return (line for _, block in blocks for line in block if layout.is_word(line))

    head = next(words(), None)
    if head is None:
        raise DataError(f"{path}: there are no sentences", "put a word a line, and an empty line after each sentence")
    layout.delimiter = delimiter or ("\t" if all("\t" in line for line in words()) else "")
    layout.last = not layout.delimiter or any(layout.columns(line)[-1] for line in words())
    layout.width, layout.word = len(layout.columns(head)), word_column
    layout.tag = -1 if tag_column is None else tag_column
    _recognise(layout, blocks, tagged=tag_column is not None)
    numbered = (item for first, block in blocks for item in enumerate(block, first))
    line_number = next(number for number, line in numbered if layout.is_word(line))
    for column in (layout.word, layout.tag):
        if not -layout.width <= column < layout.width:
            cause = f"{path}:{line_number}: {layout.width} columns"
            remedy = "see data.word_column and data.tag_column, which count from 0, and data.delimiter"
            raise DataError(
                cause, "--column says which of them has the words, from 0" if tag_column is None else remedy
            )
    if tag_column is not None and layout.word % layout.width == layout.tag % layout.width:
        cause = (
            f"{path}:{line_number}: words and tags are both in column {layout.word % layout.width} of {layout.width}"
        )
        raise DataError(
            cause, "name them: data.word_column=..., data.tag_column=..., or the delimiter: data.delimiter=..."
        )
    return layout


def _is_word(line: str) -> bool:
    """Return whether a line is a word, in a file whose lines all begin with # or -DOCSTART-."""
    return not line.startswith(DOCUMENT)


def _tables(layout: _Layout, blocks: list[Block]) -> Iterator[Table]:
    """Yield the columns of the lines of words, block by block."""
    for _, block in blocks:
        if table := [layout.columns(line) for line in block if layout.is_word(line)]:
            yield table


def _recognise(layout: _Layout, blocks: list[Block], *, tagged: bool) -> None:
    """Use the columns of a known format, unless the settings name others."""

    def counts(column: int, pattern: re.Pattern[str]) -> bool:
        return _counts(_tables(layout, blocks), column, pattern)

    def matches(column: int, pattern: re.Pattern[str]) -> bool:
        rows = (columns for table in _tables(layout, blocks) for columns in table if len(columns) == layout.width)
        return all(pattern.fullmatch(columns[column]) for columns in rows)

    word, tag = layout.word, layout.tag
    is_wide = layout.width == CONLL_U and counts(0, WORD_NUMBER)
    if is_wide and (layout.delimiter == "\t" or matches(HEAD, WORD_HEAD)):
        layout.is_conll_u = True
        layout.word, layout.tag = word or FORM, UPOS if tag == -1 else tag
        layout.note = f"CoNLL-U: words of column {layout.word}, tags of column {layout.tag}"
    elif layout.width >= ONTONOTES and counts(ONTONOTES_NUMBER, NUMBER) and not counts(0, NUMBER):
        layout.word, layout.tag = word or ONTONOTES_WORD, ONTONOTES_ENTITY if tag == -1 else tag
        layout.note = f"CoNLL-2012: words of column {layout.word}, tags of column {layout.tag}"
    elif layout.width > 1 + tagged and not word and counts(0, NUMBER):
        layout.word = 1
        nested = layout.width == GERMEVAL and matches(2, TAG) and matches(3, TAG)
        layout.tag = OUTER_TAG if nested and tag == -1 else tag
        subject = f"the outer tags, of column {OUTER_TAG}" if layout.tag == OUTER_TAG and nested else "the tags"
        layout.note = f"column 0 numbers the words, which are column 1, with {subject}"


def _counts(tables: Iterable[Table], column: int, pattern: re.Pattern[str]) -> bool:
    """Return whether a column numbers the words of each sentence from 0 or 1; other values of `pattern` are ignored."""
    for table in tables:
        cells = [columns[column] if column < len(columns) else "" for columns in table]
        if not all(map(pattern.fullmatch, cells)):
            return False
        numbers = [int(cell) for cell in cells if NUMBER.fullmatch(cell)]
        if not numbers or numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            return False
    return True
