"""Running text: documents from files, tables, a Hugging Face dataset, or built in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.config.schema import Documents
from tformer_cli.data import files
from tformer_cli.data.source import hub_columns
from tformer_cli.data.splits import find_split
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import CorpusDataConfig


@dataclass(frozen=True)
class Corpus:
    """The documents of a split, in the order of the source.

    Attributes:
        documents: their text.
        origin: where they come from, for people.
        hash: SHA-256 of the text, in hex.
    """

    documents: list[str]
    origin: str
    hash: str = field(default="")

    def __post_init__(self) -> None:
        """Check that there is text, and compute the hash."""
        if not any(text.strip() for text in self.documents):
            raise DataError(f"{self.origin}: there is no text")
        object.__setattr__(self, "hash", text_digest(self.documents, self.origin))

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.documents)

    @property
    def bytes(self) -> int:
        """Size of the text in UTF-8."""
        return sum(len(text.encode()) for text in self.documents)


def read_corpus(config: CorpusDataConfig, split: str) -> Corpus:
    """Read a split.

    Where there is no validation split, the end of the training split serves: `data.validation_share` of its
    characters, whole documents where there are several.

    Args:
        config: where it is.
        split: train, validation or test.

    Raises:
        ConfigError: if the data's location is impossible.
        DataError: if the split is not there, or malformed; names file and line.
    """
    found = find_split(config, split)
    if found is None and split == "test":
        raise DataError(f"{config.path}: no test split was found", "name it: data.test=..., or score validation")
    if found is not None and (split == "test" or find_split(config, "validation") is not None):
        return _read(config, found)
    train = find_split(config, "train")
    whole = _read(config, train)
    begin, end = cut(whole.documents, config.validation_share)
    if split == "validation":
        if not any(end):
            raise DataError(f"{whole.origin}: no validation split", "data.validation=..., or data.validation_share=0.1")
        return Corpus(end, f"{whole.origin}, the last {config.validation_share:.0%}")
    return Corpus(begin, whole.origin)


def cut(documents: list[str], share: float) -> tuple[list[str], list[str]]:
    """Divide documents into a beginning, and an end that has `share` of all characters.

    Several documents stay whole; at least one goes to each side. A single one is cut at a character.
    """
    if not share:
        return documents, []
    if len(documents) == 1:
        place = round(len(documents[0]) * (1 - share))
        return [documents[0][:place]], [documents[0][place:]]
    wanted, count, taken = share * sum(map(len, documents)), 0, 0
    while taken < wanted and count < len(documents) - 1:
        count += 1
        taken += len(documents[-count])
    return documents[:-count], documents[-count:]


def _read(config: CorpusDataConfig, found: str | list[Path]) -> Corpus:
    if config.source.name == "builtin":
        from tformer_cli.data.builtin import python_docs

        return Corpus(
            python_docs.documents(str(found), config.size if found == "train" else 0, config.cache),
            f"built-in {config.path}, {found}",
        )
    if isinstance(found, str):
        (texts,), origin = hub_columns(config, found, [config.column], setting="data.column")
        return Corpus(texts, origin)
    documents: list[str] = []
    for path in found:
        if files.table_kind(path):
            documents += files.read_table(path, [config.column], setting="data.column")[0]
        else:
            documents += divide(files.read_lines(path), config.documents)
    origin = str(found[0]) if len(found) == 1 else f"{found[0].parent} ({len(found)} files)"
    return Corpus(documents, origin)


def divide(lines: Iterable[str], kind: Documents) -> list[str]:
    """The documents of a text file's lines; empty ones are left out."""
    if kind is Documents.line:
        return [line for line in lines if line.strip()]
    if kind is Documents.file:
        return ["\n".join(lines) + "\n"]
    return list(_blocks(lines))


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []


def text_digest(documents: list[str], origin: str) -> str:
    """SHA-256 of texts, in hex.

    Raises:
        DataError: at a NUL or half of a surrogate pair; names the text.
    """
    digest = hashlib.sha256(f"{len(documents)}\0".encode())
    for number, text in enumerate(documents, 1):
        if "\0" in text:
            raise DataError(f"{origin}: text {number}: a NUL character", "remove it")
        try:
            digest.update(text.encode() + b"\0")
        except UnicodeEncodeError as error:
            raise DataError(f"{origin}: text {number}: half of a surrogate pair, which is no text") from error
    return digest.hexdigest()
