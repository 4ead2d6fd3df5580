"""Running text for masked language models: packed blocks, or the sentence pairs of next-sentence prediction.

The objective decides which tokens are masked, by the function `MaskedText.example`. It is called in the loader, for
each sequence with a generator of its own, after the sequence is drawn.

Shapes: B sequences, T tokens, N tokens to predict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.data.core.batching import ByEpoch, shuffled
from tformer_cli.data.core.view import View
from tformer_cli.data.text.corpus import Corpus, read_corpus, sentences_of
from tformer_cli.data.text.dataset import TextData, TokenBatch, lines_of
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.packed import CorpusTokens, PackedView, rows_in_batch
from tformer_cli.data.text.sentence_pairs import SentencePairs
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.tokenizers.huggingface import MASK


def _no_indices() -> np.ndarray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class TokenSequence:
    """A sequence for the encoder.

    Attributes:
        tokens: with [CLS] and [SEP], (T,), int64.
        segments: 0 or 1 for each token, (T,), int64; None: it is one segment.
        follows: whether B follows A; None: there is no B.
        documents: number of each token's document within the sequence, (T,), int64; None: it is one text.
        indices: the positions of the tokens to predict, ascending, (N,), int64.
        targets: the original tokens there, (N,), int64.
    """

    tokens: np.ndarray
    segments: np.ndarray | None = None
    follows: bool | None = None
    documents: np.ndarray | None = None
    indices: np.ndarray = field(default_factory=_no_indices)
    targets: np.ndarray = field(default_factory=_no_indices)


@dataclass
class MaskedBatch(TokenBatch):
    """Sequences with masked tokens.

    Attributes:
        tokens: (B, T), int64, padded at the end.
        lengths: real tokens in each row, (B,), int64.
        segments: 0 or 1 for each token, (B, T), int64; None: one segment.
        indices: positions of the tokens to predict in the flattened tokens (B * T,), (N,), int64.
        targets: the original tokens there, (N,), int64.
        rows: index in the batch of the sequence of each of them, (N,), int64.
        follows: 1 where B follows A, 0 where it does not, (B,), int64; None without next-sentence prediction.
        documents: number of each token's document within its block, (B, T), int64, -1 for padding; None: a block is
            read as one text.
    """

    segments: Tensor | None
    indices: Tensor
    targets: Tensor
    rows: Tensor
    follows: Tensor | None
    documents: Tensor | None = None


class MaskedText(TextData[Corpus, MaskedBatch]):
    """Documents as packed blocks, or as sentence pairs if `bert.nsp` is set.

    Args:
        config: a `MaskedLanguageModelExperiment`.

    Attributes:
        example: returns a sequence with masked tokens, drawn with the sequence's own generator; the objective sets it.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.tokens = CorpusTokens(self, sentences=config.bert.nsp)
        self.example: Callable[[TokenSequence, np.random.Generator], TokenSequence] = lambda sequence, random: sequence
        self._pairs: dict[str, SentencePairs] = {}

    @property
    def usual_length(self) -> int:
        """Return the maximum length of a sequence, which most sequences have."""
        return self.config.model.max_length

    @property
    def mask_id(self) -> int:
        """Return the id of the mask token.

        Raises:
            ConfigError: if the tokenizer has none.
        """
        mask_id = self.tokenizer.mask_id
        if mask_id is None:
            raise ConfigError(f"the tokenizer has no piece {MASK}", f"tokenizer.user_symbols=['{MASK}']")
        return mask_id

    @property
    def room(self) -> int:
        """Return the maximum number of tokens beside [CLS] and [SEP], or [CLS], [SEP] and [SEP]."""
        return self.config.model.max_length - (3 if self.config.bert.nsp else 2)

    @property
    def rows_in_batch(self) -> int:
        """Return the number of sequences in a batch."""
        return rows_in_batch(self.config.data, self.config.model.max_length)

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint, and check that it has a mask token."""
        super().load(folder)
        _ = self.mask_id

    def learn(self, train: Corpus) -> None:
        """Take the vocabulary, unless it was loaded, and check that it has a mask token."""
        super().learn(train)
        _ = self.mask_id

    def training_text(self, train: Corpus) -> dict[str, Iterable[str]]:
        """Return the lines of the documents."""
        return {"text": lines_of(train.documents)}

    def pairs(self, split: str) -> SentencePairs:
        """Return the sentence pairs of a split.

        Raises:
            DataError: if there are none.
        """
        if split not in self._pairs:
            corpus, tokens = self.split(split), self.tokens.of(split)
            counts = (len(sentences_of(text)) for text in corpus.documents)
            documents = np.repeat(np.arange(len(corpus)), np.fromiter(counts, np.int64, len(corpus)))
            pairs = SentencePairs(tokens.lengths - 1, documents, self.room)
            if not len(pairs):
                cause = f"{corpus.origin}: no document has two sentences that fit into {self.room} tokens"
                raise DataError(cause, "put a sentence a line with data.documents=blank, or set bert.nsp=false")
            self._pairs[split] = pairs
        return self._pairs[split]

    def collate(
        self,
        view: View[MaskedBatch],
        epoch: int,
        rows: np.ndarray,
        sequence_of: Callable[[int, np.random.Generator], TokenSequence],
    ) -> MaskedBatch:
        """Return a batch of masked sequences.

        Args:
            view: the view that the sequences belong to; outside training, the random numbers of epoch 0 are used.
            epoch: the epoch.
            rows: (B,), int64.
            sequence_of: returns the sequence of a row, from its row and its generator.
        """
        sequences = []
        for row in map(int, rows):
            key = (self.config.seed, epoch if view.training else 0, row, view.split != "train")
            random = np.random.default_rng(key)
            sequences.append(self.example(sequence_of(row, random), random))
        tokens, lengths = pad([sequence.tokens for sequence in sequences], self.tokenizer.pad_id)
        counts = [len(sequence.indices) for sequence in sequences]
        starts = np.arange(len(sequences)) * tokens.shape[1]
        indices = [sequence.indices + start for sequence, start in zip(sequences, starts, strict=True)]
        segments = [sequence.segments for sequence in sequences if sequence.segments is not None]
        follows = [int(sequence.follows) for sequence in sequences if sequence.follows is not None]
        documents = [sequence.documents for sequence in sequences if sequence.documents is not None]
        return MaskedBatch(
            torch.from_numpy(np.asarray(rows, dtype=np.int64)),
            tokens,
            lengths,
            pad(segments, 0)[0] if segments else None,
            torch.from_numpy(np.concatenate(indices)),
            torch.from_numpy(np.concatenate([sequence.targets for sequence in sequences])),
            torch.from_numpy(np.repeat(np.arange(len(sequences)), counts)),
            torch.tensor(follows) if follows else None,
            pad(documents, -1)[0] if documents else None,
        )

    def inputs(
        self, batch: MaskedBatch, *, training: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor | None]:
        """Return tokens, lengths, segments, the indices of the tokens to predict, and documents."""
        return batch.tokens, batch.lengths, batch.segments, batch.indices, batch.documents

    def describe_splits(self) -> list[tuple[str, str]]:
        """Return the numbers of documents and tokens."""
        return self.tokens.describe()

    def describe_batches(self) -> str:
        """Return the number and the kind of the sequences in a batch."""
        view = self.view("train", training=True)
        return view.describe() if isinstance(view, PackedView) else f"of {self.rows_in_batch} sentence pairs"

    def _read(self, split: str) -> dict[str, Corpus]:
        return read_corpus(self.config.data, split, skip=self.skips)

    def _make_view(self, split: str, *, training: bool) -> View[MaskedBatch]:
        return (SentencePairsView if self.config.bert.nsp else MaskedBlocks)(self, split, training=training)


class MaskedBlocks(PackedView[MaskedBatch]):
    """Packed blocks, with new masks in each epoch of training, and otherwise always the same.

    Args:
        data: the documents.
        split: name of the split.
        training: see `View`.
    """

    def __init__(self, data: MaskedText, split: str, *, training: bool) -> None:
        self.data = data
        super().__init__(
            split, data.split(split), data.tokens.of(split), block=data.room, rows=data.rows_in_batch,
            seed=data.config.seed, training=training,
        )  # fmt: skip

    def collate(self, epoch: int, rows: np.ndarray) -> MaskedBatch:
        """Return the blocks at the given positions of the stream of `epoch`."""
        return self.data.collate(self, epoch, rows, lambda row, random: self._sequence(epoch, row))

    def _sequence(self, epoch: int, row: int) -> TokenSequence:
        text, documents = self.block(epoch, row)
        stop = max(1, len(text) - 1)
        tokenizer = self.data.tokenizer
        tokens = np.concatenate([[tokenizer.bos_id], text[:stop], [tokenizer.eos_id]]).astype(np.int64)
        if self.data.config.data.across_documents:
            return TokenSequence(tokens)
        # [CLS] belongs to the first document, [SEP] to the last.
        return TokenSequence(tokens, documents=np.pad(documents[:stop], 1, mode="edge"))


class SentencePairsView(View[MaskedBatch]):
    """Sentence pairs and their masks: newly drawn in each epoch of training, and otherwise always the same.

    Args:
        data: the documents.
        split: name of the split.
        training: see `View`.
    """

    def __init__(self, data: MaskedText, split: str, *, training: bool) -> None:
        super().__init__(split, training=training)
        self.data, self.pairs, self.tokens = data, data.pairs(split), data.tokens.of(split)
        self._orders = ByEpoch(self._order)

    @property
    def num_batches(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.pairs) // self.data.rows_in_batch)

    def rows(self, epoch: int, index: int) -> np.ndarray:
        """Return the pairs of batch `index` of `epoch`."""
        size = self.data.rows_in_batch
        return self._orders[epoch][index * size : (index + 1) * size]

    def collate(self, epoch: int, rows: np.ndarray) -> MaskedBatch:
        """Return the given pairs, as they are in `epoch`."""
        return self.data.collate(self, epoch, rows, self._sequence)

    def _order(self, epoch: int) -> np.ndarray:
        if self.split == "train":
            return shuffled(len(self.pairs), self.data.config.seed, epoch)
        return np.arange(len(self.pairs))

    def _sequence(self, row: int, random: np.random.Generator) -> TokenSequence:
        first, second, follows = self.pairs.pair(row, random)
        a, b = (np.concatenate([self.tokens[i][:-1] for i in part]) for part in (first, second))
        b = b[: max(1, self.data.room - len(a))]
        a = a[-(self.data.room - len(b)) :]  # a single sentence that is too long loses its beginning
        begin, end = [self.data.tokenizer.bos_id], [self.data.tokenizer.eos_id]
        tokens = np.concatenate([begin, a, end, b, end]).astype(np.int64)
        return TokenSequence(tokens, np.repeat([0, 1], [len(a) + 2, len(b) + 1]), follows)
