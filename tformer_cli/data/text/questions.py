"""Questions with the texts that answer them, in SQuAD's JSON (Rajpurkar et al. 2016, 2018)."""

from __future__ import annotations

import functools
import hashlib
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tformer_cli.data.core import files
from tformer_cli.data.core.cells import BadRow, Gate, MissingValue, cell_text
from tformer_cli.data.core.splits import draw, read_split
from tformer_cli.data.core.store import text_digest
from tformer_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import QuestionDataConfig


@dataclass(frozen=True)
class Question:
    """A question with its context and its answers.

    Attributes:
        name: its id in the data.
        question: its text.
        context: the text that may answer it.
        answers: correct answers, and the index of each one's first character in the context; none: it has no answer.
    """

    name: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Questions:
    """The questions of a split.

    Attributes:
        rows: the questions.
        origin: source of the questions, for messages.
        hash: SHA-256 of the questions, in hex.
        notes: notes about skipped questions, one line each.
    """

    rows: list[Question]
    origin: str
    hash: str = field(default="")
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Compute the hash."""
        texts = [json.dumps([row.question, row.context, row.answers], ensure_ascii=False) for row in self.rows]
        object.__setattr__(self, "hash", hashlib.sha256(text_digest([texts], self.origin).encode()).hexdigest())

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.rows)

    def select(self, rows: np.ndarray, origin: str) -> Questions:
        """Return the split of the questions at the given indices, with another `origin`."""
        return Questions([self.rows[row] for row in rows], origin, notes=self.notes)


def read_questions(config: QuestionDataConfig, split: str, *, seed: int, skip: bool = False) -> dict[str, Questions]:
    """Read a split; without a validation split, training questions drawn by the seed are used.

    Args:
        config: location of the data.
        split: train, validation or test.
        seed: seed of the draw.
        skip: skip questions without text or without answers, which are an error otherwise.

    Raises:
        ConfigError: if `data.source` is not files.
        DataError: if the split is missing or malformed; names file and question.
    """
    if config.source.name != "files":
        raise ConfigError(f"data.source: questions are read from files, not {config.source.name}", "data.source=files")
    gate = Gate(frozenset(config.missing), skip)
    divide = functools.partial(draw, seed=seed)
    return read_split(config, split, functools.partial(read_squad, gate=gate), divide)


def read_squad(contents: Any, gate: Gate | None = None) -> Questions:
    """Read the questions of files in SQuAD's JSON.

    Args:
        contents: the files.
        gate: decides which values are missing and whether such questions are skipped; None: only null is missing.

    Raises:
        DataError: if one is malformed; names it.
    """
    rows: list[Question] = []
    gate = gate or Gate()
    for path in contents:
        for row in squad_rows(path, gate, answered=True):
            if isinstance(row, BadRow):
                gate.refuse(row)
            else:
                rows.append(row)
    notes = gate.notes(len(rows))
    if not rows:
        raise DataError(f"{contents[0]}: there are no questions")
    return Questions(rows, str(contents[0]), notes=notes)


def squad_rows(path: Path, gate: Gate, *, answered: bool) -> Iterator[Question | BadRow]:
    """Yield the questions of a file in SQuAD's JSON, or what is wrong with them.

    Args:
        path: the file.
        gate: decides which values are missing.
        answered: whether answers are required and read.

    Raises:
        DataError: if the file is malformed; names it.
    """
    try:
        document = json.loads("\n".join(files.read_lines(path)))
        for article in document["data"]:
            for paragraph in article["paragraphs"]:
                for entry in paragraph["qas"]:
                    try:
                        row = _question(path, paragraph["context"], entry, gate, answered=answered)
                    except BadRow as bad:
                        row = bad
                    yield row
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        cause = f"{path}: not SQuAD's JSON ({str(error)[:100] or type(error).__name__})"
        raise DataError(cause, "write {data: [{paragraphs: [{context, qas: [{id, question, answers}]}]}]}") from error


def _question(path: Path, context: Any, entry: dict, gate: Gate, *, answered: bool) -> Question:
    name, location = str(entry["id"]), f"{path}: question {entry['id']}"
    context = cell_text(context, location, "context", gate)
    question = cell_text(entry["question"], location, "question", gate)
    impossible = entry.get("is_impossible") or not answered
    if not impossible and entry["answers"] is None:
        raise MissingValue(location, "answers", None)
    answers = []
    for answer in [] if impossible else entry["answers"]:
        cell_text(answer["text"], location, "answer", Gate())
        text, start = answer["text"], answer["answer_start"]
        if not isinstance(start, int) or start < 0 or context[start : start + len(text)] != text or not text:
            cause = f"{location}: the answer {text[:40]!r} does not stand at character {start} of its text"
            raise DataError(cause, _remedy(context, text, start))
        answers.append((text, start))
    return Question(name, question, context, tuple(answers))


def _remedy(context: str, text: Any, start: Any) -> str:
    """Return a possible cause for a wrong answer offset: other units, or another composition of characters."""
    remedy = "answer_start counts characters (Unicode code points) from 0"
    if not isinstance(start, int) or not isinstance(text, str) or not text or start < 0:
        return remedy
    for encoding, width, unit in (("utf-16-le", 2, "UTF-16 units"), ("utf-8", 1, "bytes")):
        data, answer = (part.encode(encoding, "surrogatepass") for part in (context, text))
        if data[start * width : start * width + len(answer)] == answer:
            return f"{remedy}; it seems to count {unit} here"
    if text not in context and unicodedata.normalize("NFC", text) in unicodedata.normalize("NFC", context):
        return f"{remedy}; text and answer differ in their Unicode form (NFC, NFD)"
    return remedy
