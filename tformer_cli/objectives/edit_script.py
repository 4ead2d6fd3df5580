"""The oracle of editing: a shortest script of deletions and insertions from one sequence to another.

Its cost is the Levenshtein distance without substitutions, n + m - 2 LCS for sequences of n and m tokens with a longest
common subsequence of LCS tokens (Gu et al. 2019, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Indel


@dataclass(frozen=True)
class EditScript:
    """A shortest script from a sequence of n tokens to one of m; if there are several, any of them.

    Attributes:
        deleted: whether each token is deleted, (n,), bool.
        counts: number of tokens inserted before, between and after the K remaining ones, (K + 1,), int64.
    """

    deleted: np.ndarray
    counts: np.ndarray

    @property
    def cost(self) -> int:
        """The number of deletions and insertions."""
        return int(self.deleted.sum() + self.counts.sum())


def edit_script(tokens: Sequence[int], target: Sequence[int]) -> EditScript:
    """Return a shortest script of deletions and insertions from tokens to a target."""
    deleted = np.zeros(len(tokens), dtype=bool)
    gaps = []
    for operation, position, _ in Indel.editops(tokens, target).as_list():
        if operation == "delete":
            deleted[position] = True
        else:
            gaps.append(position)
    remaining = np.concatenate([[0], np.cumsum(~deleted)])  # number of remaining tokens before each position
    counts = np.bincount(remaining[np.asarray(gaps, dtype=np.int64)], minlength=remaining[-1] + 1)
    return EditScript(deleted, counts.astype(np.int64))
