"""Principal component analysis, for patch filters and maps of vectors.

Shapes: N rows, D dimensions, k components.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Components(NamedTuple):
    """Principal components.

    Attributes:
        directions: orthonormal rows, (k, D), by decreasing variance.
        explained: share of the variance along each, (k,), 0 to 1; the shares of all components add up to 1.
        mean: mean of the rows, (D,).
    """

    directions: np.ndarray
    explained: np.ndarray
    mean: np.ndarray


def principal_components(rows: np.ndarray, count: int) -> Components:
    """Return the first principal components of rows, by a singular value decomposition U S V^T of the centred rows.

    The directions are the first rows of V^T; the variance along direction i is S_i^2 / (N - 1). The sign of a direction
    has no meaning: its largest entry is made positive, so that results do not depend on the library.

    Args:
        rows: (N, D).
        count: k; at most min(N, D) are returned. If all rows are equal, the shares are 0.
    """
    rows = np.asarray(rows, np.float64)
    mean = rows.mean(0)
    _, sizes, directions = np.linalg.svd(rows - mean, full_matrices=False)
    signs = np.sign(np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1))
    variance = sizes**2
    explained = variance / variance.sum() if variance.sum() > 0 else np.zeros_like(variance)
    return Components((directions * signs)[:count], explained[:count], mean)
