"""Division of a training split into rows for training and randomly drawn rows for validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from tformer_cli.data.core.batching import shuffled

Labels = Sequence[Collection[str]]
"""The labels of each row."""


def draw_rows(count: int, share: float, *, seed: int, labels: Labels | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draw a share of the row numbers, and return the remaining and the drawn ones.

    Args:
        count: number of rows.
        share: share to draw; if it is more than 0 and there are two rows, at least one row is drawn.
        seed: seed of the draw.
        labels: labels of each row. If each row has one, the draw is stratified by the largest remainder method. At
            least one row of each label always remains.

    Returns:
        The remaining and the drawn rows, both sorted, int64.
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
    """Return the rows to draw, stratified: the first of each label in `order`, and at most all but one of its rows."""
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
    """Return the rows to draw: the first in `order`, as long as each of their labels keeps a remaining row."""
    left = Counter(label for row in labels for label in set(row))
    drawn: list[int] = []
    for row in order.tolist():
        if len(drawn) == most:
            break
        distinct = set(labels[row])
        if all(left[label] > 1 for label in distinct):
            left.subtract(distinct)
            drawn.append(row)
    return np.array(drawn, np.int64)
