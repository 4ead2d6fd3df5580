"""Batches of about equal cost: samples of like lengths together, under a budget of padded tokens.

The order is a pure function of (seed, epoch), so that training resumes from a step number alone, and every
epoch has the same number of batches, so that a step number is an epoch and an index by one division.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

Kept = TypeVar("Kept")

NOISE = 0.06  # of a sample's cost: what its place among like samples varies by from epoch to epoch
TRIALS = 4  # orders that fix the number of batches; an epoch that needs more tries twice as many
ENOUGH_PERCENT = 4.0  # below this padding, finer strips would only cost randomness
ROOM = 0.01  # of the number of batches: for lengths that differ from epoch to epoch
KEPT_EPOCHS = 2  # a prefetching reader crosses the border between two


def shuffled(count: int, *key: int) -> np.ndarray:
    """The numbers below `count` in an order that a key alone decides (the seed, the epoch): (count,) int64."""
    return np.argsort(np.random.Philox(np.random.SeedSequence(key)).random_raw(count), kind="stable")


class ByEpoch(Generic[Kept]):
    """What belongs to an epoch, made when it is asked for; that of the last few is kept."""

    def __init__(self, make: Callable[[int], Kept]) -> None:
        self._make = make
        self._kept: OrderedDict[int, Kept] = OrderedDict()

    def __getitem__(self, epoch: int) -> Kept:
        """What belongs to `epoch`."""
        if epoch not in self._kept:
            self._kept[epoch] = self._make(epoch)
            while len(self._kept) > KEPT_EPOCHS:
                self._kept.popitem(last=False)
        return self._kept[epoch]


@dataclass(frozen=True)
class _Table:
    """The samples of an epoch, and what orders them."""

    lengths: np.ndarray  # (N, k)
    cost: np.ndarray  # (N,) int64
    group: np.ndarray  # (N,) int64: samples of one cost
    quantile: np.ndarray  # of each group: where its middle lies in the sum of all costs, 0 to 1

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
        """All samples, (N,) int64."""
        return np.lexsort((*self.lengths.T, self.cost))[::-1].astype(np.int64)


@dataclass(frozen=True)
class _Plan:
    """The batches of an epoch: batch i holds `order[bounds[rank[i]] : bounds[rank[i] + 1]]`."""

    order: np.ndarray  # (N,) int64
    bounds: np.ndarray  # (batches + 1,) int64
    rank: np.ndarray  # (batches,) int64: the order in which batches are shown


def stream_position(micro_batch: int, num_batches: int) -> tuple[int, int]:
    """Where the `micro_batch`-th batch of training lies.

    Args:
        micro_batch: micro-batches taken since the start of training; the ranks share each.
        num_batches: batches in an epoch.

    Returns:
        (epoch, index) for `LengthBatches.indices`.
    """
    return divmod(micro_batch, num_batches)


class LengthBatches:
    """Groups samples of like lengths into batches that cost at most `batch_tokens`.

    A batch costs its rows times the longest length in it, over all rows and columns (a Transformer's memory
    follows the longer side). Samples are laid along a serpentine through the plane of lengths: strips of like
    cost, inside a strip by the difference of the first and the last column, up and down in turn, so that
    neighbours are alike in both. Each epoch lays its strips anew and sorts with noise, so that batches differ
    from epoch to epoch (less so where a strip holds one batch).

    Lengths may differ from epoch to epoch (sampled segmentations). Their sum hardly does, so that the first epoch's
    number of batches and a little more serves all of them; should an epoch ever need more, then that epoch leaves the
    batches that are too many out, drawn at random.

    Args:
        lengths: tokens of each sample, (N,), or (N, k) for samples of several sequences; int, at least 0. Or a function
            of the epoch that gives them.
        batch_tokens: the budget. A single sample that is over it gets a batch of its own.
        max_batch: most samples in a batch; 0: no limit.
        seed: of the order.
        shuffle: False: longest first, the same in every epoch (for evaluation and decoding).

    Raises:
        ValueError: if there are no samples, or the lengths have another shape.
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
        """Batches in an epoch, the same in each."""
        return self._num_batches

    def indices(self, epoch: int, index: int) -> np.ndarray:
        """The samples of a batch.

        Args:
            epoch: from 0.
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
        """Tokens of each sample, in the first epoch where they differ, (N, k)."""
        return self._table(0).lengths

    def padding_percent(self, epoch: int = 0) -> float:
        """Share of an epoch's positions, over all columns, that hold no token: 100 * (1 - real / padded)."""
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
        else:  # no lucky order: this one is known to fit if the lengths are the same in each epoch
            order = table.longest_first()
            bounds = self._cut(table, order)
        bounds = self._split_to(self._num_batches, bounds)
        rank = np.argsort(self._random(epoch, 2 * TRIALS).random_raw(len(bounds) - 1))[: self._num_batches]
        if epoch == 0:  # the largest first: memory runs out at once, or never
            largest = int(np.flatnonzero(rank == int(np.argmax(self._padded(table, order, bounds))))[0])
            rank[[0, largest]] = rank[[largest, 0]]
        return _Plan(order, bounds, rank)

    def _random(self, epoch: int, stream: int) -> np.random.Philox:
        """Raw words alone are drawn from it: numpy promises no more than that they stay the same."""
        return np.random.Philox(np.random.SeedSequence([self.seed, epoch, stream]))

    def _order(self, table: _Table, random: np.random.Philox) -> np.ndarray:
        """All samples along a serpentine through the noisy lengths, (N,) int64."""
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
        """Where batches begin and end when `order` is cut greedily, (batches + 1,) int64."""
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
        """Halve the batches of most rows until there are `num_batches`."""
        missing = num_batches - (len(bounds) - 1)
        while missing > 0:
            rows = np.diff(bounds)
            many = np.argsort(-rows, kind="stable")[:missing]
            many = many[rows[many] > 1]
            bounds = np.sort(np.concatenate([bounds, bounds[many] + rows[many] // 2]))
            missing -= len(many)
        return bounds

    def _padded(self, table: _Table, order: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """Positions of each batch over all columns, padding included, (batches,) int64."""
        longest = np.maximum.reduceat(table.lengths[order], bounds[:-1], axis=0)
        return longest.sum(axis=1, dtype=np.int64) * np.diff(bounds)

    def _padding(self, table: _Table, order: np.ndarray, bounds: np.ndarray) -> float:
        padded = int(self._padded(table, order, bounds).sum())
        return 100 * (1 - int(table.lengths.sum(dtype=np.int64)) / padded) if padded else 0.0

    def _choose_strips(self, table: _Table) -> int:
        """The number of strips that wastes least, or wastes little enough."""
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
