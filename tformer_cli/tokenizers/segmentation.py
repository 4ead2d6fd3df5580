"""Random segmentations into the pieces of a SentencePiece model, which depend only on a seed.

Sources: subword regularisation (Kudo 2018, section 3.2), BPE-dropout (Provilkov et al. 2020, algorithm 1).
SentencePiece's own sampling is not reproducible, since its seed depends on the process.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from bisect import bisect, bisect_left, insort
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate

SPACE_MARK = "\u2581"  # the space in the pieces of SentencePiece
UNIGRAM, BPE = 1, 2  # trainer_spec.model_type
NORMAL, USER_DEFINED, BYTE = 1, 4, 6  # type of a piece

CACHED_WORDS = 1 << 16
"""Number of words to cache lattices (about 3 kB each) or merges of."""
CACHED_CHARACTERS = 32
"""Maximum length of cached words; longer ones rarely occur again, and have large lattices."""
UNKNOWN_PENALTY = 10.0
"""Difference between the lowest score of a piece and the score of an unknown character, as in SentencePiece."""

Uniform = Callable[[], float]
"""A function that draws a number in [0, 1)."""


class Segmenter(ABC):
    """A sampler of segmentations of normalised text, word by word.

    Words are separated by spaces; if pieces of the model can cross spaces, the whole text is one word. A user-defined
    symbol is never divided; of several that match, the first and longest is used. An unknown character becomes the
    unknown piece, or its bytes if the model has them. Consecutive unknown pieces are merged into one.

    Args:
        model: a parsed SentencePiece model; its unused pieces are not drawn.
    """

    def __init__(self, model) -> None:
        pieces = list(enumerate(model.pieces))
        self._ids = {piece.piece: (number,) for number, piece in pieces if piece.type == NORMAL}
        self._scores = {piece.piece: piece.score for _, piece in pieces if piece.type == NORMAL}
        self._symbols = {piece.piece: number for number, piece in pieces if piece.type == USER_DEFINED}
        self._bytes = {int(piece.piece[3:5], 16): number for number, piece in pieces if piece.type == BYTE}
        self._unknown_id = model.trainer_spec.unk_id
        self._spell = model.trainer_spec.byte_fallback
        self._words = _word_pattern(self._ids).findall
        longest_first = sorted(self._symbols, key=len, reverse=True)
        self._symbol_pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if self._symbols else None

    def draw(self, text: str, strength: float, random: Uniform) -> list[int]:
        """Return the ids of a random segmentation.

        Args:
            text: text that the model's normaliser has normalised.
            strength: more than 0; its meaning depends on the subclass.
            random: the only source of randomness.
        """
        ids: list[int] = []
        parts = self._symbol_pattern.split(text) if self._symbol_pattern else [text]
        for number, part in enumerate(parts):
            if number % 2:
                ids.append(self._symbols[part])
                continue
            for word in self._words(part):
                ids += self._word(word, strength, random)
        if self._unknown_id in ids:
            previous_ids = [None, *ids]
            ids = [id for id, last in zip(ids, previous_ids, strict=False) if not id == last == self._unknown_id]
        return ids

    @abstractmethod
    def _word(self, word: str, strength: float, random: Uniform) -> Sequence[int]:
        """Return the ids of a random segmentation of a word, see `draw`."""

    def _unknown(self, character: str) -> tuple[int, ...]:
        return tuple(self._bytes[byte] for byte in character.encode()) if self._spell else (self._unknown_id,)


class UnigramSegmenter(Segmenter):
    """A sampler with probabilities proportional to P(segmentation)^strength (Kudo 2018, section 3.2).

    It draws from all segmentations (l = infinity), by forward filtering and backward sampling. Words are independent,
    so that the segmentation of a sentence has this distribution too.
    """

    def __init__(self, model) -> None:
        super().__init__(model)
        self._unknown_score = min(self._scores.values(), default=0.0) - UNKNOWN_PENALTY
        self._beginnings = {piece[:stop] for piece in self._ids for stop in range(1, len(piece) + 1)}
        self._cached_lattice = lru_cache(CACHED_WORDS)(self._lattice)

    def _word(self, word: str, strength: float, random: Uniform) -> list[int]:
        lattice = (self._cached_lattice if len(word) <= CACHED_CHARACTERS else self._lattice)(word, strength)
        reversed_ids: list[int] = []
        stop = len(word)
        while stop:
            shares, pieces = lattice[stop]
            stop, ids = pieces[bisect(shares, random())]
            reversed_ids += ids
        return reversed_ids[::-1]

    def _lattice(self, word: str, strength: float) -> list[tuple]:
        """Return the lattice of a word.

        Returns:
            For each position: the cumulative probabilities of the pieces that end there, except for the last; and for
            each of these pieces, the position at which it begins and its ids in reverse order.
        """
        ending: list[list] = [[] for _ in range(len(word) + 1)]
        forward = 0.0  # logarithm of the sum over all segmentations up to a position
        lattice: list[tuple] = [((), ())]
        for start in range(len(word) + 1):
            if start:
                logarithms = [weight for weight, _ in ending[start]]
                best = max(logarithms)
                weights = [math.exp(weight - best) for weight in logarithms]
                total = sum(weights)
                forward = best + math.log(total)
                shares = tuple([share / total for share in accumulate(weights[:-1])])  # the last one has the rest
                lattice.append((shares, tuple([move for _, move in ending[start]])))
            for stop in range(start + 1, len(word) + 1):
                piece = word[start:stop]
                ids, score = self._ids.get(piece), self._scores.get(piece, self._unknown_score)
                if ids is None and stop == start + 1:
                    ids = self._unknown(piece)[::-1]
                if ids is not None:
                    ending[stop].append((forward + strength * score, _move(start, ids)))
                if piece not in self._beginnings:
                    break
        return lattice


class BPESegmenter(Segmenter):
    """A sampler by BPE-dropout (Provilkov et al. 2020, algorithm 1), with `strength` as its p.

    In each step every possible merge of the word is dropped with probability p, and the best of the others is applied.
    The process ends when all are dropped, which is rare if many merges are possible. The segmentation of a sentence
    without spaces, which is one long word, therefore varies little.
    """

    def __init__(self, model) -> None:
        super().__init__(model)
        self._cached_plain = lru_cache(CACHED_WORDS)(self._plain)

    def _word(self, word: str, strength: float, random: Uniform) -> Sequence[int]:
        ids, merges = self._cached_plain(word) if len(word) <= CACHED_CHARACTERS else self._plain(word)
        for made in range(len(merges)):
            if random() < strength:  # the first dropped merge; up to it, merges are the same as without dropout
                return self._merge(word, list(merges[:made]), strength, random, dropped=1)
        return ids

    def _plain(self, word: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the ids without dropout, and the merges that lead to them, as the positions of their left pieces."""
        merges: list[int] = []
        ids = self._merge(word, merges, 0.0, lambda: 1.0)
        return tuple(ids), tuple(merges)

    def _merge(self, word: str, made: list[int], p: float, random: Uniform, dropped: int = 0) -> list[int]:
        """Return the ids of a word after BPE-dropout.

        Args:
            word: the word.
            made: merges that are applied first, as the positions of their left pieces; new merges are appended.
            p: probability with which a merge is dropped.
            random: the only source of randomness.
            dropped: number of the best merges that are already dropped in the first step.
        """
        scores, length = self._scores, len(word)
        stops = list(range(1, length + 1))  # end of the piece that begins at a position
        starts = list(range(-1, length))  # start of the piece that ends at a position
        for left in made:
            right = stops[stops[left]]
            stops[left], starts[right] = right, left
        possible: list[tuple[float, int]] = []  # merges, best first: minus the score, position of the left piece
        left = 0
        while (middle := stops[left]) < length:
            if (score := scores.get(word[left : stops[middle]])) is not None:
                possible.append((-score, left))
            left = middle
        possible.sort()
        while True:
            while dropped < len(possible) and random() < p:
                dropped += 1
            if dropped == len(possible):
                break
            _, left = possible.pop(dropped)
            middle = stops[left]
            right = stops[middle]
            if left:
                before = starts[left]
                if (score := scores.get(word[before:middle])) is not None:
                    del possible[bisect_left(possible, (-score, before))]
                if (score := scores.get(word[before:right])) is not None:
                    insort(possible, (-score, before))
            if right < length:
                after = stops[right]
                if (score := scores.get(word[middle:after])) is not None:
                    del possible[bisect_left(possible, (-score, middle))]
                if (score := scores.get(word[left:after])) is not None:
                    insort(possible, (-score, left))
            stops[left], starts[right] = right, left
            made.append(left)
            dropped = 0
        ids: list[int] = []
        left = 0
        while left < length:
            piece = word[left : stops[left]]
            ids += self._ids.get(piece) or self._unknown(piece)
            left = stops[left]
        return ids


@lru_cache(CACHED_WORDS)
def _move(start: int, ids: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Return the arguments as a tuple; it is cached, since many lattices contain the same tuples."""
    return start, ids


def make_segmenter(model: bytes) -> Segmenter | None:
    """Return the sampler for a serialised SentencePiece model; None if its kind has one segmentation of each text."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
    parsed = proto.FromString(model)
    kinds = {UNIGRAM: UnigramSegmenter, BPE: BPESegmenter}
    kind = kinds.get(parsed.trainer_spec.model_type)
    return kind(parsed) if kind else None


def _word_pattern(pieces) -> re.Pattern[str]:
    """Return the pattern of words that can be segmented independently, since no piece crosses their boundaries."""
    if not any(re.search(f"[^{SPACE_MARK}]{SPACE_MARK}", piece) for piece in pieces):
        return re.compile(f"{SPACE_MARK}*[^{SPACE_MARK}]+|{SPACE_MARK}+")
    if not any(re.search(f"{SPACE_MARK}[^{SPACE_MARK}]", piece) for piece in pieces):
        return re.compile(f"[^{SPACE_MARK}]+{SPACE_MARK}*|{SPACE_MARK}+")
    return re.compile(r"[\s\S]+")
