"""The choice of the tokens that a masked language model predicts.

It is a pure function of (seed, epoch, sample): new masks in each epoch (Liu et al. 2019, section 4.1), and the same
ones on every machine and after every interruption.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tformer_cli.config.schema import MaskingConfig


@dataclass(frozen=True)
class Masked:
    """A sequence with some masked tokens.

    Attributes:
        tokens: (T,), int64.
        indices: positions of the tokens to predict, ascending, (N,), int64.
        targets: the original tokens there, (N,), int64.
    """

    tokens: np.ndarray
    indices: np.ndarray
    targets: np.ndarray


class Masking:
    """Masking of a share of the tokens. Some become <mask>, some a random token, and the others stay.

    By default, 15 % of the tokens are predicted: 80 % of them become <mask>, 10 % a random token, and 10 % stay (Devlin
    et al. 2019, section 3.1).

    Args:
        config: the shares.
        mask_id: id of <mask>.
        special: ids that are never masked.
        word_starts: whether a piece begins a word, by id, (V,) bool; for whole words.
    """

    def __init__(self, config: MaskingConfig, mask_id: int, special: list[int], word_starts: np.ndarray) -> None:
        self.config, self.mask_id, self.word_starts = config, mask_id, word_starts
        self.special = np.zeros(len(word_starts), dtype=bool)
        self.special[special] = True
        self.ordinary = np.flatnonzero(~self.special)

    def __call__(self, tokens: np.ndarray, random: np.random.Generator) -> Masked:
        """Mask some of the tokens, (T,) int64; at least one, unless all are special."""
        free = np.flatnonzero(~self.special[tokens])
        if not len(free):
            return Masked(tokens, free, tokens[free])
        number = max(1, round(self.config.share * len(free)))
        if self.config.whole_words:
            word = np.cumsum(self.word_starts[tokens[free]] | (np.diff(free, prepend=free[0]) > 1))
            word -= word[0]
            turn = random.permutation(word[-1] + 1)  # words are drawn, not pieces, so that long words are not preferred
            order = np.lexsort((np.arange(len(free)), turn[word]))
            number = _whole_words(word[order], number, random)
        else:
            order = random.permutation(len(free))
        indices = np.sort(free[order[:number]])
        targets = tokens[indices]
        hidden = tokens.copy()
        choice = random.random(len(indices))
        masked = choice < self.config.mask
        other = ~masked & (choice < self.config.mask + self.config.random)
        hidden[indices[masked]] = self.mask_id
        hidden[indices[other]] = self.ordinary[random.integers(len(self.ordinary), size=int(other.sum()))]
        return Masked(hidden, indices, targets)


def _whole_words(words: np.ndarray, number: int, random: np.random.Generator) -> int:
    """Draw a count of tokens that consists of whole words and is `number` on average.

    The word of the `number`-th token is masked with a probability equal to the fraction of it up to that token.
    The first word is always masked.
    """
    last = np.flatnonzero(words == words[number - 1])
    begin, end = int(last[0]), int(last[-1]) + 1
    if begin == 0 or end == number:
        return end
    return end if random.random() < (number - begin) / (end - begin) else begin
