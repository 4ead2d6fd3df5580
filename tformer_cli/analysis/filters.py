"""Patch filters: the principal components of a patch embedding, as small images.

Shapes: D model width, C channels, P side of a patch in pixels, k filters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tformer_cli.analysis.components import principal_components


class Filters(NamedTuple):
    """Principal components of a patch embedding.

    Attributes:
        images: orthonormal filters, (k, P, P, C), by decreasing variance; their entries have any sign.
        explained: share of the variance of the embedding's filters along each, (k,), 0 to 1.
    """

    images: np.ndarray
    explained: np.ndarray


def patch_filters(weights: np.ndarray, count: int = 28) -> Filters:
    """Return the principal components of the filters of a patch embedding (Dosovitskiy et al. 2021, figure 7 left).

    Each of the D rows of the embedding is a filter of C P^2 numbers. The components of these D points are a basis of
    the filters.

    Args:
        weights: weights of the embedding as a convolution, (D, C, P, P).
        count: number of filters; the figure shows 28. At most min(D, C P^2) exist.
    """
    dim, channels, side, _ = weights.shape
    directions, explained, _ = principal_components(np.reshape(weights, (dim, -1)), count)
    return Filters(directions.reshape(-1, channels, side, side).transpose(0, 2, 3, 1), explained)
