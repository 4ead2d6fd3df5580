"""What all tasks on text share: splits that are read once, one vocabulary, and answers in the order of the lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tformer_cli.config.schema import DecodeConfig
from tformer_cli.decode.search import together
from tformer_cli.decode.workers import Workers
from tformer_cli.nn.cross_entropy import head_cross_entropy
from tformer_cli.tasks.base import AttentionShape, B, Batch, Loss, M, Prediction
from tformer_cli.tasks.splits import S, SplitsTask, windows
from tformer_cli.tokenizer import Tokenizer, Vocabulary

WINDOW_BATCHES, LARGEST_WINDOW_BATCHES = 8, 64
"""Inputs of so many batches are read ahead, divided by length, searched, and put back into their order: few at first,
for early answers, then each time twice as many, for equal work on many cores."""


@dataclass
class TokenBatch(Batch):
    """Sequences that an encoder reads.

    Attributes:
        tokens: (B, T), int64, padded at the end.
        lengths: real tokens a row, (B,), int64.
    """

    tokens: Tensor
    lengths: Tensor

    def sizes(self) -> tuple[int, int]:
        """Real and padded tokens."""
        return int(self.lengths.sum()), self.tokens.numel()


class TextTask(SplitsTask[S, M, B]):
    """Splits and vocabulary of a task.

    A subclass gives `_training_text`, `_describe_data` and `_describe_batches`, beside what `SplitsTask` asks for;
    `_answer` too, unless it has a `predict` of its own.
    """

    tokenizer: Vocabulary
    """Set by `prepare` or `load`."""

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint."""
        self.tokenizer = Tokenizer.load(folder / "tokenizer")

    def files(self) -> dict[str, bytes]:
        """The tokenizer's files."""
        return {f"tokenizer/{name}": content for name, content in self.tokenizer.files().items()}

    def _training_text(self, train: S) -> dict[str, Iterable[str]]:
        """Lines to train a tokenizer on, by language."""
        raise NotImplementedError

    def _learn(self, train: S) -> None:
        """Take the vocabulary from the settings' place, or from the training split, unless it was loaded."""
        if not hasattr(self, "tokenizer"):
            settings = self.config.tokenizer
            if settings.path:
                self.tokenizer = Tokenizer.load(Path(settings.path))
            else:
                self.tokenizer = Tokenizer.train(self._training_text(train), settings, self.config.seed)

    def describe(self) -> list[tuple[str, str]]:
        """The header's lines on data, batches and vocabulary."""
        tokenizer = self.tokenizer
        return [
            *self._describe_data(),
            ("batches", f"{self.num_batches('train'):,} an epoch, {self._describe_batches()}"),
            ("tokenizer", f"{tokenizer.kind}, {tokenizer.vocab_size:,} pieces, {tokenizer.hash[:12]}"),
        ]

    def _describe_data(self) -> list[tuple[str, str]]:
        raise NotImplementedError

    def _describe_batches(self) -> str:
        raise NotImplementedError

    def _attention_shape(self, length: int) -> AttentionShape:
        model = self.config.model
        return {
            "heads": model.heads,
            "head_dim": model.dim // model.heads,
            "length": max(1, min(length, model.max_length)),
        }

    def _next_token_loss(self, model: Any, hidden: Tensor, targets: Tensor, lengths: Tensor) -> Loss:
        """Label-smoothed cross-entropy of the next token, over real tokens only.

        Args:
            model: has the `output_layer`.
            hidden: the last hidden states, (B, T, D).
            targets: the tokens that follow, (B, T), int64.
            lengths: real tokens a row, (B,), int64.
        """
        real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
        weight, bias = model.output_layer()
        total, log_likelihood = head_cross_entropy(
            hidden[real], weight, targets[real], bias=bias, label_smoothing=self._smoothing(model)
        )
        return Loss(total, lengths.sum(), {"nll": -log_likelihood})

    def predict(self, model: M, inputs: Iterable[str]) -> Iterator[Prediction]:
        """An answer to each line, in order; `decode.batch` of them are read together."""
        for before, lines in windows(inputs, together(self.config.decode)):
            yield from self._answer(model, lines, before)

    def _answer(self, model: M, texts: list[str], before: int) -> list[Prediction]:
        """Answers to some lines; `before` lines came before them."""
        raise NotImplementedError


def lines_of(texts: Iterable[str]) -> Iterator[str]:
    """The lines of texts, which is what a tokenizer is trained on."""
    return (line for text in texts for line in text.split("\n"))


def searched(
    inputs: Iterable[str],
    divide: Callable[[list[str], int], Sequence[tuple[list[int], Any]]],
    search: Callable[[Any], list[Prediction]],
    decode: DecodeConfig,
    device: torch.device,
) -> Iterator[Prediction]:
    """Answers that are searched for, in the order of the inputs, on all cores.

    Args:
        inputs: lines.
        divide: from some lines, and how many came before them, to jobs, those that take long first: the places of a
            job's lines among them, and what the search is given. A line in no job gets an empty answer.
        search: the answers to a job's lines.
        decode: how many lines are read together, and how many processes search.
        device: where the model is.
    """
    size = together(decode)
    with Workers(search, decode.workers, device) as workers:
        for before, lines in windows(inputs, WINDOW_BATCHES * size, largest=LARGEST_WINDOW_BATCHES * size):
            predictions = [Prediction("", {"hypotheses": []}) for _ in lines]
            jobs = divide(lines, before)
            for (places, _), found in zip(jobs, workers.map([job for _, job in jobs]), strict=True):
                for place, prediction in zip(places, found, strict=True):
                    predictions[place] = prediction
            yield from predictions
