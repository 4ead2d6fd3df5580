"""Packing: documents are concatenated and cut into blocks of equal length, with next to no padding.

The order is a pure function of (seed, epoch), and every epoch has the same number of blocks, so that a division
of the step number gives the epoch and the index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tformer_cli.data.core.batching import ByEpoch, shuffled


@dataclass(frozen=True)
class _Plan:
    """The order of documents and blocks in an epoch.

    Attributes:
        order: the documents in the order of the stream, (documents,) int64.
        ends: position in the stream at which each of them ends, (documents,) int64.
        offset: position in the stream at which the first block begins.
        rank: the blocks in the order in which they are read, (blocks,) int64.
    """

    order: np.ndarray
    ends: np.ndarray
    offset: int
    rank: np.ndarray


@dataclass(frozen=True)
class Piece:
    """A part of a document in a block: its tokens `start` to `stop`."""

    document: int
    start: int
    stop: int


class PackedBlocks:
    """Blocks of `block` tokens, each with the token that follows it, the target of the last token.

    In training, each epoch has another order of documents and another start of the first block, so that blocks begin at
    other positions. The tokens before the first and after the last block (fewer than two blocks) are not part of the
    epoch. In evaluation everything is covered once, in order, and the last block may be shorter.

    Args:
        lengths: number of tokens of each document with its end mark, (N,) int64.
        block: number of tokens in a block.
        rows: number of blocks in a batch.
        seed: seed of the order.
        shuffle: whether the order and the start differ from epoch to epoch; False for evaluation.

    Raises:
        ValueError: if there are fewer than two tokens.
    """

    def __init__(self, lengths: np.ndarray, *, block: int, rows: int, seed: int, shuffle: bool = True) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.total = int(self.lengths.sum())
        if self.total < 2:
            raise ValueError("a token and one that follows it are needed")
        self.rows, self.seed, self.shuffle = rows, seed, shuffle
        self.block = min(block, self.total - 1)
        free = self.total - 1
        self.blocks = max(1, (free - self.block + 1) // self.block) if shuffle else -(-free // self.block)
        self._plans = ByEpoch(self._make_plan)

    def __len__(self) -> int:
        """Return the number of batches in an epoch, which is the same in each."""
        return -(-self.blocks // self.rows)

    def indices(self, epoch: int, index: int) -> np.ndarray:
        """Return the blocks of a batch, by their position in the epoch's stream, (rows or fewer,) int64.

        Raises:
            IndexError: if there is no such batch.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        return self._plan(epoch).rank[index * self.rows : (index + 1) * self.rows].copy()

    def pieces(self, epoch: int, row: int) -> list[Piece]:
        """Return the parts of a block in order: `block + 1` tokens, or fewer in the last block of an evaluation.

        Args:
            epoch: the epoch.
            row: position of the block in the epoch's stream.
        """
        plan = self._plan(epoch)
        start = plan.offset + row * self.block
        stop = min(start + self.block + 1, self.total)
        first = int(np.searchsorted(plan.ends, start, side="right"))
        pieces = []
        while start < stop:
            document = int(plan.order[first])
            begin = int(plan.ends[first]) - int(self.lengths[document])
            end = min(stop, int(plan.ends[first]))
            if end > start:
                pieces.append(Piece(document, start - begin, end - begin))
            start, first = end, first + 1
        return pieces

    def _plan(self, epoch: int) -> _Plan:
        return self._plans[epoch if self.shuffle else 0]

    def _make_plan(self, epoch: int) -> _Plan:
        if not self.shuffle:
            return _Plan(np.arange(len(self.lengths)), np.cumsum(self.lengths), 0, np.arange(self.blocks))
        # Only raw words are used, as NumPy keeps no other stream stable.
        first = np.random.Philox(np.random.SeedSequence([self.seed, epoch, 2]))
        documents = shuffled(len(self.lengths), self.seed, epoch, 0)
        spare = self.total - self.blocks * self.block  # positions where the first block may start, at least one
        return _Plan(
            documents,
            np.cumsum(self.lengths[documents]),
            int(first.random_raw() % spare),
            shuffled(self.blocks, self.seed, epoch, 1),
        )
