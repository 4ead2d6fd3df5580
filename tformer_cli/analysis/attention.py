"""Measurements on attention weights: rollout, distance, entropy, and the pattern that each head follows.

All functions take the weights A = softmax(scores), with queries as rows and keys as columns. A row sums to 1, or to 0
if its query may attend to no key. Remove padding first. All functions compute in float64.

Shapes: L layers, H heads, Q queries, K keys, N tokens (Q = K = N in self-attention), D coordinates of a position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


def rollout(weights: Sequence[np.ndarray]) -> np.ndarray:
    """Return the share of each input token in each token after each layer (Abnar and Zuidema 2020, section 3).

    A_l is the mean over heads of the weights of layer l, and the residual connection counts as half of each layer:

        R_l = normalise((A_l + I) / 2) R_{l-1},  R_0 = I,

    where `normalise` divides each row by its sum. Uniform attention over n tokens gives 2^-l I + (1 - 2^-l) / n. The
    estimate ignores values, feed-forward layers and the norms of the residual connection's vectors.

    Args:
        weights: self-attention of each layer from the input on, (H, N, N); layers may differ in H.

    Returns:
        R of each layer, (L, N, N); rows are tokens after the layer, columns are tokens of the input. Rows sum to 1.

    Raises:
        ValueError: if the weights of a layer are not square or layers differ in their number of tokens.
    """
    size = weights[0].shape[-1]
    total, layers = np.eye(size), []
    for layer in weights:
        if layer.shape[1:] != (size, size):
            raise ValueError(f"rollout needs self-attention over {size} tokens, not weights {layer.shape}")
        mixed = (np.asarray(layer, np.float64).mean(0) + np.eye(size)) / 2
        total = mixed / mixed.sum(-1, keepdims=True) @ total
        layers.append(total)
    return np.stack(layers)


def mean_distance(
    weights: np.ndarray, positions: np.ndarray, keys: np.ndarray | None = None, *, skip: int = 0
) -> np.ndarray:
    """Return the mean attention distance of each head (Dosovitskiy et al. 2021, figure 7).

        d = mean over i of sum_j A_ij |p_i - p_j|,

    with the Euclidean distance. The first `skip` tokens, such as [class], have no position: their rows and columns are
    dropped, and the other rows are divided by their sums. The token itself, at distance 0, is included. Uniform
    attention over n tokens in a row gives (n^2 - 1) / (3n). Queries that attend to dropped tokens alone are left out;
    if all do, the distance is nan.

    Args:
        weights: self-attention, (H, N, N), or (H, Q, K) if keys have other positions, as those of a pooled map.
        positions: positions of the tokens after the first `skip`, (N - skip, D), or (N - skip,) for one coordinate. The
            result has the same unit, such as pixels, frames or tokens.
        keys: positions of the keys after the first `skip`, (K - skip, D) or (K - skip,); None: those of the tokens.
        skip: number of leading tokens without a position.

    Returns:
        Mean distance of each head, (H,).

    Raises:
        ValueError: if the number of positions does not fit the weights.
    """
    weights = np.asarray(weights, np.float64)[:, skip:, skip:]
    coordinates = [
        np.asarray(given, np.float64).reshape(len(given), -1)
        for given in (positions, positions if keys is None else keys)
    ]
    if weights.shape[1:] != tuple(map(len, coordinates)):
        raise ValueError(f"{len(positions)} positions for weights {weights.shape} of tokens with a position")
    distances = np.linalg.norm(coordinates[0][:, None] - coordinates[1][None], axis=-1)  # (Q, K)
    return _mean_where((weights * distances).sum(-1), weights.sum(-1))


def _mean_where(sums: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return the mean of sums / totals over queries with a total above 0, (H, Q) to (H,); nan if there is none."""
    ratios = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0)
    counts = (totals > 0).sum(-1)
    return np.divide(ratios.sum(-1), counts, out=np.full(len(sums), np.nan), where=counts > 0)


