"""Dividing a training split: rows to train on, and rows that the seed draws to validate on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from tformer_cli.data.batching import shuffled

Labels = Sequence[Collection[str]]
"""The labels of each row."""


def draw_rows(count: int, share: float, *, seed: int, labels: Labels | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Divide row numbers into the rest and a share that the seed draws.

    Args:
        count: rows.
        share: of them; if it is more than 0 and there are two rows, at least one is drawn.
        seed: of the order.
        labels: of each row. Where each row has one, a label has its part among the drawn rows, by largest remainder.
            In any case a row is left to the rest for each label.

    Returns:
        The rest and the drawn rows, both in order, int64.
    """
    order = shuffled(count, seed)
    most = max(round(count * share), int(share > 0 and count > 1))
    if labels is None or not most:
        drawn = order[:most]
    elif all(len(row) == 1 for row in labels):
        drawn = _by_label(order, most, [next(iter(row)) for row in labels], seed)
    else:
        drawn = _keeping(order, most, labels)
    return np.setdiff1d(order, drawn), np.sort(drawn)


def _by_label(order: np.ndarray, most: int, labels: Sequence[str], seed: int) -> np.ndarray:
    """Rows to draw: of each label its part of `most`, the first in `order`; all but one row at most."""
    names, classes, counts = np.unique(np.asarray(labels, dtype=object), return_inverse=True, return_counts=True)
    exact, room = counts * most / len(order), counts - 1
    parts = np.minimum(exact.astype(np.int64), room)
    missing = most - int(parts.sum())
    while missing and (parts < room).any():
        for name in np.lexsort((shuffled(len(names), seed, 1), parts - exact)):  # the largest remainder first
            if missing and parts[name] < room[name]:
                parts[name] += 1
                missing -= 1
    by_class = order[np.argsort(classes[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    return np.concatenate([by_class[start : start + part] for start, part in zip(starts, parts, strict=True)])


def _keeping(order: np.ndarray, most: int, labels: Labels) -> np.ndarray:
    """Rows to draw, the first in `order` that leave a row to the rest for each of their labels."""
    left = Counter(label for row in labels for label in set(row))
    drawn: list[int] = []
    for row in order.tolist():
        if len(drawn) == most:
            break
        own = set(labels[row])
        if all(left[label] > 1 for label in own):
            left.subtract(own)
            drawn.append(row)
    return np.array(drawn, np.int64)
