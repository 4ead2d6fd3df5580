"""Batches of similar cost: they contain samples of similar lengths, within a budget of padded tokens.

The order is a pure function of (seed, epoch), so that training resumes from a step number alone. Every epoch has the
same number of batches, so that a step number gives the epoch and the index by a division.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

Value = TypeVar("Value")

NOISE = 0.06
"""Noise added before sorting, as a share of the cost (half of it if samples have one length)."""
TRIALS = 4
"""Number of orders that determine the number of batches; an epoch tries up to twice as many to stay below it."""
ENOUGH_PERCENT = 4.0
"""Percentage of padding below which finer strips would only make the order less random."""
ROOM = 0.01
"""Share of additional batches where lengths differ from epoch to epoch."""
EPOCHS_IN_MEMORY = 2
"""Two, because a loader that prefetches reads from the end of one epoch and the start of the next."""


def in_groups(items: Iterable[Value], size: int) -> Iterator[list[Value]]:
    """Yield items in lists of `size`; the last list may be shorter. Items are consumed as they are needed."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def shuffled(count: int, *key: int) -> np.ndarray:
    """Return a random permutation of range(count), (count,) int64, which depends only on `key` (seed, epoch, ...)."""
    return np.argsort(np.random.Philox(np.random.SeedSequence(key)).random_raw(count), kind="stable")


class ByEpoch(Generic[Value]):
    """A value for each epoch, computed on first use; the most recent ones stay in memory.

    Args:
        make: returns the value of an epoch.
    """

    def __init__(self, make: Callable[[int], Value]) -> None:
        self._make = make
        self._values: OrderedDict[int, Value] = OrderedDict()

    def __getitem__(self, epoch: int) -> Value:
        """Return the value of `epoch`."""
        if epoch not in self._values:
            self._values[epoch] = self._make(epoch)
            while len(self._values) > EPOCHS_IN_MEMORY:
                self._values.popitem(last=False)
        return self._values[epoch]


@dataclass(frozen=True)
class _Table:
    """The lengths and costs of an epoch's samples, by which they are ordered.

    Attributes:
        lengths: lengths of each sample, (N, k).
        cost: the longest length of each sample, (N,) int64.
        group: index of each sample's cost among the distinct costs, (N,) int64.
        quantile: for each distinct cost, the share of the sum of all costs up to the middle of its samples.
    """

    lengths: np.ndarray
    cost: np.ndarray
    group: np.ndarray
    quantile: np.ndarray

    @classmethod
    def of(cls, lengths: np.ndarray) -> _Table:
        lengths = np.asarray(lengths)
        table = lengths.reshape(-1, 1) if lengths.ndim == 1 else lengths
        if table.ndim != 2 or not table.size:
            raise ValueError(f"lengths must be (N,) or (N, k) with N > 0, not {lengths.shape}")
        cost = np.maximum(table.max(axis=1).astype(np.int64), 1)
        costs, group, rows = np.unique(cost, return_inverse=True, return_counts=True)
        return cls(table, cost, group, (np.cumsum(rows * costs) - rows * costs / 2) / cost.sum())

    def longest_first(self) -> np.ndarray:
        """Return all samples by decreasing cost, (N,) int64."""
        return np.lexsort((*self.lengths.T, self.cost))[::-1].astype(np.int64)


@dataclass(frozen=True)
class _Plan:
    """The batches of an epoch: batch i contains `order[bounds[rank[i]] : bounds[rank[i] + 1]]`.

    Attributes:
        order: the samples, (N,) int64.
        bounds: indices of `order` at which batches begin and end, (batches + 1,) int64.
        rank: the batches in the order in which they are read, (batches,) int64.
    """

    order: np.ndarray
    bounds: np.ndarray
    rank: np.ndarray


def stream_position(micro_batch: int, num_batches: int) -> tuple[int, int]:
    """Return the epoch and the index of the `micro_batch`-th batch of training.

    Args:
        micro_batch: micro-batches taken since the start of training; the ranks share each.
        num_batches: batches in an epoch.

    Returns:
        (epoch, index) for `LengthBatches.indices`.
    """
    return divmod(micro_batch, num_batches)


