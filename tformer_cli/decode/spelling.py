"""The texts of the pieces of a vocabulary, for language models of words and characters."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

WORD_MARKS = ("\u2581", "\u0120")
"""Symbols of a space in the pieces of SentencePiece and of byte-level BPE."""
CONTINUES = "##"
"""Prefix of WordPiece's pieces that continue a word."""


class Spelling:
    """The text of each piece of a vocabulary.

    Args:
        pieces: pieces by id.
        special: ids of tokens without text: padding, <s>, </s>, unknown.

    Attributes:
        texts: text of each piece, with spaces.
        ends_word: whether a piece completes the word before it, since it contains a space, (V,) bool.
    """

    def __init__(self, pieces: Sequence[str], special: Collection[int]) -> None:
        texts = list(pieces)
        if any(text.startswith(CONTINUES) for text in texts) and not any(text.startswith(WORD_MARKS) for text in texts):
            texts = [text[2:] if text.startswith(CONTINUES) else f" {text}" for text in texts]
        for mark in WORD_MARKS:
            texts = [text.replace(mark, " ") for text in texts]
        self.texts = ["" if number in special else text for number, text in enumerate(texts)]
        self.ends_word = np.array([" " in text for text in self.texts])
