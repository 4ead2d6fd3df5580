"""Sentence pairs as token batches: for translation, and for every other task with text on both sides.

Shapes: B batch, S source length, T target length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.family import Sizes
from tformer_cli.data.core.batch import Batch
from tformer_cli.data.core.batching import ByEpoch
from tformer_cli.data.core.view import LengthBucketed
from tformer_cli.data.text.dataset import TextData
from tformer_cli.data.text.encoded import ParallelTokens, pad, sample_parallel, tokenize_parallel
from tformer_cli.data.text.parallel import ParallelSplit, find_pairs, no_split, read_parallel
from tformer_cli.errors import DataError


@dataclass(frozen=True)
class Pair:
    """A pair of sentences as tokens, without <s> and </s>.

    Attributes:
        source: (S,), int64.
        target: (T,), int64.
        draft: tokens from which an editor continues, (D,), int64; None for other models.
        counts: number of tokens of the target that are missing before, between and after those of the draft, (D + 1,),
            int64.
    """

    source: np.ndarray
    target: np.ndarray
    draft: np.ndarray | None = None
    counts: np.ndarray | None = None


@dataclass
class PairBatch(Batch):
    """Sentence pairs.

    Attributes:
        source: tokens and </s>, (B, S), padded at the end; int64.
        source_lengths: (B,), int64.
        target_inputs: <s> and tokens, (B, T), padded at the end; int64.
        targets: tokens and </s>, (B, T), padded at the end; int64.
        target_lengths: (B,), int64.
        drafts: <s>, tokens from which an editor continues, and </s>, (B, D), padded at the end; int64. None: no editor.
        draft_lengths: (B,), int64.
        counts: number of the target's tokens that are missing between two tokens of the draft, (B, D - 1), int64.
    """

    source: Tensor
    source_lengths: Tensor
    target_inputs: Tensor
    targets: Tensor
    target_lengths: Tensor
    drafts: Tensor | None = None
    draft_lengths: Tensor | None = None
    counts: Tensor | None = None

    def sizes(self) -> tuple[int, int]:
        """Return real and padded tokens of both sides."""
        real = int(self.source_lengths.sum()) + int(self.target_lengths.sum())
        return real, self.source.numel() + self.targets.numel()


class Pairs(TextData[ParallelSplit, PairBatch]):
    """Parallel text in two languages, with one vocabulary for both or one for each.

    Args:
        config: a `TranslationExperiment`.

    Attributes:
        example: returns a pair with what the objective adds to it, drawn with the pair's own generator; the objective
            may set it. None: pairs are used as they are.
    """

    typical_length = 24

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.source_language, self.target_language = config.data.source_language, config.data.target_language
        self.example: Callable[[Pair, np.random.Generator], Pair] | None = None
        self._tokens: dict[str, ParallelTokens] = {}
        self.sampled = ByEpoch(self.sample)
        """Training pairs as they are segmented in an epoch."""

    def require(self) -> None:
        """Check that files of both splits exist; a dataset of the hub is looked for in `prepare`.

        Raises:
            DataError: if there are none.
        """
        super().require()
        if self.config.data.source.name != "hub":
            self._require_splits()

    def prepare(self, run: Path) -> None:
        """Prepare the pairs; check that there is a validation split before the training split is read."""
        self._require_splits()
        super().prepare(run)

    def _require_splits(self) -> None:
        """Refuse data without a training or validation split.

        Raises:
            DataError: if there is none.
        """
        for split in ("train", "validation"):
            if not self._find_split(split):
                raise no_split(self.config.data, split)

    @property
    def limit(self) -> int:
        """Return the maximum number of tokens of a sentence, without </s> or <s>."""
        return self.config.model.max_length - 1

    def sizes(self) -> Sizes:
        """Return the sizes of the vocabularies of source and target."""
        names = (self.source_language, self.target_language)
        return Sizes(vocabularies=tuple(self.tokenizer.vocab_size_of(name) for name in names))

    def training_text(self, train: ParallelSplit) -> dict[str, Iterable[str]]:
        """Return the sentences by language."""
        return {self.source_language: train.sources, self.target_language: train.targets}

    def references(self, split: str) -> Sequence[str]:
        """Return the target sentences of a split, in their order."""
        return self.split(split).targets

    def tokens(self, split: str) -> ParallelTokens:
        """Return the tokens of a split.

        Raises:
            DataError: if a pair of validation or test is longer than the model's limit; nothing is left out of what is
                scored.
        """
        if split not in self._tokens:
            text, training = self.split(split), split == "train"
            tokens = tokenize_parallel(text, self.tokenizer, self.config.data, training=training, max_length=self.limit)
            if not training:
                self._check_lengths(text, tokens)
            self._tokens[split] = tokens
        return self._tokens[split]

    def sample(self, epoch: int) -> ParallelTokens:
        """Return the training pairs with the segmentations of an epoch (subword regularisation)."""
        return sample_parallel(
            self.split("train"), self.tokens("train"), self.tokenizer, self.config.data,
            strength=self.config.tokenizer.sampling, seed=self.config.seed, epoch=epoch, max_length=self.limit,
        )  # fmt: skip

    def collate(self, pairs: Sequence[Pair], ids: Tensor) -> PairBatch:
        """Return a batch of pairs.

        Args:
            pairs: the pairs; all have a draft or none.
            ids: rows of the split, (B,), int64.
        """
        tokenizer, targets = self.tokenizer, [pair.target for pair in pairs]
        source, source_lengths = pad([pair.source for pair in pairs], tokenizer.pad_id, end=tokenizer.eos_id)
        outputs, target_lengths = pad(targets, tokenizer.pad_id, end=tokenizer.eos_id)
        inputs, _ = pad(targets, tokenizer.pad_id, begin=tokenizer.bos_id)
        batch = PairBatch(ids, source, source_lengths, inputs, outputs, target_lengths)
        drafts = [pair.draft for pair in pairs if pair.draft is not None]
        if drafts:
            batch.drafts, batch.draft_lengths = pad(
                drafts, tokenizer.pad_id, begin=tokenizer.bos_id, end=tokenizer.eos_id
            )
            batch.counts, _ = pad([pair.counts for pair in pairs if pair.counts is not None], 0)
        return batch

    def inputs(self, batch: PairBatch, *, training: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return source, source lengths and target inputs."""
        return batch.source, batch.source_lengths, batch.target_inputs

    def describe_splits(self) -> list[tuple[str, str]]:
        """Return languages, numbers of pairs, and what is left out."""
        train, validation = self.tokens("train"), self.tokens("validation")
        languages = f"{self.source_language} to {self.target_language}"
        counts = f"{languages}, {len(train):,} pairs to train, {len(validation):,} to validate"
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in train.dropped.items() if count)
        note = (f"; left out: {dropped}" if dropped else "") + (f"; {train.note}" if train.note else "")
        return [("data", counts + note)]

    def _find_split(self, split: str) -> bool:
        return find_pairs(self.config.data, split) is not None

    def _read(self, split: str) -> dict[str, ParallelSplit]:
        pairs = read_parallel(self.config.data, split, seed=self.config.seed, skip=self.skips)
        if split == "validation" and not len(pairs):
            raise DataError(f"{pairs.origin}: no validation sentences", "give a split with data.validation=...")
        return {split: pairs}

    def _check_lengths(self, text: ParallelSplit, tokens: ParallelTokens) -> None:
        too_long = np.flatnonzero(tokens.lengths.max(axis=1) > self.limit)
        if len(too_long):
            row = int(too_long[0])
            size = f"{tokens.lengths[row].max()} tokens, the model takes {self.limit}"
            cause = f"{text.origin}: pair {row + 1} has {size} ({len(too_long)} such pairs)"
            raise DataError(cause, "raise model.max_length, or split the sentences")

    def _make_view(self, split: str, *, training: bool) -> PairsView:
        return PairsView(self, split, training=training)