class LengthBatches:
    """Batches of samples of similar lengths that cost at most `batch_tokens` each.

    The cost of a batch is its number of rows times the longest length in any row and column, as the memory of a
    Transformer depends on the longer side. Samples are divided into strips of similar cost. Within a strip they are
    sorted by length difference (first minus last column), in alternating order, so that neighbours are similar in
    both. Each epoch shifts the strips and sorts with noise, so that batches differ from epoch to epoch (less so where a
    strip contains one batch).

    Lengths may differ from epoch to epoch (sampled segmentations). As their sum hardly changes, every epoch has the
    number of batches of the first one, plus `ROOM`. If an epoch needs more, it skips randomly drawn batches.

    Args:
        lengths: tokens of each sample, (N,), or (N, k) for samples of several sequences; int, at least 0. Or a function
            of the epoch that returns them.
        batch_tokens: maximum cost of a batch. A single sample that exceeds it becomes a batch.
        max_batch: maximum number of samples in a batch; 0: no limit.
        seed: seed of the order.
        shuffle: whether the order is random; otherwise every epoch has the order of decreasing cost.

    Raises:
        ValueError: if there are no samples, or the lengths have neither of the shapes.
    """

    def __init__(
        self,
        lengths: np.ndarray | Callable[[int], np.ndarray],
        *,
        batch_tokens: int,
        max_batch: int = 0,
        seed: int,
        shuffle: bool = True,
    ) -> None:
        """Fix the number of batches."""
        self._lengths = lengths
        self.batch_tokens, self.max_batch, self.seed, self.shuffle = batch_tokens, max_batch, seed, shuffle
        self._tables, self._plans = ByEpoch(self._make_table), ByEpoch(self._make_plan)
        table = self._table(0)
        self._strips, self._num_batches = 1, len(self._cut(table, table.longest_first())) - 1
        if shuffle:
            self._strips = self._choose_strips(table)
            trials = [len(self._cut(table, self._order(table, self._random(0, trial)))) - 1 for trial in range(TRIALS)]
            self._num_batches = max(self._num_batches, *trials)
        if callable(lengths):
            self._num_batches = min(len(table.cost), math.ceil(self._num_batches * (1 + ROOM)))

    def __len__(self) -> int:
        """Return the number of batches in an epoch, which is the same in every epoch."""
        return self._num_batches

    def indices(self, epoch: int, index: int) -> np.ndarray:
        """Return the samples of a batch.

        Args:
            epoch: counts from 0.
            index: of the batch, 0 <= index < len(self).

        Returns:
            (rows,) int64; a pure function of (seed, epoch, index) and the lengths.

        Raises:
            IndexError: if there is no such batch.
        """
        if not 0 <= index < self._num_batches:
            raise IndexError(f"batch {index} of {self._num_batches}")
        plan = self._plan(epoch)
        batch = plan.rank[index]
        return plan.order[plan.bounds[batch] : plan.bounds[batch + 1]].copy()

    @property
    def lengths(self) -> np.ndarray:
        """Return the length of each sample, (N, k); those of the first epoch if they differ between epochs."""
        return self._table(0).lengths

    def padding_percent(self, epoch: int = 0) -> float:
        """Return the percentage of padding among an epoch's positions, over all columns: 100 * (1 - real / padded)."""
        plan = self._plan(epoch)
        return self._padding(self._table(epoch), plan.order, plan.bounds)

    def _table(self, epoch: int) -> _Table:
        return self._tables[epoch if callable(self._lengths) else 0]

    def _make_table(self, epoch: int) -> _Table:
        return _Table.of(self._lengths(epoch) if callable(self._lengths) else self._lengths)

    def _plan(self, epoch: int) -> _Plan:
        return self._plans[epoch if self.shuffle else 0]

    def _make_plan(self, epoch: int) -> _Plan:
        table = self._table(epoch)
        if not self.shuffle:
            order = table.longest_first()
            return _Plan(order, self._cut(table, order), np.arange(self._num_batches))
        for trial in range(2 * TRIALS):
            order = self._order(table, self._random(epoch, trial))
            bounds = self._cut(table, order)
            if len(bounds) - 1 <= self._num_batches:
                break
        else:  # every trial needs too many batches; this order does not if the lengths are the same in each epoch
            order = table.longest_first()
            bounds = self._cut(table, order)
        bounds = self._split_to(self._num_batches, bounds)
        rank = np.argsort(self._random(epoch, 2 * TRIALS).random_raw(len(bounds) - 1))[: self._num_batches]
        if epoch == 0:  # the largest batch first, so that too little memory shows at once
            largest = int(np.flatnonzero(rank == int(np.argmax(self._padded(table, order, bounds))))[0])
            rank[[0, largest]] = rank[[largest, 0]]
        return _Plan(order, bounds, rank)

    def _random(self, epoch: int, stream: int) -> np.random.Philox:
        """Return a bit generator; only its raw words are used, as NumPy keeps no other stream stable."""
        return np.random.Philox(np.random.SeedSequence([self.seed, epoch, stream]))

    def _order(self, table: _Table, random: np.random.Philox) -> np.ndarray:
        """Return all samples along a serpentine through the noisy lengths, (N,) int64."""
        count, columns = table.lengths.shape
        uniform = (random.random_raw(count + 1) >> 11) * 2.0**-53  # 53 bits fill a float64: 0 <= uniform < 1
        noise = NOISE * (2 * uniform[1:] - 1) * table.cost
        if columns == 1:
            return np.argsort(table.cost + noise / 2, kind="stable")
        difference = table.lengths[:, 0].astype(np.int64) - table.lengths[:, -1] + noise
        # Samples of one cost stay in one strip, and strips hold about equally many batches.
        strip = (table.quantile * self._strips + uniform[0]).astype(np.int64)[table.group]
        return np.lexsort((np.where(strip % 2, -difference, difference), strip))

    def _cut(self, table: _Table, order: np.ndarray) -> np.ndarray:
        """Return the bounds of batches if `order` is divided greedily, (batches + 1,) int64."""
        cost, count = table.cost[order], len(order)
        limit = self.max_batch or count
        bounds = [0]
        while bounds[-1] < count:
            start = bounds[-1]
            window = max(1, min(limit, self.batch_tokens // int(cost[start])))
            longest = np.maximum.accumulate(cost[start : start + window])
            spent = longest * np.arange(1, len(longest) + 1)  # grows strictly
            bounds.append(start + max(1, int(np.searchsorted(spent, self.batch_tokens, side="right"))))
        return np.asarray(bounds, np.int64)

    def _split_to(self, num_batches: int, bounds: np.ndarray) -> np.ndarray:
        """Halve the batches with the most rows until there are `num_batches`."""
        missing = num_batches - (len(bounds) - 1)
        while missing > 0:
            rows = np.diff(bounds)
            many = np.argsort(-rows, kind="stable")[:missing]
            many = many[rows[many] > 1]
            bounds = np.sort(np.concatenate([bounds, bounds[many] + rows[many] // 2]))
            missing -= len(many)
        return bounds

    def _padded(self, table: _Table, order: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """Return the positions of each batch over all columns, with padding, (batches,) int64."""
        longest = np.maximum.reduceat(table.lengths[order], bounds[:-1], axis=0)
        return longest.sum(axis=1, dtype=np.int64) * np.diff(bounds)

    def _padding(self, table: _Table, order: np.ndarray, bounds: np.ndarray) -> float:
        padded = int(self._padded(table, order, bounds).sum())
        return 100 * (1 - int(table.lengths.sum(dtype=np.int64)) / padded) if padded else 0.0

    def _choose_strips(self, table: _Table) -> int:
        """Return the number of strips with the least padding, or the first with less than `ENOUGH_PERCENT`."""
        if table.lengths.shape[1] == 1:
            return 1
        best, fewest = 1, float("inf")
        self._strips = 1
        while self._strips <= max(1, self._num_batches):
            order = self._order(table, self._random(0, 0))
            percent = self._padding(table, order, self._cut(table, order))
            if percent < fewest:
                best, fewest = self._strips, percent
            if fewest < ENOUGH_PERCENT or percent > fewest + 1:
                break
            self._strips = max(self._strips + 1, self._strips * 5 // 4)
        return best
