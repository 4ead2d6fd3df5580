"""Running text as packed blocks: each token is predicted from those before it.

Shapes: B blocks, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import CorpusDataConfig
from tformer_cli.data.core.batch import B, Batch
from tformer_cli.data.core.store import Ragged
from tformer_cli.data.core.view import View
from tformer_cli.data.text.corpus import Corpus, read_corpus
from tformer_cli.data.text.dataset import TextData, lines_of
from tformer_cli.data.text.encoded import pad, tokenize_corpus
from tformer_cli.data.text.packing import PackedBlocks
from tformer_cli.errors import DataError


@dataclass
class CausalBatch(Batch):
    """Blocks of running text, and the token after each.

    Attributes:
        inputs: (B, T), int64, padded at the end.
        targets: the token after each, (B, T), int64, padded at the end.
        target_lengths: real tokens in each row, (B,), int64.
        documents: number of each input's document within its block, (B, T), int64, -1 for padding; None: a block is
            read as one text.
    """

    inputs: Tensor
    targets: Tensor
    target_lengths: Tensor
    documents: Tensor | None

    def sizes(self) -> tuple[int, int]:
        """Return real and padded tokens."""
        return int(self.target_lengths.sum()), self.inputs.numel()


class CorpusTokens:
    """The token ids of the documents of each split, or of their sentences, encoded once.

    Args:
        data: the data, which has the splits and the tokenizer.
        sentences: whether each line with text is encoded by itself.
    """

    def __init__(self, data: TextData[Corpus, Any], *, sentences: bool = False) -> None:
        self._data, self._sentences = data, sentences
        self._tokens: dict[str, Ragged] = {}
        self._note = ""

    def of(self, split: str) -> Ragged:
        """Return the ids of each document or sentence of a split, with its end mark."""
        if split not in self._tokens:
            corpus, cache = self._data.split(split), self._data.config.data.cache
            texts = corpus.sentences(cache) if self._sentences else corpus
            self._tokens[split], note = tokenize_corpus(texts, self._data.tokenizer, cache)
            self._note = self._note or note
        return self._tokens[split]

    def describe(self) -> list[tuple[str, str]]:
        """Return the header's line on documents and tokens."""
        parts = []
        for split, verb in (("train", "train"), ("validation", "validate")):
            documents, tokens = len(self._data.split(split)), int(self.of(split).lengths.sum())
            parts.append(f"{documents:,} document{'s'[: documents != 1]} ({tokens:,} tokens) to {verb}")
        return [("data", ", ".join(parts) + (f"; {self._note}" if self._note else ""))]


class PackedText(TextData[Corpus, CausalBatch]):
    """Documents that are concatenated and divided into blocks, for a causal language model.

    Args:
        config: a `LanguageModelExperiment`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.tokens = CorpusTokens(self)

    @property
    def usual_length(self) -> int:
        """Return the length of a block."""
        return self.config.model.max_length

    def training_text(self, train: Corpus) -> dict[str, Iterable[str]]:
        """Return the lines of the documents."""
        return {"text": lines_of(train.documents)}

    def inputs(self, batch: CausalBatch, *, training: bool) -> tuple[Tensor, Tensor | None]:
        """Return tokens, and their documents where these do not see each other."""
        return batch.inputs, batch.documents

    def describe_splits(self) -> list[tuple[str, str]]:
        """Return the numbers of documents and tokens."""
        return self.tokens.describe()

    def describe_batches(self) -> str:
        """Return the number and the size of the blocks in a batch."""
        view = self.view("train", training=True)
        assert isinstance(view, PackedView)
        return view.describe()

    def _read(self, split: str) -> dict[str, Corpus]:
        return read_corpus(self.config.data, split, skip=self.skips)

    def _make_view(self, split: str, *, training: bool) -> CausalView:
        return CausalView(self, split, training=training)


class PackedView(View[B]):
    """Running text as packed blocks; a subclass implements `collate`.

    Args:
        split: name of the split.
        corpus: its documents.
        tokens: their ids.
        block: number of tokens in a block.
        rows: number of blocks in a batch.
        seed: seed of the order.
        training: see `View`.

    Raises:
        DataError: if there are fewer than two tokens.
    """

    def __init__(
        self, split: str, corpus: Corpus, tokens: Ragged, *, block: int, rows: int, seed: int, training: bool
    ) -> None:
        super().__init__(split, training=training)
        self.tokens = tokens
        try:
            self.packed = PackedBlocks(tokens.lengths, block=block, rows=rows, seed=seed, shuffle=split == "train")
        except ValueError as error:
            raise DataError(f"{corpus.origin}: {error}") from error

    @property
    def num_batches(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.packed)

    def rows(self, epoch: int, index: int) -> np.ndarray:
        """Return the blocks of batch `index`, by their position in the stream of `epoch`."""
        return self.packed.indices(epoch, index)

    def block(self, epoch: int, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a block with the token that follows it, and the number of each token's document within the block.

        Returns:
            Ids (T + 1,), and numbers from 0, (T + 1,) int64.
        """
        pieces = self.packed.pieces(epoch, row)
        texts = [self.tokens[piece.document][piece.start : piece.stop] for piece in pieces]
        return np.concatenate(texts), np.repeat(np.arange(len(texts)), [len(text) for text in texts])

    def describe(self) -> str:
        """Return the number and the size of the blocks in a batch."""
        return f"of {self.packed.rows} blocks of {self.packed.block} tokens, no padding"


class CausalView(PackedView[CausalBatch]):
    """Blocks and the token after each of their tokens.

    Args:
        data: the documents.
        split: name of the split.
        training: see `View`.
    """

    def __init__(self, data: PackedText, split: str, *, training: bool) -> None:
        self.data, config = data, data.config
        super().__init__(
            split, data.split(split), data.tokens.of(split), block=config.model.max_length,
            rows=rows_in_batch(config.data, config.model.max_length), seed=config.seed, training=training,
        )  # fmt: skip

    def collate(self, epoch: int, rows: np.ndarray) -> CausalBatch:
        """Return the blocks at the given positions of the stream of `epoch`."""
        texts, numbers = zip(*(self.block(epoch, int(row)) for row in rows), strict=True)
        inputs, lengths = pad([text[:-1] for text in texts], self.data.tokenizer.pad_id)
        targets, _ = pad([text[1:] for text in texts], self.data.tokenizer.pad_id)
        documents = None
        if not self.data.config.data.across_documents:
            documents, _ = pad([each[:-1] for each in numbers], -1)
        ids = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        return CausalBatch(ids, inputs, targets, lengths, documents)


def rows_in_batch(data: CorpusDataConfig, length: int) -> int:
    """Return the number of sequences of a length in a batch."""
    return min(max(1, data.batch_tokens // length), data.max_batch or data.batch_tokens)
