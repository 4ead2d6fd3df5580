"""Sentences of words with a tag each: CoNLL columns, tables with lists, or a Hugging Face dataset."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tformer_cli.data.core import files
from tformer_cli.data.core.cells import Gate, Location, Locations, MissingValue, read_list
from tformer_cli.data.core.division import Labels
from tformer_cli.data.core.hub import hub_origin, hub_rows
from tformer_cli.data.core.splits import draw, read_split
from tformer_cli.data.core.store import text_digest
from tformer_cli.data.text.conll import Sentence, read_conll
from tformer_cli.data.text.sentences import separated_words
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import TaggedDataConfig

SETTINGS = "data.words, data.tags"


@dataclass(frozen=True)
class TaggedSentences:
    """The sentences of a split.

    Attributes:
        words: words of each sentence.
        tags: tags of each sentence, one per word.
        origin: source of the sentences, for messages.
        hash: SHA-256 of words and tags, in hex.
        locations: location of each sentence; None: errors name its index in the split.
        notes: notes about skipped sentences and the layout of columns, one line each.
    """

    words: list[list[str]]
    tags: list[list[str]]
    origin: str
    hash: str = field(default="")
    locations: Locations | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Compute the hash."""
        columns = (["\n".join(row) for row in part] for part in (self.words, self.tags))
        digest = "".join(text_digest([column], self.origin) for column in columns)
        object.__setattr__(self, "hash", hashlib.sha256(digest.encode()).hexdigest())

    def __len__(self) -> int:
        """Return the number of sentences."""
        return len(self.words)

    def select(self, rows: np.ndarray, origin: str) -> TaggedSentences:
        """Return the split of the sentences at the given indices, with another `origin`."""
        words, tags = ([part[row] for row in rows] for part in (self.words, self.tags))
        locations = None if self.locations is None else self.locations.select(rows)
        return TaggedSentences(words, tags, origin, locations=locations, notes=self.notes)

    def location(self, row: int) -> str:
        """Return the name of a sentence in error messages."""
        return f"{self.origin}: sentence {row + 1}" if self.locations is None else str(self.locations[row])


def read_tagged(config: TaggedDataConfig, split: str, *, seed: int, skip: bool = False) -> dict[str, TaggedSentences]:
    """Read a split; without a validation split, training sentences drawn by the seed are used.

    Args:
        config: location of the data.
        split: train, validation or test.
        seed: seed of the draw.
        skip: skip sentences without a word or a tag, which are an error otherwise.

    Raises:
        ConfigError: if the data's location or columns are impossible.
        DataError: if the split is missing or malformed; names file and line.
    """

    def labels(data: TaggedSentences) -> Labels | None:
        return [set(tags) for tags in data.tags] if config.stratified else None

    divide = functools.partial(draw, seed=seed, labels=labels)
    return read_split(config, split, functools.partial(_read, config, skip), divide)


def _read(config: TaggedDataConfig, skip: bool, location: str | list[Path]) -> TaggedSentences:
    gate = Gate(frozenset(config.missing), skip)
    sentences: list[Sentence] = []
    notes: list[str] = []
    if isinstance(location, str):
        sentences, origin = _of_table(config, gate, location), hub_origin(config, location)
    else:
        origin = str(location[0])
        for path in location:
            if files.table_kind(path):
                sentences += _of_table(config, gate, path)
            else:
                more, note = read_conll(path, config, gate)
                sentences += more
                notes += [note] if note else []
    notes += gate.notes(len(sentences))
    if not sentences:
        raise DataError(f"{origin}: there are no sentences")
    if len(sentences) > 1 and all(len(words) == 1 for _, words, _ in sentences):
        notes.append(
            "every sentence has one word: a table holds a sentence a row, a CoNLL file an empty line after each"
        )
    words, tags = [words for _, words, _ in sentences], [tags for _, _, tags in sentences]
    locations = Locations(location for location, _, _ in sentences)
    return TaggedSentences(words, tags, origin, locations=locations, notes=tuple(dict.fromkeys(notes)))


def _of_table(config: TaggedDataConfig, gate: Gate, location: str | Path) -> list[Sentence]:
    """Return the sentences of a table, or of a split of a dataset."""
    columns, locations = [config.words, config.tags], Locations()
    options: dict[str, Any] = {"setting": SETTINGS, "values": columns, "gate": gate, "locations": locations}
    if isinstance(location, str):
        rows: Iterable[list[str]] = hub_rows(config, location, columns, **options)
    else:
        rows = files.table_rows(location, columns, names=None, **options)
    sentences = []
    for number, (words, tags) in enumerate(rows):
        try:
            sentences.append(_of_lists(locations[number], words, tags, config, gate))
        except MissingValue as missing:
            gate.refuse(missing)
    return sentences


def _of_lists(location: Location, words: str, tags: str, config: TaggedDataConfig, gate: Gate) -> Sentence:
    """Return a sentence from two lists in JSON, Python or NumPy notation, or separated by blanks."""
    try:
        lists = read_list(words), read_list(tags)
    except ValueError as error:
        raise DataError(f"{location}: a list of words or tags {error}") from error
    choices = [
        [lists_of_text, separated_words(text), text.split()]
        for lists_of_text, text in zip(lists, (words, tags), strict=True)
    ]
    pairs = [(left, right) for left in choices[0] for right in choices[1] if left is not None and right is not None]
    word_list, tag_list = next(((left, right) for left, right in pairs if len(left) == len(right)), pairs[0])
    if not word_list:
        raise MissingValue(location, config.words, "")
    if len(word_list) != len(tag_list):
        cause = f"{location}: {len(word_list)} words and {len(tag_list)} tags"
        raise DataError(cause, "each word needs a tag: lists of one length, as JSON writes them")
    if any(not word.strip() for word in word_list):
        raise MissingValue(location, f"a word in {config.words}", "")
    lacking = next((tag for tag in tag_list if gate.lacks(tag)), None)
    if lacking is not None:
        raise MissingValue(location, f"a tag in {config.tags}", lacking)
    return location, word_list, tag_list
