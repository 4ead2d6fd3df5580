"""Shallow fusion: language models that score the hypotheses of a search (Gulcehre et al. 2015, section 4.1).

A language model of words scores each complete word. A model of characters or of the recogniser's tokens scores each
token.

Shapes: B sentences, R hypotheses of each, N hypotheses, C candidate tokens, V vocabulary.
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
    """A scorer of hypotheses, token by token; H is the type of its state for a hypothesis."""

    highest: float
    """Upper bound of the score of a token."""

    def start(self, sentences: int) -> list[H]:
        """Return empty hypotheses of new sentences; hypotheses of earlier sentences become invalid."""
        ...

    def scores(self, hypotheses: Sequence[H], tokens: np.ndarray) -> np.ndarray:
        """Return the scores of tokens (C,) after each hypothesis, in natural logarithms: (N, C) float64."""
        ...

    def ends(self, hypotheses: Sequence[H]) -> np.ndarray:
        """Return the score of the end after each hypothesis, (N,) float64."""
        ...

    def follow(self, hypothesis: H, token: int) -> H:
        """Return a hypothesis extended by one token."""
        ...


class WordModel(Protocol[W]):
    """A language model that scores word by word; W is the type of its state after the previous words."""

    def start(self, sentences: int) -> list[W]:
        """Return the contexts before the first word of new sentences."""
        ...

    def words(self, contexts: Sequence[W], words: Sequence[str]) -> list[tuple[float, W]]:
        """Return the natural log-probability of a word after each context, and the next context."""
        ...

    def ends(self, contexts: Sequence[W]) -> np.ndarray:
        """Return the log-probability of the end after each context, (N,) float64."""
        ...


def from_ngrams(ngrams: Ngrams, spelling: Spelling, unknown_penalty: float = 0.0) -> LanguageModel[Any]:
    """Return a language model of words, or of characters if all words of the file are single characters.

    Args:
        ngrams: the n-grams of a file.
        spelling: texts of the recogniser's tokens.
        unknown_penalty: see `NgramWords`.
    """
    if ngrams.of_characters:
        return Characters(ngrams, spelling)
    words = NgramWords(ngrams, unknown_penalty)
    return Words(words, spelling, words.prefix_score if unknown_penalty else None)


# --- words -----------------------------------------------------------------------------------------------------------


class NgramWords:
    """An n-gram model of words.

    Args:
        ngrams: the n-grams of a file.
        unknown_penalty: subtracted from the log-probability of words that are not in the file. If the file has few
            words, <unk> is as probable as each of them, and misspelt words would not be penalised.
    """

    def __init__(self, ngrams: Ngrams, unknown_penalty: float = 0.0) -> None:
        self.ngrams, self.unknown_penalty = ngrams, unknown_penalty

    @cached_property
    def _prefixes(self) -> set[str]:
        return {word[:end] for word in self.ngrams.numbers for end in range(len(word) + 1)}

    def prefix_score(self, prefix: str) -> float:
        """Return an upper bound of the score of words with a prefix: minus the penalty if the file has no such word."""
        return 0.0 if prefix in self._prefixes else -self.unknown_penalty

    def start(self, sentences: int) -> list[Context]:
        """Return the context <s> for each sentence."""
        return [self.ngrams.start()] * sentences

    def words(self, contexts: Sequence[Context], words: Sequence[str]) -> list[tuple[float, Context]]:
        """Return the log-probability of a word after each context, and the next context."""
        return [self._score(context, word) for context, word in zip(contexts, words, strict=True)]

    def _score(self, context: Context, word: str) -> tuple[float, Context]:
        value, after = self.ngrams.score(context, word)
        return value if word in self.ngrams.numbers else value - self.unknown_penalty, after

    def ends(self, contexts: Sequence[Context]) -> np.ndarray:
        """Return the log-probability of </s> after each context, (N,) float64."""
        return np.array([self.ngrams.score(context, END)[0] for context in contexts])


class Words(Generic[W]):
    """A model of words as a language model of tokens. A hypothesis is a context and the incomplete word after it.

    Args:
        model: model of words.
        spelling: texts of the recogniser's tokens.
        prefix_score: function from an incomplete word to an upper bound of its score, at most 0 and not increasing as
            the word grows. It is added early, so that a search can drop the hypothesis, and is subtracted again when
            the word is complete.
    """

    highest = 0.0

    def __init__(
        self, model: WordModel[W], spelling: Spelling, prefix_score: Callable[[str], float] | None = None
    ) -> None:
        self.model, self.spelling, self.prefix_score = model, spelling, prefix_score
        self.simple = np.array([text[:1] == " " and " " not in text[1:] for text in spelling.texts])

    def start(self, sentences: int) -> list[tuple[W, str]]:
        """Return empty hypotheses of new sentences."""
        return [(context, "") for context in self.model.start(sentences)]

    def scores(self, hypotheses: Sequence[tuple[W, str]], tokens: np.ndarray) -> np.ndarray:
        """Return the log-probability of the current word for tokens that complete it, 0 for others, (N, C) float64.

        With `prefix_score`, each token also has the change of this bound.
        """
        scores = np.zeros((len(hypotheses), len(tokens)))
        # Without `prefix_score` only tokens that complete a word have a score. Most of them only begin the next word,
        # so that they share the score of the current one.
        scored = np.ones(len(tokens), bool) if self.prefix_score is not None else self.spelling.ends_word[tokens]
        shared = scored & self.simple[tokens] & (self.prefix_score is None)
        if shared.any():
            scores[:, shared] = np.array([value for value, _ in self._completed(hypotheses)])[:, None]
        for column in np.flatnonzero(scored & ~shared):
            text = self.spelling.texts[tokens[column]]
            scores[:, column] = [self._append(hypothesis, text)[0] for hypothesis in hypotheses]
        return scores

    def ends(self, hypotheses: Sequence[tuple[W, str]]) -> np.ndarray:
        """Return the log-probability of the last word and of the end, (N,) float64."""
        last = self._completed(hypotheses)
        scores = np.array([value for value, _ in last]) + self.model.ends([context for _, context in last])
        return scores if self.prefix_score is None else scores - [self.prefix_score(word) for _, word in hypotheses]

    def follow(self, hypothesis: tuple[W, str], token: int) -> tuple[W, str]:
        """Return a hypothesis extended by one token."""
        return self._append(hypothesis, self.spelling.texts[token])[1]

    def _completed(self, hypotheses: Sequence[tuple[W, str]]) -> list[tuple[float, W]]:
        """Return the score of each hypothesis' incomplete word as a complete one, and the context after it."""
        completed = [(0.0, context) for context, _ in hypotheses]
        indices = [index for index, (_, word) in enumerate(hypotheses) if word]
        scored = self.model.words([hypotheses[i][0] for i in indices], [hypotheses[i][1] for i in indices])
        for index, score_and_context in zip(indices, scored, strict=True):
            completed[index] = score_and_context
        return completed

    def _append(self, hypothesis: tuple[W, str], text: str) -> tuple[float, tuple[W, str]]:
        score, (context, word) = 0.0, hypothesis
        before = word
        first, *next_words = text.split(" ")
        word += first
        for next_word in next_words:
            ((value, context),) = self._completed([(context, word)])
            score, word = score + value, next_word
        if self.prefix_score is not None:
            score += self.prefix_score(word) - self.prefix_score(before)
        return score, (context, word)


