"""Language models that take part in a search (shallow fusion: Gulcehre et al. 2015, section 4.1).

A language model of words speaks where a word ends, one of characters or of the recogniser's own tokens at each token.

Shapes: B sentences, R hypotheses of each, N hypotheses, C tokens looked at, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from tformer_cli.decode.ngram import END, Context, Ngrams
from tformer_cli.decode.spelling import Spelling

H = TypeVar("H")
W = TypeVar("W")


class LanguageModel(Protocol[H]):
    """What a search asks about hypotheses; H is what is known of one."""

    highest: float
    """The most that a token can add."""

    def start(self, sentences: int) -> list[H]:
        """Empty hypotheses of new sentences, whose predecessors are done with."""
        ...

    def scores(self, hypotheses: Sequence[H], tokens: np.ndarray) -> np.ndarray:
        """What each of the tokens (C,) would add to each hypothesis, in natural logarithms: (N, C) float64."""
        ...

    def ends(self, hypotheses: Sequence[H]) -> np.ndarray:
        """What each adds if it ends here, (N,) float64."""
        ...

    def follow(self, hypothesis: H, token: int) -> H:
        """A hypothesis and one more token."""
        ...


class WordModel(Protocol[W]):
    """A language model that scores word after word; W is what is known of the words before."""

    def start(self, sentences: int) -> list[W]:
        """Before the first word of new sentences."""
        ...

    def words(self, contexts: Sequence[W], words: Sequence[str]) -> list[tuple[float, W]]:
        """Natural log-probability of a word after each context, and what is known then."""
        ...

    def ends(self, contexts: Sequence[W]) -> np.ndarray:
        """Log-probability that each text ends here, (N,) float64."""
        ...


def from_ngrams(ngrams: Ngrams, spelling: Spelling, unknown_penalty: float = 0.0) -> LanguageModel[Any]:
    """N-grams of words, or of characters if all words of the file are single characters.

    Args:
        ngrams: the file.
        spelling: what the recogniser's tokens write.
        unknown_penalty: see `NgramWords`.
    """
    if ngrams.of_characters:
        return Characters(ngrams, spelling)
    words = NgramWords(ngrams, unknown_penalty)
    return Words(words, spelling, words.begun if unknown_penalty else None)


# --- words -----------------------------------------------------------------------------------------------------------


class NgramWords:
    """N-grams whose words are words.

    Args:
        ngrams: the file.
        unknown_penalty: taken from the log-probability of words that are not there: <unk> of a file with few words is
            as probable as any of these, so that it would not keep a recogniser from misspelling them.
    """

    def __init__(self, ngrams: Ngrams, unknown_penalty: float = 0.0) -> None:
        self.ngrams, self.unknown_penalty = ngrams, unknown_penalty

    @cached_property
    def _beginnings(self) -> set[str]:
        return {word[:end] for word in self.ngrams.numbers for end in range(len(word) + 1)}

    def begun(self, beginning: str) -> float:
        """What is certain of a word that begins so: the penalty, if no word of the file does."""
        return 0.0 if beginning in self._beginnings else -self.unknown_penalty

    def start(self, sentences: int) -> list[Context]:
        """<s>, for each."""
        return [self.ngrams.start()] * sentences

    def words(self, contexts: Sequence[Context], words: Sequence[str]) -> list[tuple[float, Context]]:
        """See `WordModel`."""
        return [self._score(context, word) for context, word in zip(contexts, words, strict=True)]

    def _score(self, context: Context, word: str) -> tuple[float, Context]:
        value, after = self.ngrams.score(context, word)
        return value if word in self.ngrams.numbers else value - self.unknown_penalty, after

    def ends(self, contexts: Sequence[Context]) -> np.ndarray:
        """Of </s>."""
        return np.array([self.ngrams.score(context, END)[0] for context in contexts])


class Words(Generic[W]):
    """Any model of words, asked whenever a token ends one. A hypothesis: what is known, and the word being written.

    Args:
        model: of words.
        spelling: what the recogniser's tokens write.
        begun: what is certain of a word from its beginning, at most 0 and falling as the beginning grows. It counts as
            soon as it is certain, so that a search does not keep what is lost later; the whole word's score stays.
    """

    highest = 0.0

    def __init__(self, model: WordModel[W], spelling: Spelling, begun: Callable[[str], float] | None = None) -> None:
        self.model, self.spelling, self.begun = model, spelling, begun
        self.simple = np.array([text[:1] == " " and " " not in text[1:] for text in spelling.texts])

    def start(self, sentences: int) -> list[tuple[W, str]]:
        """See `LanguageModel`."""
        return [(context, "") for context in self.model.start(sentences)]

    def scores(self, hypotheses: Sequence[tuple[W, str]], tokens: np.ndarray) -> np.ndarray:
        """The log-probability of the word that is written so far, for all tokens that end it."""
        found = np.zeros((len(hypotheses), len(tokens)))
        # with `begun` every token counts; without, most end the word and begin another, so that one score does for all
        written = np.ones(len(tokens), bool) if self.begun is not None else self.spelling.ends_word[tokens]
        alike = written & self.simple[tokens] & (self.begun is None)
        if alike.any():
            found[:, alike] = np.array([value for value, _ in self._finished(hypotheses)])[:, None]
        for column in np.flatnonzero(written & ~alike):
            text = self.spelling.texts[tokens[column]]
            found[:, column] = [self._write(one, text)[0] for one in hypotheses]
        return found

    def ends(self, hypotheses: Sequence[tuple[W, str]]) -> np.ndarray:
        """Of the last word and of the end."""
        last = self._finished(hypotheses)
        found = np.array([value for value, _ in last]) + self.model.ends([context for _, context in last])
        return found if self.begun is None else found - [self.begun(word) for _, word in hypotheses]

    def follow(self, hypothesis: tuple[W, str], token: int) -> tuple[W, str]:
        """See `LanguageModel`."""
        return self._write(hypothesis, self.spelling.texts[token])[1]

    def _finished(self, hypotheses: Sequence[tuple[W, str]]) -> list[tuple[float, W]]:
        """Each with the word that it writes added."""
        found = [(0.0, context) for context, _ in hypotheses]
        places = [place for place, (_, word) in enumerate(hypotheses) if word]
        scored = self.model.words([hypotheses[i][0] for i in places], [hypotheses[i][1] for i in places])
        for place, one in zip(places, scored, strict=True):
            found[place] = one
        return found

    def _write(self, hypothesis: tuple[W, str], text: str) -> tuple[float, tuple[W, str]]:
        added, (context, word) = 0.0, hypothesis
        before = word
        first, *others = text.split(" ")
        word += first
        for other in others:
            ((value, context),) = self._finished([(context, word)])
            added, word = added + value, other
        if self.begun is not None:
            added += self.begun(word) - self.begun(before)
        return added, (context, word)


class WordCount:
    """One for each word: with a weight, the word bonus. A hypothesis: whether a word is being written."""

    highest = 1.0

    def __init__(self, spelling: Spelling) -> None:
        self._words = Words(_Ones(), spelling)
        self.highest = float(max((len(text.split(" ")) - 1 for text in spelling.texts), default=0))
        self.start, self.scores = self._words.start, self._words.scores
        self.ends, self.follow = self._words.ends, self._words.follow


class _Ones:
    """A word model that counts."""

    def start(self, sentences: int) -> list[None]:
        return [None] * sentences

    def words(self, contexts: Sequence[None], words: Sequence[str]) -> list[tuple[float, None]]:
        return [(1.0, None)] * len(words)

    def ends(self, contexts: Sequence[None]) -> np.ndarray:
        return np.zeros(len(contexts))


# --- characters ------------------------------------------------------------------------------------------------------


class Characters:
    """N-grams whose words are characters. A hypothesis: the context, and whether the last character was a space.

    Spaces at the beginning, and spaces after spaces, do not count; without a sign for them in the file none do.
    """

    highest = 0.0

    def __init__(self, ngrams: Ngrams, spelling: Spelling) -> None:
        self.ngrams, self.spelling = ngrams, spelling
        self._known: dict[tuple[tuple[Context, bool], int], tuple[float, tuple[Context, bool]]] = {}

    def start(self, sentences: int) -> list[tuple[Context, bool]]:
        """See `LanguageModel`."""
        self._known = {}
        return [(self.ngrams.start(), True)] * sentences

    def scores(self, hypotheses: Sequence[tuple[Context, bool]], tokens: np.ndarray) -> np.ndarray:
        """The log-probability of all characters that a token writes."""
        numbers = tokens.tolist()
        return np.array([[self._write(one, token)[0] for token in numbers] for one in hypotheses])

    def ends(self, hypotheses: Sequence[tuple[Context, bool]]) -> np.ndarray:
        """Of </s>."""
        return np.array([self.ngrams.score(context, END)[0] for context, _ in hypotheses])

    def follow(self, hypothesis: tuple[Context, bool], token: int) -> tuple[Context, bool]:
        """See `LanguageModel`."""
        return self._write(hypothesis, token)[1]

    def _write(self, hypothesis: tuple[Context, bool], token: int) -> tuple[float, tuple[Context, bool]]:
        found = self._known.get((hypothesis, token))
        if found is None:
            added, (context, after_space) = 0.0, hypothesis
            for character in self.spelling.texts[token]:
                if character != " ":
                    value, context = self.ngrams.score(context, character)
                elif self.ngrams.space is None or after_space:
                    continue
                else:
                    value, context = self.ngrams.score(context, self.ngrams.space)
                added, after_space = added + value, character == " "
            found = self._known[hypothesis, token] = added, (context, after_space)
        return found


# --- in `decode.search` ----------------------------------------------------------------------------------------------


class Fusion(Generic[H]):
    """A language model as a scorer of `decode.search`.

    Args:
        model: the language model.
        sentences: B.
        vocab_size: V.
        eos_id: </s>.
        device: the search's.
    """

    def __init__(
        self, model: LanguageModel[H], sentences: int, vocab_size: int, eos_id: int, device: torch.device
    ) -> None:
        self.model, self.eos_id, self.device = model, eos_id, device
        self.tokens = np.arange(vocab_size)
        self.hypotheses = [[one] for one in model.start(sentences)]  # (B, R)

    def scores(self) -> Tensor:
        """See `decode.search.Scorer`."""
        every = [one for row in self.hypotheses for one in row]
        found = self.model.scores(every, self.tokens)
        found[:, self.eos_id] = self.model.ends(every)
        return torch.from_numpy(found).view(len(self.hypotheses), -1, len(self.tokens)).to(self.device)

    def advance(self, parents: Tensor, tokens: Tensor) -> None:
        """See `decode.search.Scorer`."""
        self.hypotheses = [
            [self.model.follow(row[parent], token) for parent, token in zip(*one, strict=True)]
            for row, *one in zip(self.hypotheses, parents.tolist(), tokens.tolist(), strict=True)
        ]

    def keep(self, sentences: Tensor) -> None:
        """See `decode.search.Scorer`."""
        self.hypotheses = [self.hypotheses[row] for row in sentences.tolist()]
