"""Views of a split: its examples as batches, which are a pure function of epoch and index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

import numpy as np

from tformer_cli.data.core.batch import B
from tformer_cli.data.core.batching import LengthBatches


class View(Generic[B]):
    """The batches of a split, with the augmentation of training or without it.

    Args:
        split: name of the split.
        training: whether examples are sampled, augmented and masked differently in each epoch. Otherwise they are the
            same in each epoch.
    """

    def __init__(self, split: str, *, training: bool) -> None:
        self.split, self.training = split, training

    @property
    def num_batches(self) -> int:
        """Return the number of batches in an epoch, which is the same in every epoch."""
        raise NotImplementedError

    def rows(self, epoch: int, index: int) -> np.ndarray:
        """Return the rows of batch `index` of `epoch`, (B,) int64: a pure function of its arguments and the seed."""
        raise NotImplementedError

    def collate(self, epoch: int, rows: np.ndarray) -> B:
        """Return the batch of the given rows, (B,) int64, as they are in `epoch`."""
        raise NotImplementedError

    def batch(self, epoch: int, index: int) -> B:
        """Return batch `index` of `epoch`."""
        return self.collate(epoch, self.rows(epoch, index))


class LengthBucketed(View[B]):
    """A view whose batches contain examples of similar lengths; a subclass implements `collate`.

    Args:
        split: name of the split.
        lengths: units of each example as the model reads it, (N,) or, of pairs, (N, 2); or a function of the epoch.
        budget: maximum cost of a batch: its rows times the longest of them.
        max_batch: maximum number of rows in a batch; 0: no limit.
        seed: seed of the order.
        training: see `View`.
    """

    def __init__(
        self,
        split: str,
        lengths: np.ndarray | Callable[[int], np.ndarray],
        *,
        budget: int,
        max_batch: int,
        seed: int,
        training: bool,
    ) -> None:
        super().__init__(split, training=training)
        shuffle = split == "train"
        self.batches = LengthBatches(lengths, batch_tokens=budget, max_batch=max_batch, seed=seed, shuffle=shuffle)

    @property
    def num_batches(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.batches)

    def rows(self, epoch: int, index: int) -> np.ndarray:
        """Return the rows of batch `index` of `epoch`."""
        return self.batches.indices(epoch, index)

    @property
    def mean_length(self) -> int:
        """Return the mean length of an example, rounded."""
        return round(float(self.batches.lengths.mean()))
