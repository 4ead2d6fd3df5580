"""What the tasks on running text share: corpora, token arrays, whole blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tformer_cli.data.core.store import Ragged
from tformer_cli.data.text.corpus import Corpus, read_corpus
from tformer_cli.data.text.dataset import lines_of
from tformer_cli.data.text.encoded import tokenize_corpus
from tformer_cli.data.text.packing import PackedBlocks
from tformer_cli.errors import DataError
from tformer_cli.tasks.base import AttentionShape, B, M
from tformer_cli.tasks.text import TextTask


class RunningText(TextTask[Corpus, M, B]):
    """The data side of a task; a subclass has the model, the loss and the use."""

    scores_examples = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._arrays: dict[str, Ragged] = {}
        self._note = ""
        self._blocks: dict[str, PackedBlocks] = {}

    def _read(self, split: str) -> dict[str, Corpus]:
        return read_corpus(self.config.data, split, skip=self._skips)

    def _training_text(self, train: Corpus) -> dict[str, Iterable[str]]:
        return {"text": lines_of(train.documents)}

    def num_batches(self, split: str) -> int:
        """Batches in an epoch."""
        return len(self._packed(split))

    def rows(self, split: str, epoch: int, index: int) -> np.ndarray:
        """Rows of batch `index` of `epoch`: places of blocks in its stream."""
        return self._packed(split).indices(epoch, index)

    def _units(self, split: str) -> Corpus:
        """What is tokenised as one: documents."""
        return self._split(split)

    def _tokens(self, split: str) -> Ragged:
        """The ids of each unit, with its end mark."""
        if split not in self._arrays:
            self._arrays[split], note = tokenize_corpus(self._units(split), self.tokenizer, self.config.data.cache)
            self._note = self._note or note
        return self._arrays[split]

    @property
    def _block(self) -> int:
        """Tokens of running text in a sequence."""
        return self.config.model.max_length

    @property
    def _sequences_a_batch(self) -> int:
        data = self.config.data
        return min(max(1, data.batch_tokens // self.config.model.max_length), data.max_batch or data.batch_tokens)

    def _packed(self, split: str) -> PackedBlocks:
        if split not in self._blocks:
            try:
                self._blocks[split] = PackedBlocks(
                    self._tokens(split).lengths,
                    block=self._block,
                    rows=self._sequences_a_batch,
                    seed=self.config.seed,
                    shuffle=split == "train",
                )
            except ValueError as error:
                raise DataError(f"{self._split(split).origin}: {error}") from error
        return self._blocks[split]

    def _running(self, split: str, epoch: int, place: int) -> tuple[np.ndarray, np.ndarray]:
        """A block and the token that follows it: ids (block + 1,), and the number of each one's document within it."""
        tokens, pieces = self._tokens(split), self._packed(split).pieces(epoch, place)
        texts = [tokens[piece.document][piece.start : piece.stop] for piece in pieces]
        return np.concatenate(texts), np.repeat(np.arange(len(texts)), [len(text) for text in texts])

    def _describe_data(self) -> list[tuple[str, str]]:
        parts = []
        for split, verb in (("train", "train"), ("validation", "validate")):
            documents, tokens = len(self._split(split)), int(self._tokens(split).lengths.sum())
            parts.append(f"{documents:,} document{'s'[: documents != 1]} ({tokens:,} tokens) to {verb}")
        return [("data", ", ".join(parts) + (f"; {self._note}" if self._note else ""))]

    def _describe_batches(self) -> str:
        return f"of {self._sequences_a_batch} {self._kind_of_sequences()}"

    def _kind_of_sequences(self) -> str:
        return f"blocks of {self._packed('train').block} tokens, no padding"

    def shape(self) -> AttentionShape:
        """Attention's shape in this task: whole blocks."""
        return self._attention_shape(self.config.model.max_length)
