"""The text that tokens add to a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tformer_cli.tokenizers.tokenizer import Vocabulary

REPLACEMENT = "\ufffd"
"""The character that decoding gives for bytes of an incomplete character."""


class Continuation:
    """The text that tokens add to a prompt, such that prompt and continuation are the text of all tokens.

    Both are decoded together. The length of the given prompt cannot be used, because a vocabulary may normalise its
    characters (by Unicode's NFKC, or lower case), and special tokens have no text. Spaces between prompt and
    continuation belong to the continuation.

    Args:
        tokenizer: tokenizer of both.
        prompt: tokens of the prompt.
    """

    def __init__(self, tokenizer: Vocabulary, prompt: Sequence[int]) -> None:
        self._tokenizer, self._prompt = tokenizer, list(prompt)
        self._before = tokenizer.decode(self._prompt)

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text that tokens add.

        If decoding both changes the end of the prompt (WordPiece removes spaces before punctuation), the result is the
        text of the tokens alone.
        """
        text = self._decoded(tokens)
        for cut in range(1, 4) if text.endswith(REPLACEMENT) else ():
            whole = self._decoded(tokens[:-cut])
            if not whole.endswith(REPLACEMENT):  # the last tokens are bytes of an incomplete character
                return whole + REPLACEMENT
        return text

    def _decoded(self, tokens: Sequence[int]) -> str:
        together = self._tokenizer.decode([*self._prompt, *tokens])
        if together.startswith(self._before):
            return together[len(self._before) :]
        return self._tokenizer.decode(tokens)

    def settled(self, tokens: Sequence[int]) -> str:
        """Return the part that further tokens do not change: complete characters, or complete words for WordPiece."""
        text = self._decoded(tokens).rstrip(REPLACEMENT)
        return text if self._tokenizer.decodes_in_steps else text[: max(text.rfind(" "), 0)]
