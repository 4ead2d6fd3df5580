"""Inputs of trained models in windows, and the treatment of malformed and too long ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from tformer_cli.config.schema import Names
from tformer_cli.errors import DataError, TformerError
from tformer_cli.predictors.base import Input, Prediction

Value = TypeVar("Value")

OnLong = Names("OnLong", "error cut skip")
"""The treatment of inputs that are longer than the model's limit."""


class BadInput(DataError):
    """An input that is malformed or too long.

    Args:
        number: number of inputs before it.
        reason: what is wrong with it.
        remedy: the remedy.
    """

    def __init__(self, number: int, reason: str, remedy: str) -> None:
        self.number, self.reason = number, reason
        super().__init__(f"input line {number + 1}: {reason}", remedy)


@dataclass
class Refusal:
    """The reason why an input has no prediction, and the remedy."""

    reason: str
    remedy: str


@dataclass
class Readable(Generic[Value]):
    """An input in the form that the model reads, with a note for the user."""

    value: Value
    note: str = ""


Answer = Readable[Value] | Prediction
"""A readable input, or the prediction of a skipped input with the reason in `details["error"]`."""


def windows(
    inputs: Iterable[Input], size: int, *, largest: int = 0, before: int = 0
) -> Iterator[tuple[int, list[Input]]]:
    """Yield windows of inputs with the number of inputs before them; sizes double from `size` up to `largest`.

    An error in reading an input is raised after the inputs before it are yielded.

    Args:
        inputs: lines, rows or files.
        size: size of the first window.
        largest: size of the largest window; `size` if it is smaller.
        before: number of preceding inputs that are not given; windows end where they would end if these were given too.
    """
    lines, start = iter(inputs), 0
    while start + size <= before:
        start, size = start + size, max(size, min(2 * size, largest))
    remaining = start + size - before
    while True:
        part: list[Input] = []
        error: TformerError | None = None
        try:
            for line in islice(lines, remaining):
                part.append(line)  # noqa: PERF402 - inputs before an error are kept
        except TformerError as raised:
            error = raised
        if part:
            yield before, part
        if error is not None:
            raise error
        if not part:
            return
        before += len(part)
        remaining = size = max(size, min(2 * size, largest))


def readable(
    inputs: Iterable[Input],
    size: int,
    read: Callable[[list[Any]], Sequence[Answer[Value] | Refusal | DataError]],
    *,
    largest: int = 0,
    before: int = 0,
) -> Iterator[tuple[int, list[Answer[Value]]]]:
    """Yield windows of readable inputs; the error for a refused input is raised after those before it.

    Args:
        inputs: lines, rows or files.
        size: size of the first window; see `windows`.
        read: converts the inputs of a window to the form that the model reads.
        largest: see `windows`.
        before: see `windows`.

    Raises:
        BadInput: for a `Refusal`.
        DataError: for another error that `read` returns for an input.
    """
    for first, lines in windows(inputs, size, largest=largest, before=before):
        items: list[Answer[Value]] = []
        bad: DataError | None = None
        for number, item in enumerate(read(lines), first):
            if isinstance(item, (Refusal, DataError)):
                bad = BadInput(number, item.reason, item.remedy) if isinstance(item, Refusal) else item
                break
            items.append(item)
        if items:
            yield first, items
        if bad is not None:
            raise bad


def merged(items: Iterable[Answer[Value]], answers: Iterable[Prediction]) -> Iterator[Prediction]:
    """Yield the predictions of all items in order; `answers` are the predictions of the `Readable` items."""
    waiting = iter(answers)
    for item in items:
        if isinstance(item, Prediction):
            yield item
            continue
        answer = next(waiting)
        if item.note:
            answer.details["note"] = item.note
        yield answer


def parts_of(row: Input) -> list[str]:
    """Return the texts of an input: the columns of a row, or the fields of a line separated by tabs."""
    return row.split("\t") if isinstance(row, str) else list(row)
