"""Random choices that depend on a key alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def digest(text: str) -> int:
    """Return a hash of a text, a number of 128 bits."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


class Draws:
    """A sequence of random choices, the same for each sequence with the same key.

    The choices use the raw words of Philox (Salmon et al. 2011). NumPy keeps those the same in all versions, which it
    does not promise of the methods of `Generator`.

    Args:
        key: what the choices are for, such as "SEED/SPLIT/INDEX".
    """

    def __init__(self, key: str) -> None:
        self.random = np.random.Philox(key=digest(key))

    def choose(self, options: Sequence[T]) -> T:
        """Return one of the options, each with the same probability."""
        return options[self.random.random_raw() % len(options)]

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * (self.random.random_raw() >> 11) * 2.0**-53
