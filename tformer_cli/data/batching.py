"""Batches of about equal cost: samples of like lengths together, under a budget of padded tokens.

The order is a pure function of (seed, epoch), so that training resumes from a step number alone, and every
epoch has the same number of batches, so that a step number is an epoch and an index by one division.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

NOISE = 0.06  # of a sample's cost: what its place among like samples varies by from epoch to epoch
TRIALS = 4  # orders that fix the number of batches; an epoch that needs more tries twice as many
ENOUGH_PERCENT = 4.0  # below this padding, finer strips would only cost randomness
KEPT_PLANS = 2  # epochs whose order is kept: a prefetching reader crosses the border between two


@dataclass(frozen=True)
class _Plan:
    """The batches of an epoch: batch i holds `order[bounds[rank[i]] : bounds[rank[i] + 1]]`."""

    order: np.ndarray  # (N,) int64
    bounds: np.ndarray  # (batches + 1,) int64
    rank: np.ndarray  # (batches,) int64: the order in which batches are shown


def stream_position(micro_batch: int, num_batches: int) -> tuple[int, int]:
    """Where the `micro_batch`-th batch of training lies.

    Args:
        micro_batch: batches taken since the start of training, over all ranks and accumulated micro-batches.
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

    Args:
        lengths: tokens of each sample, (N,), or (N, k) for samples of several sequences; int, at least 0.
        batch_tokens: the budget. A single sample that is over it gets a batch of its own.
        max_batch: most samples in a batch; 0: no limit.
        seed: of the order.
        shuffle: False: longest first, the same in every epoch (for evaluation and decoding).

    Raises:
        ValueError: if there are no samples, or the lengths have another shape.
    """

    def __init__(
        self, lengths: np.ndarray, *, batch_tokens: int, max_batch: int = 0, seed: int, shuffle: bool = True
    ) -> None:
        """Fix the number of batches."""
        lengths = np.asarray(lengths)
        self.lengths = lengths.reshape(-1, 1) if lengths.ndim == 1 else lengths  # (N, k)
        if self.lengths.ndim != 2 or not self.lengths.size:
            raise ValueError(f"lengths must be (N,) or (N, k) with N > 0, not {lengths.shape}")
        self.batch_tokens, self.max_batch, self.seed, self.shuffle = batch_tokens, max_batch, seed, shuffle
        self._cost = np.maximum(self.lengths.max(axis=1).astype(np.int64), 1)
        costs, self._group, rows = np.unique(self._cost, return_inverse=True, return_counts=True)
        # Where the middle of each cost's samples lies in the sum of all costs, 0 to 1.
        self._quantile = (np.cumsum(rows * costs) - rows * costs / 2) / self._cost.sum()
        self._plans: OrderedDict[int, _Plan] = OrderedDict()
        self._fallback = np.lexsort((*self.lengths.T, self._cost))[::-1].astype(np.int64)
        self._strips, self._num_batches = 1, len(self._cut(self._fallback)) - 1
        if shuffle:
            self._strips = self._choose_strips()
            trials = [len(self._cut(self._order(self._random(0, trial)))) - 1 for trial in range(TRIALS)]
            self._num_batches = max(self._num_batches, *trials)

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

    def padding_percent(self, epoch: int = 0) -> float:
        """Share of an epoch's positions, over all columns, that hold no token: 100 * (1 - real / padded)."""
        plan = self._plan(epoch)
        return self._padding(plan.order, plan.bounds)

    def _plan(self, epoch: int) -> _Plan:
        if not self.shuffle:
            epoch = 0
        plan = self._plans.get(epoch)
        if plan is None:
            plan = self._plans[epoch] = self._make_plan(epoch)
        while len(self._plans) > KEPT_PLANS:
            self._plans.popitem(last=False)
        return plan

    def _make_plan(self, epoch: int) -> _Plan:
        if not self.shuffle:
            return _Plan(self._fallback, self._cut(self._fallback), np.arange(self._num_batches))
        for trial in range(2 * TRIALS):
            order = self._order(self._random(epoch, trial))
            bounds = self._cut(order)
            if len(bounds) - 1 <= self._num_batches:
                break
        else:  # no lucky order: this one is known to fit
            order, bounds = self._fallback, self._cut(self._fallback)
        bounds = self._split_to(self._num_batches, bounds)
        rank = np.argsort(self._random(epoch, 2 * TRIALS).random_raw(self._num_batches))
        if epoch == 0:  # the largest first: memory runs out at once, or never
            largest = int(np.flatnonzero(rank == int(np.argmax(self._padded(order, bounds))))[0])
            rank[[0, largest]] = rank[[largest, 0]]
        return _Plan(order, bounds, rank)

    def _random(self, epoch: int, stream: int) -> np.random.Philox:
        """Raw words alone are drawn from it: numpy promises no more than that they stay the same."""
        return np.random.Philox(np.random.SeedSequence([self.seed, epoch, stream]))

    def _order(self, random: np.random.Philox) -> np.ndarray:
        """All samples along a serpentine through the noisy lengths, (N,) int64."""
        count, columns = self.lengths.shape
        uniform = (random.random_raw(count + 1) >> 11) * 2.0**-53  # 53 bits fill a float64: 0 <= uniform < 1
        noise = NOISE * (2 * uniform[1:] - 1) * self._cost
        if columns == 1:
            return np.argsort(self._cost + noise / 2, kind="stable")
        difference = self.lengths[:, 0].astype(np.int64) - self.lengths[:, -1] + noise
        # Samples of one cost stay in one strip, and strips hold about equally many batches.
        strip = (self._quantile * self._strips + uniform[0]).astype(np.int64)[self._group]
        return np.lexsort((np.where(strip % 2, -difference, difference), strip))

    def _cut(self, order: np.ndarray) -> np.ndarray:
        """Where batches begin and end when `order` is cut greedily, (batches + 1,) int64."""
        cost, count = self._cost[order], len(order)
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
        while missing:
            rows = np.diff(bounds)
            many = np.argsort(-rows, kind="stable")[:missing]
            many = many[rows[many] > 1]
            bounds = np.sort(np.concatenate([bounds, bounds[many] + rows[many] // 2]))
            missing -= len(many)
        return bounds

    def _padded(self, order: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """Positions of each batch over all columns, padding included, (batches,) int64."""
        longest = np.maximum.reduceat(self.lengths[order], bounds[:-1], axis=0)
        return longest.sum(axis=1, dtype=np.int64) * np.diff(bounds)

    def _padding(self, order: np.ndarray, bounds: np.ndarray) -> float:
        padded = int(self._padded(order, bounds).sum())
        return 100 * (1 - int(self.lengths.sum(dtype=np.int64)) / padded) if padded else 0.0

    def _choose_strips(self) -> int:
        """The number of strips that wastes least, or wastes little enough."""
        if self.lengths.shape[1] == 1:
            return 1
        best, fewest = 1, float("inf")
        self._strips = 1
        while self._strips <= max(1, self._num_batches):
            order = self._order(self._random(0, 0))
            percent = self._padding(order, self._cut(order))
            if percent < fewest:
                best, fewest = self._strips, percent
            if fewest < ENOUGH_PERCENT or percent > fewest + 1:
                break
            self._strips = max(self._strips + 1, self._strips * 5 // 4)
        return best
