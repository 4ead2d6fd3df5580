"""Predictors for lines or rows of text, with the treatment of malformed and too long inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from tformer_cli.config.schema import BadSample, DecodeConfig
from tformer_cli.data.core.cells import invalid_character
from tformer_cli.decode.search import batch_sentences
from tformer_cli.decode.workers import Share, Workers, unshared
from tformer_cli.objectives.base import M
from tformer_cli.predictors.base import Input, Prediction, Predictor
from tformer_cli.predictors.inputs import Answer, OnLong, Readable, Refusal, merged, readable

WINDOW_BATCHES, LARGEST_WINDOW_BATCHES = 8, 64
"""Numbers of batches in the first and in the largest window of inputs, which are read ahead and sorted by length.
Windows double in size: small ones at first give early predictions, large ones give equal work to many cores."""


class TextPredictor(Predictor[M]):
    """Base class of predictors for text; a subclass implements `_read_valid` and `_answer`, or `predict`."""

    options = frozenset({"batch"})
    on_long = OnLong.error
    on_long_remedy = ", or add --on-long cut or --on-long skip"
    """End of the remedy for an input that is too long; empty for a command without this option."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the data."""
        return self.data.tokenizer

    def predict(self, model: M, inputs: Iterable[Input], share: Share = unshared) -> Iterator[Prediction]:
        """Yield a prediction for each line or row, in order; `decode.batch` of them are read together."""
        for _, items in readable(inputs, batch_sentences(self.config.decode), self.read_inputs):
            rows = [item.value for item in items if isinstance(item, Readable)]
            yield from merged(items, self._answer(model, rows) if rows else [])

    def read_inputs(self, inputs: list[Input]) -> list[Answer[Any] | Refusal]:
        """Convert lines or rows to the input of `_answer`, or to refusals; an invalid character is malformed."""
        faults = [_invalid_character(row) for row in inputs]
        valid = [row for row, fault in zip(inputs, faults, strict=True) if not fault]
        answers = iter(self._read_valid(valid) if valid else [])
        return [self._malformed(f"it holds {fault}", "correct it") if fault else next(answers) for fault in faults]

    def _read_valid(self, inputs: list[Input]) -> Sequence[Answer[Any] | Refusal]:
        """Convert lines or rows of valid text, see `read_inputs`."""
        raise NotImplementedError

    def _answer(self, model: M, rows: list[Any]) -> list[Prediction]:
        """Return the predictions for the output of `read_inputs`."""
        raise NotImplementedError

    def _malformed(self, reason: str, remedy: str) -> Prediction | Refusal:
        """Return the result for a malformed input: by `trainer.on_bad_sample`, an error or a skipped input."""
        stop = self.config.trainer.on_bad_sample is BadSample.stop
        return Refusal(reason, remedy) if stop else Prediction("", {"error": reason})

    def _too_long(self, size: str, remedy: str, cut: Any, lost: str) -> Answer[Any] | Refusal:
        """Return the result for an input beyond the model's limit: by `on_long`, an error, a skipped or a cut input.

        Args:
            size: message with its length and the limit.
            remedy: the remedy.
            cut: the input after cutting.
            lost: message about the part that is cut off.
        """
        if self.on_long is OnLong.cut:
            return Readable(cut, f"{size}; {lost}")
        return (
            Refusal(size, remedy + self.on_long_remedy)
            if self.on_long is OnLong.error
            else Prediction("", {"error": size})
        )


def _invalid_character(row: Input) -> str:
    """Return the first `invalid_character` of an input; "" without one."""
    texts = [row] if isinstance(row, str) else [text for text in row if isinstance(text, str)]
    return next(filter(None, map(invalid_character, texts)), "")


def searched(
    inputs: Iterable[Input],
    read: Callable[[list[Any]], Sequence[Answer[Any] | Refusal]],
    divide: Callable[[list[tuple[int, Any]]], Sequence[tuple[list[int], Any]]],
    search: Callable[[Any], list[Prediction]],
    decode: DecodeConfig,
    device: torch.device,
    share: Share = unshared,
    *,
    before: int = 0,
) -> Iterator[Prediction]:
    """Yield predictions of a search, in the order of the inputs, on all cores.

    Args:
        inputs: lines.
        read: converts lines to the form that the model reads.
        divide: divides numbered lines into jobs, longest first; a job is the numbers of its lines and the arguments of
            the search.
        search: returns the predictions of a job.
        decode: number of lines read together, and number of processes.
        device: device of the model.
        share: distribution of batches among ranks.
        before: number of preceding lines that are not given; the windows are the same as if they were.
    """
    size = batch_sentences(decode)
    largest = LARGEST_WINDOW_BATCHES * size
    with Workers(search, decode.workers, device) as workers:
        for first, items in readable(inputs, WINDOW_BATCHES * size, read, largest=largest, before=before):
            rows = [(number, item.value) for number, item in enumerate(items, first) if isinstance(item, Readable)]
            divided = divide(rows)
            arguments = [job for _, job in divided]
            answers = share(partial(workers.map, one_of_many=len(arguments) > 1), arguments)
            predictions: dict[int, Prediction] = {}
            for (numbers, _), answer in zip(divided, answers, strict=True):
                predictions |= zip(numbers, answer, strict=True)
            yield from merged(items, [predictions[number] for number, _ in rows])
