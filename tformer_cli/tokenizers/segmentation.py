"""Segmentations drawn at random from a seed alone, over the pieces of a SentencePiece model.

Sources: subword regularisation (Kudo 2018, section 3.2), BPE-dropout (Provilkov et al. 2020, algorithm 1).
SentencePiece draws too, but mixes a number of the process's own into its seed: no other process draws the same.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from bisect import bisect, bisect_left, insort
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate

SPACE_MARK = "\u2581"  # what SentencePiece writes for a space
UNIGRAM, BPE = 1, 2  # trainer_spec.model_type
NORMAL, USER_DEFINED, BYTE = 1, 4, 6  # type of a piece

KEPT_WORDS = 1 << 16  # words whose lattice (about 3 kB) or merges are remembered, the last that were met
KEPT_CHARACTERS = 32  # a longer word seldom comes again, and its lattice is large
UNKNOWN_PENALTY = 10.0  # SentencePiece: the logarithm of an unknown character is this below the least of the pieces

Uniform = Callable[[], float]  # draws from 0 <= x < 1


class Segmenter(ABC):
    """Draws segmentations of normalised text, word by word.

    A word is what lies between spaces, as far as no piece reaches over a space; in a model whose pieces do, it is the
    sentence. A user-defined symbol is a word, never parted: the longest that begins first. An unknown character is
    a piece, written in bytes if the model has them; unknown pieces that follow each other are one.

    Args:
        model: a SentencePiece model, parsed. What it marks as unused is not drawn.
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
        """Ids of a segmentation.

        Args:
            text: as the model's normaliser leaves it.
            strength: over 0; what it means is the kind's.
            random: the only source of randomness.
        """
        found: list[int] = []
        parts = self._symbol_pattern.split(text) if self._symbol_pattern else [text]
        for number, part in enumerate(parts):
            if number % 2:
                found.append(self._symbols[part])
                continue
            for word in self._words(part):
                found += self._word(word, strength, random)
        if self._unknown_id in found:
            before = [None, *found]
            found = [id for id, last in zip(found, before, strict=False) if not id == last == self._unknown_id]
        return found

    @abstractmethod
    def _word(self, word: str, strength: float, random: Uniform) -> Sequence[int]:
        """Ids of a segmentation of a word, as `draw`."""

    def _unknown(self, character: str) -> tuple[int, ...]:
        return tuple(self._bytes[byte] for byte in character.encode()) if self._spell else (self._unknown_id,)


class UnigramSegmenter(Segmenter):
    """Draws with probability proportional to P(segmentation)^strength (Kudo 2018, section 3.2).

    Exactly, from all there are (l = infinity): sums forward, draws backward. As words are independent of each other,
    the sentence's segmentation has the same distribution.
    """

    def __init__(self, model) -> None:
        super().__init__(model)
        self._unknown_score = min(self._scores.values(), default=0.0) - UNKNOWN_PENALTY
        self._beginnings = {piece[:stop] for piece in self._ids for stop in range(1, len(piece) + 1)}
        self._kept = lru_cache(KEPT_WORDS)(self._lattice)

    def _word(self, word: str, strength: float, random: Uniform) -> list[int]:
        lattice = (self._kept if len(word) <= KEPT_CHARACTERS else self._lattice)(word, strength)
        found: list[int] = []
        stop = len(word)
        while stop:
            shares, pieces = lattice[stop]
            stop, ids = pieces[bisect(shares, random())]
            found += ids
        found.reverse()
        return found

    def _lattice(self, word: str, strength: float) -> list[tuple]:
        """For each place: shares of the pieces that end there, summed up; where each begins, and its ids backward."""
        ending: list[list] = [[] for _ in range(len(word) + 1)]
        forward = 0.0  # logarithm of the sum over all segmentations up to a place
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
    """BPE-dropout (Provilkov et al. 2020, algorithm 1), with `strength` as its p.

    At each step each merge that is possible in the word is dropped with probability p, and the best of the others is
    made; it ends when all are dropped. Where many are possible it seldom ends early: a sentence without spaces is
    one long word, of which little is drawn otherwise.
    """

    def __init__(self, model) -> None:
        super().__init__(model)
        self._kept = lru_cache(KEPT_WORDS)(self._plain)

    def _word(self, word: str, strength: float, random: Uniform) -> Sequence[int]:
        ids, merges = self._kept(word) if len(word) <= KEPT_CHARACTERS else self._plain(word)
        for made in range(len(merges)):
            if random() < strength:  # for the first time the best merge is dropped; until then all is as without
                return self._merge(word, list(merges[:made]), strength, random, dropped=1)
        return ids

    def _plain(self, word: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids without dropout, and the merges that lead to them, as where the left piece begins."""
        merges: list[int] = []
        ids = self._merge(word, merges, 0.0, lambda: 1.0)
        return tuple(ids), tuple(merges)

    def _merge(self, word: str, made: list[int], p: float, random: Uniform, dropped: int = 0) -> list[int]:
        """Ids of a word, from where the merges `made` have led, to which the further ones are added.

        In the first step the best `dropped` merges are dropped already.
        """
        scores, length = self._scores, len(word)
        stops = list(range(1, length + 1))  # of the piece that begins at a place
        starts = list(range(-1, length))  # of the piece that ends at a place
        for left in made:
            right = stops[stops[left]]
            stops[left], starts[right] = right, left
        possible: list[tuple[float, int]] = []  # merges, best first: minus the score, and where the left piece begins
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
        found: list[int] = []
        left = 0
        while left < length:
            piece = word[left : stops[left]]
            found += self._ids.get(piece) or self._unknown(piece)
            left = stops[left]
        return found


@lru_cache(KEPT_WORDS)
def _move(start: int, ids: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Where a piece begins, and its ids backward; kept, as many lattices share it."""
    return start, ids


def make_segmenter(model: bytes) -> Segmenter | None:
    """What draws from a serialised SentencePiece model; None if each text has one segmentation in it."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
    parsed = proto.FromString(model)
    kinds = {UNIGRAM: UnigramSegmenter, BPE: BPESegmenter}
    kind = kinds.get(parsed.trainer_spec.model_type)
    return kind(parsed) if kind else None


def _word_pattern(pieces) -> re.Pattern[str]:
    """Finds the words of a text, one after the other, that no piece reaches over."""
    if not any(re.search(f"[^{SPACE_MARK}]{SPACE_MARK}", piece) for piece in pieces):
        return re.compile(f"{SPACE_MARK}*[^{SPACE_MARK}]+|{SPACE_MARK}+")
    if not any(re.search(f"{SPACE_MARK}[^{SPACE_MARK}]", piece) for piece in pieces):
        return re.compile(f"[^{SPACE_MARK}]+{SPACE_MARK}*|{SPACE_MARK}+")
    return re.compile(r"[\s\S]+")