def entropy(weights: np.ndarray) -> np.ndarray:
    """Return the mean entropy of the rows of each head, - mean over i of sum_j A_ij ln A_ij, in nats.

    It is 0 if each query attends to one key, and ln K if all attend to K keys equally (Clark et al. 2019, section 3).

    Args:
        weights: (H, Q, K).

    Returns:
        (H,).
    """
    weights = np.asarray(weights, np.float64)
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    return -(weights * logs).sum(-1).mean(-1) + 0.0  # + 0.0: no negative zero


def evenness(weights: np.ndarray) -> np.ndarray:
    """Return how even the weights of the queries of each matrix are, from 0 to 1.

    It is the mean over queries of the entropy of a row divided by its maximum, ln n for the n keys with a weight above
    0. It is 1 if all of these have equal weights, whatever the mask. Rows with a single such key are left out; if there
    are no others, it is 0.

    Args:
        weights: (..., Q, K).

    Returns:
        (...).
    """
    weights = np.asarray(weights, np.float64)
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    largest = np.log(np.maximum((weights > 0).sum(-1), 1))  # (..., Q)
    several = largest > 0
    shares = np.divide(-(weights * logs).sum(-1), largest, out=np.zeros_like(largest), where=several)
    return shares.sum(-1) / np.maximum(several.sum(-1), 1)


class Pattern(NamedTuple):
    """The pattern that receives most of the attention of a head.

    Attributes:
        name: a name of `pattern_shares`; `spread` if no pattern reaches the required share.
        share: the weight of the strongest pattern, 0 to 1.
    """

    name: str
    share: float

    def __str__(self) -> str:
        return f"{self.name} {self.share:.2f}"


OFFSETS = {"previous position": -1, "same position": 0, "next position": 1}
"""Position of the key minus position of the query, by the name of the pattern."""


def offset_share(weights: np.ndarray, offset: int) -> np.ndarray:
    """Return the mean weight of the key at a given offset from each query, mean over i of A_{i, i + offset}.

    Queries without a key at this offset are left out; if no query has one, the share is 0.

    Args:
        weights: (H, Q, K).
        offset: position of the key minus position of the query.

    Returns:
        (H,), from 0 to 1.
    """
    diagonal = np.asarray(weights, np.float64).diagonal(offset, axis1=1, axis2=2)
    return diagonal.mean(-1) if diagonal.shape[-1] else np.zeros(len(weights))


def pattern_shares(weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the share of attention that each simple pattern receives (Clark et al. 2019, section 3).

    `previous position`, `same position`, `next position`: see `offset_share`. `first position` and `last position`: the
    mean weight of the first (last) key over all other queries; these keys are often markers such as [CLS], <s>, [SEP]
    or </s>. In a causal model the first queries have few keys, so that short sequences raise all shares: uniform causal
    attention over n tokens gives `same position` a share of (1 + 1/2 + ... + 1/n) / n.

    Args:
        weights: (H, Q, K).

    Returns:
        (H,) by the name of the pattern, from 0 to 1.
    """
    weights = np.asarray(weights, np.float64)
    shares = {name: offset_share(weights, offset) for name, offset in OFFSETS.items()}
    others = weights.shape[1] > 1
    shares["first position"] = weights[:, 1:, 0].mean(-1) if others else np.zeros(len(weights))
    shares["last position"] = weights[:, :-1, -1].mean(-1) if others else np.zeros(len(weights))
    return shares


def strongest_of(shares: Mapping[str, np.ndarray], *, least: float = 0.5) -> list[Pattern]:
    """Return the strongest pattern of each head, given the shares of all patterns, (H,) each.

    Args:
        shares: result of `pattern_shares`, possibly averaged over inputs.
        least: minimum share for a head to follow a pattern; below it the name is `spread`.
    """
    names, values = list(shares), np.stack(list(shares.values()))  # (patterns, H)
    strongest = values.argmax(0)
    return [
        Pattern(names[number] if values[number, head] >= least else "spread", float(values[number, head]))
        for head, number in enumerate(strongest)
    ]
