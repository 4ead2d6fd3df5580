"""Class-balanced sampling: an epoch draws as many rows as there are, and rare labels more often."""

from __future__ import annotations

import numpy as np

from tformer_cli.data.core.batching import ByEpoch, shuffled


class Balance:
    """Random draws of an epoch's rows in which labels occur more evenly than in the data.

    A label c with n(c) rows gets a share of the epoch proportional to n(c) ** (1 - strength). With strength 0 this is
    its share of the data, with 1 it is the same for all labels. The probability of a row is proportional to n(c) **
    -strength. The rows of a label are drawn equally often, up to a difference of one. Which rows are drawn once more
    depends only on (seed, epoch).

    Args:
        targets: label index of each row, (N,), int64.
        strength: 0 to 1.
        seed: seed of the draws.
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
        """Return the shuffled draws of an epoch, (N,) int64.

        The first draw of a row is its index, and further draws add N, 2 N and so on. The row is `draw % N`, and random
        numbers derived from a draw are different each time.
        """
        return self._drawn[epoch]

    def _draw(self, epoch: int) -> np.ndarray:
        parts = self.exact.astype(np.int64)
        turn = shuffled(len(parts), self.seed, epoch, 1)
        most = np.argsort((parts - self.exact)[turn], kind="stable")[: self.count - parts.sum()]
        parts[turn[most]] += 1
        draws = []
        for label, (rows, number) in enumerate(zip(self.rows, parts.tolist(), strict=True)):
            times, remainder = divmod(number, len(rows))
            draws += [rows + time * self.count for time in range(times)]
            draws.append(rows[shuffled(len(rows), self.seed, epoch, 2, label)[:remainder]] + times * self.count)
        return np.concatenate(draws)[shuffled(self.count, self.seed, epoch)]
