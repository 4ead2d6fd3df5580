"""The text that tokens add to a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tformer_cli.tokenizers.tokenizer import Vocabulary

REPLACEMENT = "\ufffd"
"""The character that stands for the bytes of an incomplete character in decoded text."""


class Continuation:
    """The text that tokens add to a prompt; prompt and continuation together are the text of all tokens.

    Both are decoded together, and the decoded prompt is removed. Its length can differ from that of the user's text,
    because a vocabulary may normalise characters (by NFKC, or to lower case), and special tokens have no text. Spaces
    between prompt and continuation belong to the continuation.

    Args:
        tokenizer: tokenizer of both.
        prompt: tokens of the prompt.
    """

    def __init__(self, tokenizer: Vocabulary, prompt: Sequence[int]) -> None:
        self._tokenizer, self._prompt = tokenizer, list(prompt)
        self._before = tokenizer.decode(self._prompt)

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text that tokens add.

        If decoding both together changes the end of the prompt, as when WordPiece removes a space before punctuation,
        the result is the text of the tokens alone.
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
        """Return the part that later tokens do not change: complete characters, or complete words for WordPiece."""
        text = self._decoded(tokens).rstrip(REPLACEMENT)
        return text if self._tokenizer.decodes_in_steps else text[: max(text.rfind(" "), 0)]
