"""Bands of length, for scores of examples by their length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BANDS = 5
"""Maximum number of bands, which have about equally many examples each."""


def length_bands(lengths: Sequence[int], bands: int = BANDS) -> dict[str, list[int]]:
    """Divide examples into bands by length; all examples of a length are in one band.

    Args:
        lengths: length of each example.
        bands: maximum number of bands.

    Returns:
        Rows by the name of the band, such as `5-9`, in ascending order.
    """
    values = np.asarray(lengths)
    limits = np.unique(np.quantile(values, np.arange(1, bands) / bands, method="lower"))
    numbers = np.searchsorted(limits, values)  # band 0: up to the first limit
    divided = {}
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        low, high = int(values[rows].min()), int(values[rows].max())
        divided[f"{low}-{high}" if low < high else f"{low}"] = rows.tolist()
    return divided
