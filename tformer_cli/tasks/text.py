"""What all tasks on text share: splits that are read once, one vocabulary, and answers in the order of the lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tformer_cli.config.schema import BadSample
from tformer_cli.decode.search import batch_sentences
from tformer_cli.nn.cross_entropy import head_cross_entropy
from tformer_cli.predictors.inputs import Answer, OnLong, Readable, Refusal, merged, readable
from tformer_cli.tasks.base import AttentionShape, B, Input, Loss, M, Prediction
from tformer_cli.tasks.splits import S, SplitsTask
from tformer_cli.tokenizers.tokenizer import Tokenizer, Vocabulary


class TextTask(SplitsTask[S, M, B]):
    """Base class of tasks on text, with splits and a vocabulary.

    A subclass implements `_training_text`, `_describe_data` and `_describe_batches`, in addition to the methods of
    `SplitsTask`. It also implements `_read_inputs` and `_answer`, unless it overrides `predict`.
    """

    options = frozenset({"batch"})
    on_long = OnLong.error

    tokenizer: Vocabulary
    """Set by `prepare` or `load`."""

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint."""
        self.tokenizer = Tokenizer.load(folder / "tokenizer")

    def files(self) -> dict[str, bytes]:
        """The tokenizer's files."""
        return {f"tokenizer/{name}": content for name, content in self.tokenizer.files().items()}

    @property
    def _skips(self) -> bool:
        """Return whether rows without text or label are skipped and counted."""
        return self.config.trainer.on_bad_sample is BadSample.skip

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
        notes = chain.from_iterable(getattr(self._split(split), "notes", ()) for split in ("train", "validation"))
        return [
            *self._describe_data(),
            *(("note", note) for note in dict.fromkeys(notes)),
            ("batches", f"{self.num_batches('train'):,} an epoch, {self._describe_batches()}"),
            ("tokenizer", f"{tokenizer.kind}, {tokenizer.vocab_size:,} pieces, {tokenizer.hash[:12]}"),
        ]

    def _describe_data(self) -> list[tuple[str, str]]:
        raise NotImplementedError

    def _describe_batches(self) -> str:
        raise NotImplementedError

    def _attention_shape(self, length: int) -> AttentionShape:
        return self.config.model.attention(length)

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

    def predict(self, model: M, inputs: Iterable[Input]) -> Iterator[Prediction]:
        """Yield a prediction for each line or row, in order; `decode.batch` of them are read together."""
        for _, items in readable(inputs, batch_sentences(self.config.decode), self._read_inputs):
            rows = [item.value for item in items if isinstance(item, Readable)]
            yield from merged(items, self._answer(model, rows) if rows else [])

    def _read_inputs(self, given: list[Input]) -> Sequence[Answer[Any] | Refusal]:
        """Convert lines or rows to the input of `_answer`, or to refusals."""
        raise NotImplementedError

    def _answer(self, model: M, rows: list[Any]) -> list[Prediction]:
        """Return the predictions for the output of `_read_inputs`."""
        raise NotImplementedError

    def _malformed(self, reason: str, remedy: str) -> Prediction | Refusal:
        """Return the result for a malformed input: an error, or skipped by `trainer.on_bad_sample`."""
        stop = self.config.trainer.on_bad_sample is BadSample.stop
        return Refusal(reason, remedy) if stop else Prediction("", {"error": reason})

    def _too_long(self, size: str, remedy: str, kept: Any, what: str) -> Answer[Any] | Refusal:
        """Return the result for an input beyond the model's limit: an error, skipped, or cut, by `on_long`.

        Args:
            size: its length and the limit.
            remedy: the remedy.
            kept: the remaining input if it is cut.
            what: the part that is cut.
        """
        if self.on_long is OnLong.cut:
            return Readable(kept, f"{size}; {what}")
        remedy = f"{remedy}, or add --on-long cut or --on-long skip"
        return Refusal(size, remedy) if self.on_long is OnLong.error else Prediction("", {"error": size})
