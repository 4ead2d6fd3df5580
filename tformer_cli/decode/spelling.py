"""What the pieces of a vocabulary write, for those who think in words or characters."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

WORD_MARKS = ("\u2581", "\u0120")
"""What a space is in pieces: SentencePiece's and byte-level BPE's."""
CONTINUES = "##"
"""What begins a piece of WordPiece that does not begin a word."""


class Spelling:
    """Pieces as text.

    Args:
        pieces: of a vocabulary, by id.
        special: ids that write nothing: padding, <s>, </s>, unknown.

    Attributes:
        texts: what each piece writes, spaces as spaces.
        ends_word: whether a piece ends the word before it, (V,) bool: it holds a space.
    """

    def __init__(self, pieces: Sequence[str], special: Collection[int]) -> None:
        texts = list(pieces)
        if any(text.startswith(CONTINUES) for text in texts) and not any(text.startswith(WORD_MARKS) for text in texts):
            texts = [text[2:] if text.startswith(CONTINUES) else f" {text}" for text in texts]
        for mark in WORD_MARKS:
            texts = [text.replace(mark, " ") for text in texts]
        self.texts = ["" if number in special else text for number, text in enumerate(texts)]
        self.ends_word = np.array([" " in text for text in self.texts])
