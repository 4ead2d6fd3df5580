"""Class-balanced sampling: each epoch draws as many rows as there are, rare labels more often."""

from __future__ import annotations

import numpy as np

from tformer_cli.data.batching import ByEpoch, shuffled


class Balance:
    """Draws the rows of an epoch, so that labels occur more evenly than in the data.

    Label c of n(c) rows gets a share of the epoch that is proportional to n(c) ** (1 - strength): of its own size with
    strength 0, the same as every other label with 1. A row is then drawn with a probability inverse to n(c) **
    strength. Within a label each row is drawn equally often, but for one time, and which are drawn once more depends on
    (seed, epoch) alone.

    Args:
        targets: number of each row's label, (N,), int64.
        strength: 0 to 1.
        seed: of the draws.
    """

    def __init__(self, targets: np.ndarray, strength: float, seed: int) -> None:
        self.count, self.seed = len(targets), seed
        by_label = np.argsort(targets, kind="stable")
        counts = np.unique(targets, return_counts=True)[1]
        self.rows = np.split(by_label, np.cumsum(counts)[:-1])
        shares = counts ** (1.0 - strength)
        self.exact = self.count * shares / shares.sum()
        self._drawn = ByEpoch(self._draw)

    def __getitem__(self, epoch: int) -> np.ndarray:
        """The draws of an epoch in an order of its own, (N,) int64.

        A row's first draw is its number, the next are N, 2 N, ... more: `draw % N` is the row, and random numbers that
        are derived from the draw differ each time.
        """
        return self._drawn[epoch]

    def _draw(self, epoch: int) -> np.ndarray:
        parts = self.exact.astype(np.int64)
        turn = shuffled(len(parts), self.seed, epoch, 1)
        most = np.argsort((parts - self.exact)[turn], kind="stable")[: self.count - parts.sum()]
        parts[turn[most]] += 1
        draws = []
        for label, (rows, number) in enumerate(zip(self.rows, parts.tolist(), strict=True)):
            times, more = divmod(number, len(rows))
            draws += [rows + time * self.count for time in range(times)]
            draws.append(rows[shuffled(len(rows), self.seed, epoch, 2, label)[:more]] + times * self.count)
        return np.concatenate(draws)[shuffled(self.count, self.seed, epoch)]
