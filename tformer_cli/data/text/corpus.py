"""Running text: documents from files, tables, a Hugging Face dataset, or built in.

A split is written to files as it is read (`tformer_cli.data.core.store`), so that it may be larger than memory; a
document may not.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.config.schema import Documents
from tformer_cli.data.core import files
from tformer_cli.data.core.cells import Gate
from tformer_cli.data.core.hub import hub_origin, hub_rows
from tformer_cli.data.core.media import listed, listing, shown
from tformer_cli.data.core.names import NAMES
from tformer_cli.data.core.splits import TEXT, is_other_split, read_split
from tformer_cli.data.core.store import gather, text_digest
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import CorpusDataConfig


SETTING = "data.column"


@dataclass(frozen=True)
class Corpus:
    """The documents of a split, in the order of the source.

    Attributes:
        documents: their text, in files or in memory.
        origin: source of the documents, for messages.
        notes: notes about skipped rows, one line each.
    """

    documents: Sequence[str]
    origin: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is text."""
        if not any(text.strip() for text in self.documents):
            raise DataError(f"{self.origin}: there is no text")

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the text, in hex."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        """Return the hash, which is computed on first use, as it reads all text."""
        return text_digest([self.documents], self.origin)

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.documents)

    @property
    def bytes(self) -> int:
        """Return the size of the text in UTF-8, in bytes."""
        return sum(len(text.encode()) for text in self.documents)

    def sentences(self, cache: str) -> Corpus:
        """Return the lines that contain text as documents; `cache` is `data.cache`."""
        lines = ([line] for text in self.documents for line in sentences_of(text))
        return Corpus(gather(lines, 1, cache=cache, origin=self.origin, unit="line")[0], self.origin)


def sentences_of(text: str) -> list[str]:
    """Return the lines of a document that contain text."""
    return [line for line in text.split("\n") if line.strip()]


def read_corpus(config: CorpusDataConfig, split: str, *, skip: bool = False) -> dict[str, Corpus]:
    """Read a split; without a validation split, the end of the training split is used.

    Args:
        config: location of the data.
        split: train, validation or test.
        skip: skip rows of a table whose document is null or NaN, which are an error otherwise.

    Raises:
        ConfigError: if the data's location is impossible.
        DataError: if the split is missing or malformed; names file and line.
    """
    return read_split(config, split, functools.partial(_read, config, skip), _divide)


def _divide(corpus: Corpus, share: float) -> tuple[Corpus, Corpus | None]:
    begin, end = cut(corpus.documents, share)
    validation = Corpus(end, f"{corpus.origin}, the last {share:.0%}", corpus.notes) if any(end) else None
    return Corpus(begin, corpus.origin, corpus.notes), validation


def cut(documents: Sequence[str], share: float) -> tuple[Sequence[str], Sequence[str]]:
    """Divide documents into a beginning and an end that contains `share` of all characters.

    Several documents are not divided, and each part contains at least one. A single document is divided at a character.
    """
    if not share:
        return documents, []
    if len(documents) == 1:
        position = round(len(documents[0]) * (1 - share))
        return [documents[0][:position]], [documents[0][position:]]
    needed, count, taken = share * sum(map(len, documents)), 0, 0
    while taken < needed and count < len(documents) - 1:
        count += 1
        taken += len(documents[-count])
    return documents[:-count], documents[-count:]


def _read(config: CorpusDataConfig, skip: bool, location: str | list[Path]) -> Corpus:
    if config.source.name == "builtin":
        from tformer_cli.builtin import python_docs

        return Corpus(
            python_docs.documents(str(location), config.size if location == "train" else 0, config.cache),
            f"built-in {config.path}, {location}",
        )
    gate = Gate(skip=skip)  # a document may be empty, or the word "None"
    if isinstance(location, str):
        origin = hub_origin(config, location)
        rows = hub_rows(config, location, [config.column], setting=SETTING, gate=gate, blank=[config.column])
    else:
        origin = str(location[0]) if len(location) == 1 else f"{location[0].parent} ({len(location)} files)"
        rows = chain.from_iterable(_rows(config, path, gate) for path in location)
    documents = gather(rows, 1, cache=config.cache, origin=origin, unit="text")[0]
    left_out = "" if isinstance(location, str) else _left_out(config, location)
    return Corpus(documents, origin, (*gate.notes(len(documents)), *([left_out] if left_out else [])))


def _left_out(config: CorpusDataConfig, paths: Sequence[Path]) -> str:
    """Return a line that counts by kind the other files in a folder of text files; "" if there are none."""
    folder, named = paths[0].parent, {config.train.lower(), Path(config.path).stem.lower(), *chain(*NAMES.values())}
    if len(paths) == 1 and paths[0].name.lower().partition(".")[0] in named:
        return ""  # a file that is named, and no folder
    is_data_folder = folder == Path(config.path).expanduser()
    listed_files = listing(folder, (TEXT,), is_other_split(config) if is_data_folder else lambda name: False)
    below = [path for path in listed_files.files if path.parent != folder]
    kinds = Counter(path.suffix.lower() or "without an ending" for path in listed_files.others)
    kinds.update({"in folders below": len(below)})
    counts = ", ".join(f"{count:,} {kind}" for kind, count in (+kinds).most_common(8))
    names = listed([str(path.relative_to(folder)) for path in (*below, *listed_files.others)])
    return f"left out of {shown(str(folder))}: {counts} ({names})" if counts else ""


def _rows(config: CorpusDataConfig, path: Path, gate: Gate) -> Iterator[list[str]]:
    """Yield the documents of a file, each as a row of one column."""
    if files.table_kind(path):
        column = [config.column]
        return files.table_rows(path, column, setting=SETTING, names=None, gate=gate, blank=column)
    return ([text] for text in divide(files.lines(path), config.documents))


def divide(lines: Iterable[str], kind: Documents) -> Iterator[str]:
    """Divide the lines of a text file into documents: the file, its lines, or its blocks between blank lines."""
    if kind is Documents.file:
        yield "\n".join(lines) + "\n"
        return
    block: list[str] = []
    for line in chain(lines, [""]):
        if line.strip():
            block.append(line)
        if block and (kind is Documents.line or not line.strip()):
            yield "\n".join(block)
            block = []
