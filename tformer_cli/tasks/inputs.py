"""What a trained model is asked, line by line: what cannot be read of it, and what is too long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from tformer_cli.config.schema import DecodeConfig, Names
from tformer_cli.errors import DataError, TformerError
from tformer_cli.tasks.base import Input, Prediction

Value = TypeVar("Value")

OnLong = Names("OnLong", "error cut skip")
"""What becomes of an input that is longer than the model reads."""
SEARCH = frozenset(
    ("beam", "sample", "length_penalty", "max_length", "n_best", "stopping", "temperature", "top_k", "top_p", "seed")
)
"""Settings of `decode` that a search over tokens uses."""


class BadInput(DataError):
    """An input that is malformed, or too long.

    Args:
        number: inputs before it.
        reason: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, number: int, reason: str, remedy: str) -> None:
        self.number, self.reason = number, reason
        super().__init__(f"input line {number + 1}: {reason}", remedy)


@dataclass
class Refusal:
    """Why an input is not answered, and what to do about it."""

    reason: str
    remedy: str


@dataclass
class Readable(Generic[Value]):
    """An input as the model reads it, and what the user should know about it."""

    value: Value
    note: str = ""


Answer = Readable[Value] | Prediction
"""An input to be answered, or its answer already: of one that is skipped, with the reason in `details["error"]`."""


def windows(inputs: Iterable[Input], size: int, *, largest: int = 0) -> Iterator[tuple[int, list[Input]]]:
    """Some inputs at a time, each time with how many came before: `size`, and twice as many again up to `largest`.

    An error in reading one is raised only after those before it have been given.
    """
    lines, before = iter(inputs), 0
    while True:
        part: list[Input] = []
        error: TformerError | None = None
        try:
            for line in islice(lines, size):
                part.append(line)  # noqa: PERF402 - those before an error are kept
        except TformerError as raised:
            error = raised
        if part:
            yield before, part
        if error is not None:
            raise error
        if not part:
            return
        before += len(part)
        size = max(size, min(2 * size, largest))


def readable(
    inputs: Iterable[Input],
    size: int,
    read: Callable[[list[Any]], Sequence[Answer[Value] | Refusal | DataError]],
    *,
    largest: int = 0,
) -> Iterator[tuple[int, list[Answer[Value]]]]:
    """Windows of inputs as the model reads them; the first that is refused is raised after those before it.

    Args:
        inputs: lines, rows or files.
        size: of a window; see `windows`.
        read: from the inputs of a window to what the model reads of each.
        largest: see `windows`.

    Raises:
        BadInput: at a `Refusal`.
        DataError: at another error that `read` gave for an input.
    """
    for before, lines in windows(inputs, size, largest=largest):
        items: list[Answer[Value]] = []
        bad: DataError | None = None
        for number, item in enumerate(read(lines), before):
            if isinstance(item, (Refusal, DataError)):
                bad = BadInput(number, item.reason, item.remedy) if isinstance(item, Refusal) else item
                break
            items.append(item)
        if items:
            yield before, items
        if bad is not None:
            raise bad


def merged(items: Iterable[Answer[Value]], answers: Iterable[Prediction]) -> Iterator[Prediction]:
    """The answers to all items, in order: `answers` has those to what is `Readable`."""
    waiting = iter(answers)
    for item in items:
        if isinstance(item, Prediction):
            yield item
            continue
        answer = next(waiting)
        if item.note:
            answer.details["note"] = item.note
        yield answer


def unused_by_search(decode: DecodeConfig, name: str) -> str:
    """Why a setting has no effect on a search, or on drawing; empty: it has one."""
    if name in ("temperature", "top_k", "top_p", "seed") and not decode.sample:
        return "it is for drawing, and this run searches: add decode.sample=true"
    if name in ("beam", "stopping") and decode.sample:
        return "it is for searching, and this run draws: add decode.sample=false"
    return ""


def parts_of(given: Input) -> list[str]:
    """The texts of an input: the columns of a row, or what tabs divide in a line."""
    return given.split("\t") if isinstance(given, str) else list(given)
