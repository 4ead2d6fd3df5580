"""Texts, or pairs of texts, with labels or numbers as token batches.

Shapes: B batch, T tokens, C labels, N rows of a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import Cut, Target
from tformer_cli.data.core.balance import Balance
from tformer_cli.data.core.labels import LABELS, LabelSet
from tformer_cli.data.core.store import Ragged
from tformer_cli.data.core.uniforms import uniforms
from tformer_cli.data.core.view import LengthBucketed
from tformer_cli.data.text.dataset import TextData, TokenBatch, lines_of
from tformer_cli.data.text.encoded import pad, tokenize_texts
from tformer_cli.data.text.encoding_version import EncodingVersion
from tformer_cli.data.text.labelled import LabelledTexts, read_labelled

ORDER_STREAM = 32
"""Stream of the random numbers that decide the order of symmetric pairs."""


@dataclass
class TextBatch(TokenBatch):
    """Texts, or pairs of texts, with their targets.

    Attributes:
        tokens: [CLS] A [SEP], or [CLS] A [SEP] B [SEP], (B, T), int64, padded at the end.
        lengths: real tokens in each row, (B,), int64.
        segments: 0 for A, 1 for B, (B, T), int64; None for single texts, and for models without segments.
        targets: (B,) int64 of labels, (B,) float of numbers, (B, C) float of several labels.
    """

    segments: Tensor | None
    targets: Tensor


class ClassifiedTexts(TextData[LabelledTexts, TextBatch]):
    """Texts, or pairs of texts, with a label, a number or several labels.

    Args:
        config: a `TextClassificationExperiment`.

    Attributes:
        encoding: the version of the encoding.
        labels: the labels of the training split; set by `prepare` or `load`.
    """

    labels: LabelSet

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoding = EncodingVersion()
        self._tokens: dict[str, list[Ragged]] = {}
        self._targets: dict[str, np.ndarray] = {}

    # --- preparation ---

    def prepare(self, run: Path) -> None:
        """Read training and validation rows, and learn labels and vocabulary; weigh the labels if that is set."""
        super().prepare(run)
        if self.config.head.class_weights and self.labels.target is Target.label:
            self.labels = self.labels.weighted(self.targets("train"))

    def learn(self, train: LabelledTexts) -> None:
        """Take vocabulary and labels from the training split."""
        super().learn(train)
        self.labels = LabelSet.of(train, self.config.data.target, self.config.data.separator)

    def load(self, folder: Path) -> None:
        """Take tokenizer and encoding from a checkpoint, and the labels if it has any."""
        super().load(folder)
        self.encoding.load(folder, self.config.task)
        if (labels := LabelSet.of_checkpoint(folder)) is not None:
            self.labels = labels

    def files(self) -> dict[str, bytes]:
        """Return the files of tokenizer, encoding and labels."""
        return {**super().files(), **self.encoding.files(), LABELS: self.labels.to_json()}

    def training_text(self, train: LabelledTexts) -> dict[str, Iterable[str]]:
        """Return the lines of all texts."""
        return {"text": lines_of((*train.texts, *(train.seconds or ())))}

    def describe_splits(self) -> list[tuple[str, str]]:
        """Return the header's lines on rows and labels."""
        train, validation = self.split("train"), self.split("validation")
        kind = "pairs" if train.seconds is not None else "texts"
        data = f"{len(train):,} {kind} to train, {len(validation):,} to validate"
        long = int((self.full_lengths("train") > self.limit).sum())
        if long:
            data += f"; {long:,} longer than {self.limit} tokens lose their {self.config.data.cut.name}"
        return [("data", data), ("labels", self.labels.described(self.targets("train")))]

    # --- what a model must know ---

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the labels, in order; none for regression."""
        labels = getattr(self, "labels", None)
        return () if labels is None else labels.names

    @property
    def limit(self) -> int:
        """Return the maximum number of tokens of a row, with the special ones."""
        return self.config.model.max_length

    @property
    def separator(self) -> list[int]:
        """Return the ids between two texts."""
        return self.encoding.separator(self.tokenizer)

    # --- examples ---

    def tokens(self, split: str) -> list[Ragged]:
        """Return the ids of the first texts of a split, and of the second ones if it has pairs."""
        if split not in self._tokens:
            data = self.split(split)
            texts = [data.texts] if data.seconds is None else [data.texts, data.seconds]
            self._tokens[split] = tokenize_texts(texts, data.hash, self.tokenizer, self.config.data.cache)
        return self._tokens[split]

    def targets(self, split: str) -> np.ndarray:
        """Return the targets of a split, (N,) or (N, C); see `LabelSet.numbers`.

        Raises:
            DataError: if the training split does not have a label, or a number is malformed.
        """
        if split not in self._targets:
            self._targets[split] = self.labels.numbers(self.split(split))
        return self._targets[split]

    def full_lengths(self, split: str) -> np.ndarray:
        """Return the number of tokens of each row with the special ones, before it is cut, (N,) int64."""
        parts = self.tokens(split)
        return np.sum([part.lengths for part in parts], axis=0) + self.special_tokens(len(parts))

    def special_tokens(self, texts: int) -> int:
        """Return the number of special tokens around and between the texts of a row."""
        return 2 + (len(self.separator) if texts > 1 else 0)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each text of a row, without special tokens."""
        return [np.asarray(self.tokenizer.encode(text), np.int64) for text in texts]

    def join(self, rows: Sequence[Sequence[np.ndarray]]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Join the texts of each row to [CLS] A [SEP] or [CLS] A [SEP] B [SEP].

        A row that exceeds `limit` is cut, the longer text of a pair first.

        Args:
            rows: the ids of one or two texts each.

        Returns:
            Tokens (B, T) int64, lengths (B,) int64, and segments (B, T) int64; None for single texts, and for models
            without segments.
        """
        tokenizer = self.tokenizer
        texts, kinds = [], []
        for first, *others in rows:
            room = self.limit - self.special_tokens(1 + len(others))
            second = others[0] if others else first[:0]
            first = self._cut(first, max(room - len(second), room - room // 2))
            parts = [[tokenizer.bos_id], first]
            if others:
                parts += [self.separator, self._cut(second, room - len(first))]
            texts.append(np.concatenate([*parts, [tokenizer.eos_id]]).astype(np.int64))
            before = min(len(texts[-1]), 1 + len(first) + len(self.separator))
            kinds.append(np.repeat([0, 1], [before, len(texts[-1]) - before]))
        tokens, lengths = pad(texts, tokenizer.pad_id)
        pairs = len(rows[0]) == 2 and self.config.model.limits().segments > 1
        return tokens, lengths, pad(kinds, 0)[0] if pairs else None

    def inputs(self, batch: TextBatch, *, training: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return tokens, lengths and segments."""
        return batch.tokens, batch.lengths, batch.segments

    def _cut(self, text: np.ndarray, room: int) -> np.ndarray:
        """Return the part of a text that remains: its beginning, its end, or both (1/4 and 3/4 of `room`).

        Sun et al. 2019 ("How to fine-tune BERT for text classification?") keep the first 128 and the last 382 tokens.
        """
        if len(text) <= room:
            return text
        head = {Cut.end: room, Cut.beginning: 0, Cut.middle: room // 4}[self.config.data.cut]
        return np.concatenate([text[:head], text[len(text) - (room - head) :]])

    def _read(self, split: str) -> dict[str, LabelledTexts]:
        return read_labelled(self.config.data, split, seed=self.config.seed, skip=self.skips)

    def _make_view(self, split: str, *, training: bool) -> ClassifiedTextsView:
        return ClassifiedTextsView(self, split, training=training)


class ClassifiedTextsView(LengthBucketed[TextBatch]):
    """Texts in batches of similar lengths; in training labels may be balanced, and the order of pairs random.

    Args:
        data: the texts.
        split: name of the split.
        training: see `View`.
    """

    def __init__(self, data: ClassifiedTexts, split: str, *, training: bool) -> None:
        self.data = data
        config = data.config
        self._lengths = np.minimum(data.full_lengths(split), data.limit)
        targets, strength = data.targets(split), config.data.balance if training else 0
        self._balance = Balance(targets, strength, config.seed) if strength else None
        super().__init__(
            split, self._lengths if self._balance is None else self._drawn_lengths,
            budget=config.data.batch_tokens, max_batch=config.data.max_batch, seed=config.seed, training=training,
        )  # fmt: skip

    def rows(self, epoch: int, index: int) -> np.ndarray:
        """Return the rows of batch `index` of `epoch`; with balanced labels, the draws of `Balance`."""
        rows = super().rows(epoch, index)
        return rows if self._balance is None else self._balance[epoch][rows]

    def collate(self, epoch: int, rows: np.ndarray) -> TextBatch:
        """Return the batch of the given rows or draws."""
        data = self.data
        draws = np.asarray(rows, np.int64)
        rows = draws % len(self._lengths)
        parts = data.tokens(self.split)
        texts = [[part[row] for part in parts] for row in rows]
        if data.config.data.symmetric and self.training:
            turned = uniforms(data.config.seed, epoch, torch.from_numpy(draws), 1, ORDER_STREAM)[:, 0] < 0.5
            texts = [pair[::-1] if turn else pair for pair, turn in zip(texts, turned.tolist(), strict=True)]
        targets = torch.from_numpy(data.targets(self.split)[rows])
        return TextBatch(torch.from_numpy(rows), *data.join(texts), targets)

    def _drawn_lengths(self, epoch: int) -> np.ndarray:
        assert self._balance is not None
        return self._lengths[self._balance[epoch] % len(self._lengths)]