class PairsView(LengthBucketed[PairBatch]):
    """Sentence pairs in batches of similar lengths; in training segmentations may be sampled.

    Args:
        data: the pairs.
        split: name of the split.
        training: see `View`.
    """

    def __init__(self, data: Pairs, split: str, *, training: bool) -> None:
        self.data = data
        config = data.config
        self.is_sampled = training and config.tokenizer.sampling > 0
        super().__init__(
            split, self._sampled_lengths if self.is_sampled else data.tokens(split).lengths + 1,  # with </s>
            budget=config.data.batch_tokens, max_batch=config.data.max_batch, seed=config.seed, training=training,
        )  # fmt: skip

    def _sampled_lengths(self, epoch: int) -> np.ndarray:
        return self.data.sampled[epoch].lengths + 1  # with </s>

    def collate(self, epoch: int, rows: np.ndarray) -> PairBatch:
        """Return the batch of the given rows."""
        tokens = self.data.sampled[epoch] if self.is_sampled else self.data.tokens(self.split)
        ids = np.asarray(tokens.sample_ids[rows], dtype=np.int64)
        pairs = [Pair(tokens.source[row], tokens.target[row]) for row in rows]
        if self.data.example is not None:
            key = (self.data.config.seed, epoch if self.training else 0, self.split != "train")
            pairs = [
                self.data.example(pair, np.random.default_rng((*key, sample)))
                for pair, sample in zip(pairs, ids.tolist(), strict=True)
            ]
        return self.data.collate(pairs, torch.from_numpy(ids))
