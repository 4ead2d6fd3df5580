"""Sentences of words with a tag each: CoNLL columns, tables with lists, or a Hugging Face dataset."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tformer_cli.data import files
from tformer_cli.data.source import hub_origin, hub_rows
from tformer_cli.data.splits import draw, read_split
from tformer_cli.data.store import text_digest
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import TaggedDataConfig

SETTINGS = "data.words, data.tags"
DOCUMENT = "-DOCSTART-"
"""The word that opens a document in CoNLL 2003: no sentence."""


@dataclass(frozen=True)
class TaggedSentences:
    """The sentences of a split.

    Attributes:
        words: of each sentence.
        tags: as many.
        origin: where they come from, for people.
        hash: SHA-256 of all, in hex.
    """

    words: list[list[str]]
    tags: list[list[str]]
    origin: str
    hash: str = field(default="")

    def __post_init__(self) -> None:
        """Compute the hash."""
        columns = (["\n".join(row) for row in part] for part in (self.words, self.tags))
        digest = "".join(text_digest([column], self.origin) for column in columns)
        object.__setattr__(self, "hash", hashlib.sha256(digest.encode()).hexdigest())

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.words)

    def select(self, rows: np.ndarray, origin: str) -> TaggedSentences:
        """Some of the sentences."""
        return TaggedSentences([self.words[row] for row in rows], [self.tags[row] for row in rows], origin)


def read_tagged(config: TaggedDataConfig, split: str, *, seed: int) -> dict[str, TaggedSentences]:
    """Read a split, as `read_split`: where there is no validation split, training sentences drawn by the seed serve.

    Raises:
        ConfigError: if the data's location or columns are impossible.
        DataError: if the split is not there, or malformed; names file and line.
    """
    return read_split(config, split, functools.partial(_read, config), functools.partial(draw, seed=seed))


def _read(config: TaggedDataConfig, found: str | list[Path]) -> TaggedSentences:
    words: list[list[str]] = []
    tags: list[list[str]] = []
    wanted = [config.words, config.tags]
    if isinstance(found, str):
        rows = hub_rows(config, found, wanted, setting=SETTINGS, values=wanted)
        return _of_lists(files.transpose(rows, 2), hub_origin(config, found))
    for path in found:
        if files.table_kind(path):
            rows = files.table_rows(path, wanted, setting=SETTINGS, values=wanted)
            part = _of_lists(files.transpose(rows, 2), str(path))
            words += part.words
            tags += part.tags
            continue
        for sentence in _sentences(path, config):
            words.append([word for word, _ in sentence])
            tags.append([tag for _, tag in sentence])
    if not words:
        raise DataError(f"{found[0]}: there are no sentences")
    return TaggedSentences(words, tags, str(found[0]))


def _sentences(path: Path, config: TaggedDataConfig) -> Iterator[list[tuple[str, str]]]:
    """CoNLL: a word a line, its columns apart by white space, a blank line after each sentence."""
    sentence: list[tuple[str, str]] = []
    width = 0
    for number, line in enumerate([*files.read_lines(path), ""], 1):
        columns = line.split()
        if not columns:
            if sentence and sentence[0][0] != DOCUMENT:
                yield sentence
            sentence = []
            continue
        width = width or len(columns)
        if len(columns) != width:
            raise DataError(f"{path}:{number}: {len(columns)} columns where the lines before have {width}")
        try:
            sentence.append((columns[config.word_column], columns[config.tag_column]))
        except IndexError as error:
            cause = f"{path}:{number}: {width} columns"
            raise DataError(cause, "see data.word_column and data.tag_column, which count from 0") from error


def _of_lists(columns: list[list[str]], origin: str) -> TaggedSentences:
    rows: list[list[list[str]]] = [[], []]
    for number, row in enumerate(zip(*columns, strict=True), 1):
        lists = []
        for text in row:
            try:
                values = json.loads(text)
            except ValueError:
                values = text.split()
            if not isinstance(values, list):
                raise DataError(f"{origin}: row {number}: not a list of words and one of tags")
            lists.append([value if isinstance(value, str) else json.dumps(value) for value in values])
        if len(lists[0]) != len(lists[1]) or not lists[0]:
            raise DataError(f"{origin}: row {number}: {len(lists[0])} words and {len(lists[1])} tags")
        for part, values in zip(rows, lists, strict=True):
            part.append(values)
    return TaggedSentences(rows[0], rows[1], origin)