class WordCount:
    """A score of 1 for each word; its weight in a search is the word bonus."""

    highest = 1.0

    def __init__(self, spelling: Spelling) -> None:
        self._words = Words(_CountingModel(), spelling)
        self.highest = float(max((len(text.split(" ")) - 1 for text in spelling.texts), default=0))
        self.start, self.scores = self._words.start, self._words.scores
        self.ends, self.follow = self._words.ends, self._words.follow


class _CountingModel:
    """A word model that scores each word with 1."""

    def start(self, sentences: int) -> list[None]:
        return [None] * sentences

    def words(self, contexts: Sequence[None], words: Sequence[str]) -> list[tuple[float, None]]:
        return [(1.0, None)] * len(words)

    def ends(self, contexts: Sequence[None]) -> np.ndarray:
        return np.zeros(len(contexts))


# --- characters ------------------------------------------------------------------------------------------------------


class Characters:
    """An n-gram model of characters. A hypothesis is a context and whether the last character was a space.

    Spaces at the beginning and spaces after spaces are not scored. If the file has no symbol for a space, no space is.
    """

    highest = 0.0

    def __init__(self, ngrams: Ngrams, spelling: Spelling) -> None:
        self.ngrams, self.spelling = ngrams, spelling
        self._cache: dict[tuple[tuple[Context, bool], int], tuple[float, tuple[Context, bool]]] = {}

    def start(self, sentences: int) -> list[tuple[Context, bool]]:
        """Return empty hypotheses of new sentences."""
        self._cache = {}
        return [(self.ngrams.start(), True)] * sentences

    def scores(self, hypotheses: Sequence[tuple[Context, bool]], tokens: np.ndarray) -> np.ndarray:
        """Return the log-probability of the characters of each token, (N, C) float64."""
        ids = tokens.tolist()
        return np.array([[self._append(hypothesis, token)[0] for token in ids] for hypothesis in hypotheses])

    def ends(self, hypotheses: Sequence[tuple[Context, bool]]) -> np.ndarray:
        """Return the log-probability of </s> after each hypothesis, (N,) float64."""
        return np.array([self.ngrams.score(context, END)[0] for context, _ in hypotheses])

    def follow(self, hypothesis: tuple[Context, bool], token: int) -> tuple[Context, bool]:
        """Return a hypothesis extended by one token."""
        return self._append(hypothesis, token)[1]

    def _append(self, hypothesis: tuple[Context, bool], token: int) -> tuple[float, tuple[Context, bool]]:
        extended = self._cache.get((hypothesis, token))
        if extended is None:
            score, (context, after_space) = 0.0, hypothesis
            for character in self.spelling.texts[token]:
                if character != " ":
                    value, context = self.ngrams.score(context, character)
                elif self.ngrams.space is None or after_space:
                    continue
                else:
                    value, context = self.ngrams.score(context, self.ngrams.space)
                score, after_space = score + value, character == " "
            extended = self._cache[hypothesis, token] = score, (context, after_space)
        return extended


