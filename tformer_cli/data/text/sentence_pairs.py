"""The sentence pairs of next-sentence prediction, drawn with the generator of each sample."""

from __future__ import annotations

import numpy as np


class SentencePairs:
    """Pairs of text for next-sentence prediction (Devlin et al. 2019, 3.1): B follows A, or is from elsewhere.

    A document is a list of sentences. The samples divide it into runs of consecutive sentences that fit into a
    sequence. A is the first part of a run. B is the rest of it, or sentences from a random position of another
    document.

    Args:
        sentences: number of tokens of each sentence, (S,) int64.
        documents: number of each sentence's document, ascending, (S,) int64.
        size: maximum number of tokens of A and B together.
    """

    def __init__(self, sentences: np.ndarray, documents: np.ndarray, size: int) -> None:
        self.lengths, self.documents, self.size = sentences, documents, size
        self.end = np.searchsorted(documents, documents, side="right")  # where a sentence's document ends
        self.starts = self._starts()

    def _starts(self) -> np.ndarray:
        """Return the first sentence of each sample; a sample begins where the one before it ends."""
        starts, start = [], 0
        while start < len(self.lengths):
            stop = self._fit(start, self.size)
            if stop - start >= 2:
                starts.append(start)
            start = stop
        return np.asarray(starts, dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""
        return len(self.starts)

    def _fit(self, start: int, room: int) -> int:
        """Return the end of the sentences from `start` that fit into `room` tokens; at least one is taken."""
        total, stop = int(self.lengths[start]), start + 1
        while stop < self.end[start] and total + self.lengths[stop] <= room:
            total += int(self.lengths[stop])
            stop += 1
        return stop

    def pair(self, sample: int, random: np.random.Generator) -> tuple[range, range, bool]:
        """Return the sentences of A, those of B, and whether B follows A."""
        start = int(self.starts[sample])
        stop = self._fit(start, self.size)
        middle = int(random.integers(start + 1, stop))
        first = range(start, middle)
        if random.random() < 0.5 or self.documents[0] == self.documents[-1]:
            return first, range(middle, stop), True
        while True:
            other = int(random.integers(len(self.lengths)))
            if self.documents[other] != self.documents[start]:
                break
        room = self.size - int(self.lengths[start:middle].sum())
        return first, range(other, self._fit(other, room)), False
