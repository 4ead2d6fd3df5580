"""The text that tokens add to a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tformer_cli.tokenizers.tokenizer import Vocabulary

REPLACEMENT = "\ufffd"
"""The character to which the bytes of an incomplete character are decoded."""


class Continuation:
    """The text that tokens add to a prompt, such that prompt and continuation are the text of all tokens.

    Both are decoded together. The length of the user's prompt cannot be used, because a vocabulary may normalise
    characters (by NFKC, or to lower case), and special tokens have no text. Spaces between prompt and continuation
    belong to the continuation.

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
            complete = self._decoded(tokens[:-cut])
            if not complete.endswith(REPLACEMENT):  # the last tokens are bytes of an incomplete character
                return complete + REPLACEMENT
        return text

    def _decoded(self, tokens: Sequence[int]) -> str:
        decoded = self._tokenizer.decode([*self._prompt, *tokens])
        if decoded.startswith(self._before):
            return decoded[len(self._before) :]
        return self._tokenizer.decode(tokens)

    def settled(self, tokens: Sequence[int]) -> str:
        """Return the part that further tokens do not change: complete characters, or complete words for WordPiece."""
        text = self._decoded(tokens).rstrip(REPLACEMENT)
        return text if self._tokenizer.decodes_in_steps else text[: max(text.rfind(" "), 0)]