# --- in `decode.search` ----------------------------------------------------------------------------------------------


class Fusion(Generic[H]):
    """A language model as a scorer of `decode.search`.

    Args:
        model: the language model.
        sentences: number of sentences, B.
        vocab_size: size of the vocabulary, V.
        eos_id: id of </s>.
        device: device of the search.
    """

    def __init__(
        self, model: LanguageModel[H], sentences: int, vocab_size: int, eos_id: int, device: torch.device
    ) -> None:
        self.model, self.eos_id, self.device = model, eos_id, device
        self.tokens = np.arange(vocab_size)
        self.hypotheses = [[hypothesis] for hypothesis in model.start(sentences)]  # (B, R)

    def scores(self) -> Tensor:
        """Return the scores of all tokens after each hypothesis, (B, R, V)."""
        flat = [hypothesis for row in self.hypotheses for hypothesis in row]
        scores = self.model.scores(flat, self.tokens)
        scores[:, self.eos_id] = self.model.ends(flat)
        return torch.from_numpy(scores).view(len(self.hypotheses), -1, len(self.tokens)).to(self.device)

    def advance(self, parents: Tensor, tokens: Tensor) -> None:
        """Extend the hypotheses by one token; see `decode.search.Scorer`."""
        self.hypotheses = [
            [self.model.follow(row[parent], token) for parent, token in zip(parent_rows, next_tokens, strict=True)]
            for row, parent_rows, next_tokens in zip(self.hypotheses, parents.tolist(), tokens.tolist(), strict=True)
        ]

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64."""
        self.hypotheses = [self.hypotheses[row] for row in sentences.tolist()]
