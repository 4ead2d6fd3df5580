"""Scores of answers to questions, as SQuAD computes them."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from tformer_cli.languages import segments

JOINERS = "\u200c\u200d"
"""The zero-width joiner and non-joiner, which are parts of words."""


def normal_answer(text: str) -> list[str]:
    """Return the words of an answer as SQuAD compares them: lower case, no punctuation, no English articles.

    In scripts without spaces each character with its combining marks is a word. Composed and decomposed characters
    (NFC and NFD) are equal, and invisible marks of direction or hyphenation are ignored. An answer of punctuation and
    articles alone keeps them.
    """
    text = unicodedata.normalize("NFC", text).lower()
    plain = "".join(c for c in text if c not in string.punctuation and not _is_ignored(c))
    return [word for word in segments(plain) if word not in ("a", "an", "the")] or segments(text)


def _is_ignored(character: str) -> bool:
    """Return whether a character is punctuation or an invisible mark."""
    category = unicodedata.category(character)
    return category[0] == "P" or (category == "Cf" and character not in JOINERS)


def answer_scores(answers: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Compute exact match and F1 of the words, the best over a question's answers (Rajpurkar et al. 2016, section 6.1).

    Args:
        answers: correct answers of each question; empty: the question has no answer, and "" is correct.
        predictions: one answer for each question.

    Returns:
        Scores from 0 to 100.
    """
    exact = f1 = 0.0
    for accepted, prediction in zip(answers, predictions, strict=True):
        predicted_words = normal_answer(prediction)
        references = [normal_answer(answer) for answer in accepted] or [[]]
        exact += max(float(predicted_words == words) for words in references)
        f1 += max(_overlap(words, predicted_words) for words in references)
    number = max(1, len(predictions))
    return {"exact_match": 100 * exact / number, "f1": 100 * f1 / number}


def _overlap(reference: list[str], prediction: list[str]) -> float:
    """Return F1 of the words of two texts, from 0 to 1."""
    if not reference or not prediction:
        return float(reference == prediction)
    common = sum((Counter(reference) & Counter(prediction)).values())
    return 2 * common / (len(reference) + len(prediction))
