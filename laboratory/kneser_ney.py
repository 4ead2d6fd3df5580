"""Estimation of n-gram language models from token ids, with interpolated Kneser-Ney smoothing.

    p_k(w | h) = max(c_k(h w) - D_k, 0) / c_k(h) + D_k t_k(h) / c_k(h) p_{k-1}(w | h without its first token)

c_k are counts in the highest order, and numbers of different tokens to the left in the others. t_k(h) is the number of
different tokens after h, D_k = n_1 / (n_1 + 2 n_2) with the numbers n_1 and n_2 of n-grams that are counted once and
twice (Kneser and Ney 1995; Chen and Goodman 1999, section 4.1.6). p_0 is uniform.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from tformer_cli.decode.ngram import Context, Ngrams

USUAL_DISCOUNT = 0.5
"""Discount where no n-gram is counted once, or none twice."""


def kneser_ney(tokens: Sequence[int], order: int, vocabulary: int) -> Ngrams:
    """Return the n-gram model of a text; its words are the ids as decimal numbers.

    The text is a circle: its beginning follows its end, so that every context has a token to its left.

    Args:
        tokens: the ids.
        order: length of the longest n-grams.
        vocabulary: number of ids.
    """
    circle = [*tokens, *tokens[: order - 1]]
    counts = [Counter(zip(*(circle[start:] for start in range(order)), strict=False))]
    for _ in range(1, order):
        counts.insert(0, Counter(ngram[1:] for ngram in counts[0]))
    probabilities: dict[Context, float] = {(): 1 / vocabulary}
    weights: dict[Context, float] = {}
    for level in counts:
        probabilities |= _interpolated(level, probabilities, weights)
    unseen = weights[()] / vocabulary
    probabilities = {(number,): unseen for number in range(vocabulary)} | probabilities
    entries = {
        ngram: (math.log10(probability), math.log10(weights.get(ngram, 1.0)))
        for ngram, probability in probabilities.items()
        if ngram
    }
    return Ngrams({str(number): number for number in range(vocabulary)}, entries, order)


def _interpolated(
    counts: Mapping[Context, int], shorter: Mapping[Context, float], weights: dict[Context, float]
) -> dict[Context, float]:
    """Return the probabilities of the n-grams of an order, and add the back-off weights of their contexts."""
    once, twice = (sum(count == number for count in counts.values()) for number in (1, 2))
    discount = once / (once + 2 * twice) if once and twice else USUAL_DISCOUNT
    totals, followers = Counter(), Counter()
    for ngram, count in counts.items():
        totals[ngram[:-1]] += count
        followers[ngram[:-1]] += 1
    weights |= {context: discount * followers[context] / total for context, total in totals.items()}
    return {
        ngram: (count - discount) / totals[ngram[:-1]] + weights[ngram[:-1]] * shorter[ngram[1:]]
        for ngram, count in counts.items()
    }
