"""Which tokens a masked language model must guess, and the sentence pairs of next-sentence prediction.

All of it is a pure function of (seed, epoch, sample): fresh masks each epoch (Liu et al. 2019, section 4.1), and the
same ones on every machine and after every interruption.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tformer_cli.config.schema import MaskingConfig


@dataclass(frozen=True)
class Masked:
    """A sequence with some tokens hidden.

    Attributes:
        tokens: (T,), int64.
        places: of the tokens to predict, ascending, (N,), int64.
        targets: what stood there, (N,), int64.
    """

    tokens: np.ndarray
    places: np.ndarray
    targets: np.ndarray


class Masking:
    """Hides 15 % of the tokens: 80 % become <mask>, 10 % a random token, 10 % stay (Devlin et al. 2019, 3.1).

    Args:
        config: the shares.
        mask_id: id of <mask>.
        special: ids that are never hidden.
        word_starts: whether a piece begins a word, by id, (V,) bool; for whole words.
    """

    def __init__(self, config: MaskingConfig, mask_id: int, special: list[int], word_starts: np.ndarray) -> None:
        self.config, self.mask_id, self.word_starts = config, mask_id, word_starts
        self.special = np.zeros(len(word_starts), dtype=bool)
        self.special[special] = True
        self.ordinary = np.flatnonzero(~self.special)

    def __call__(self, tokens: np.ndarray, random: np.random.Generator) -> Masked:
        """Hide some of (T,) int64 tokens, at least one if any may be."""
        free = np.flatnonzero(~self.special[tokens])
        if not len(free):
            return Masked(tokens, free, tokens[free])
        number = max(1, round(self.config.share * len(free)))
        if self.config.whole_words:
            word = np.cumsum(self.word_starts[tokens[free]] | (np.diff(free, prepend=free[0]) > 1))
            word -= word[0]
            turn = random.permutation(word[-1] + 1)  # of words, not of pieces: long words are not preferred
            order = np.lexsort((np.arange(len(free)), turn[word]))
            number = _whole(word[order], number, random)
        else:
            order = random.permutation(len(free))
        places = np.sort(free[order[:number]])
        targets = tokens[places]
        hidden = tokens.copy()
        choice = random.random(len(places))
        masked = choice < self.config.mask
        other = ~masked & (choice < self.config.mask + self.config.random)
        hidden[places[masked]] = self.mask_id
        hidden[places[other]] = self.ordinary[random.integers(len(self.ordinary), size=int(other.sum()))]
        return Masked(hidden, places, targets)


def _whole(words: np.ndarray, number: int, random: np.random.Generator) -> int:
    """Draw a count of tokens that consists of whole words and is `number` on average.

    The word that contains token `number` is masked with a probability equal to the fraction of it before that token.
    The first word is always masked.
    """
    last = np.flatnonzero(words == words[number - 1])
    begin, end = int(last[0]), int(last[-1]) + 1
    if begin == 0 or end == number:
        return end
    return end if random.random() < (number - begin) / (end - begin) else begin


class SentencePairs:
    """Pairs of text for next-sentence prediction (Devlin et al. 2019, 3.1): B follows A, or is from elsewhere.

    A document is a list of sentences. Sample i begins at sentence i of the corpus: A takes a part of the sentences from
    there that fit, B those that follow, or as many from a random place of another document.

    Args:
        sentences: tokens of each sentence, (S,) int64.
        documents: number of each sentence's document, ascending, (S,) int64.
        size: most tokens of A and B together.
    """

    def __init__(self, sentences: np.ndarray, documents: np.ndarray, size: int) -> None:
        self.lengths, self.documents, self.size = sentences, documents, size
        self.end = np.searchsorted(documents, documents, side="right")  # where a sentence's document ends
        self.starts = self._starts()

    def _starts(self) -> np.ndarray:
        """Sentences that samples begin at: each takes up where the sentences of the one before it ended."""
        starts, place = [], 0
        while place < len(self.lengths):
            stop = self._fit(place, self.size)
            if stop - place >= 2:
                starts.append(place)
            place = stop
        return np.asarray(starts, dtype=np.int64)

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self.starts)

    def _fit(self, place: int, room: int) -> int:
        """Where the sentences from `place` that fit into `room` tokens end; at least one is taken."""
        total, stop = int(self.lengths[place]), place + 1
        while stop < self.end[place] and total + self.lengths[stop] <= room:
            total += int(self.lengths[stop])
            stop += 1
        return stop

    def pair(self, sample: int, random: np.random.Generator) -> tuple[range, range, bool]:
        """Sentences of A, those of B, and whether B follows A."""
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
