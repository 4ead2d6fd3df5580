"""Measurements on vectors of tokens: similarity, neighbours, a map, and how contextual they are.

A contextual vector is the hidden state of one occurrence of a token; a static vector is the token's embedding.

Shapes: N vectors, M candidates, D width, L layers, n occurrences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tformer_cli.analysis.components import principal_components


def directions(vectors: np.ndarray) -> np.ndarray:
    """Return vectors, (..., D), divided by their norms, in float64; zero vectors remain zero."""
    vectors = np.asarray(vectors, np.float64)
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def cosine_similarity(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of vectors, <x, y> / (|x| |y|); 0 with a zero vector.

    Args:
        vectors: (N, D).
        others: (M, D).

    Returns:
        (N, M), -1 to 1.
    """
    return directions(vectors) @ directions(others).T


class Neighbours(NamedTuple):
    """The candidates nearest to a vector.

    Attributes:
        indices: indices of the candidates, nearest first, (k,), int64.
        similarities: cosines of the candidates, (k,), -1 to 1.
    """

    indices: np.ndarray
    similarities: np.ndarray


def neighbours(vector: np.ndarray, candidates: np.ndarray, count: int, *, exclude: Sequence[int] = ()) -> Neighbours:
    """Return the candidates with the largest cosine with a vector; among equal ones, the first.

    Candidates are the other occurrences of a word, or the rows of an embedding (the vocabulary).

    Args:
        vector: (D,).
        candidates: (M, D).
        count: k; fewer are returned if there are fewer candidates.
        exclude: indices of candidates to leave out, such as the vector itself.
    """
    similarities = cosine_similarity(vector[None], candidates)[0]
    order = np.argsort(-similarities, kind="stable")
    indices = order[~np.isin(order, np.asarray(exclude, np.int64))][:count]
    return Neighbours(indices, similarities[indices])


def static_similarity(static: np.ndarray, contextual: np.ndarray) -> np.ndarray:
    """Return the cosine of each occurrence with the static vector of its token, after each layer.

    If a model adds positions to its embeddings, the cosine is below 1 even before the first layer.

    Args:
        static: rows of the embedding, (N, D).
        contextual: hidden states of the same tokens, (L, N, D).

    Returns:
        (L, N), -1 to 1.
    """
    return (directions(contextual) * directions(static)).sum(-1)


def self_similarity(occurrences: np.ndarray) -> float:
    """Return the mean cosine of two different occurrences of a word (Ethayarajh 2019, definition 1).

        SelfSim = 1 / (n^2 - n) sum_{j != k} cos(x_j, x_k)

    It is 1 if the vectors do not depend on context. The sum over pairs is |sum_j u_j|^2 - sum_j |u_j|^2, with u_j =
    x_j / |x_j|.

    Args:
        occurrences: vectors of one word in one layer, (n, D), n at least 2.

    Returns:
        -1 to 1; nan with fewer than two occurrences.
    """
    units = directions(occurrences)
    count = len(units)
    if count < 2:
        return float("nan")
    return float((np.square(units.sum(0)).sum() - np.square(units).sum()) / (count * (count - 1)))


def anisotropy(vectors: np.ndarray, words: np.ndarray) -> float:
    """Return the mean cosine of occurrences of different words, the baseline of Ethayarajh (2019, section 3.4).

    It is 0 if the directions of vectors are uniformly distributed. The paper estimates it from a sample of occurrences;
    here it is the mean over all pairs of the given vectors.

    Args:
        vectors: occurrences of many words in one layer, (N, D).
        words: the word of each, such as its id, (N,).

    Returns:
        -1 to 1; nan if all are occurrences of one word.
    """
    units = directions(vectors)
    _, group, counts = np.unique(words, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), units.shape[1]))
    np.add.at(sums, group.ravel(), units)
    pairs = len(units) ** 2 - np.square(counts).sum()
    if not pairs:
        return float("nan")
    return float((np.square(sums.sum(0)).sum() - np.square(sums).sum()) / pairs)


class Map(NamedTuple):
    """Vectors as points.

    Attributes:
        points: (N, k).
        explained: share of the variance along each axis, (k,), 0 to 1; the map does not show the rest.
    """

    points: np.ndarray
    explained: np.ndarray


def principal_map(vectors: np.ndarray, count: int = 2) -> Map:
    """Return the coordinates of vectors along their first principal components, for a map.

    The map is a linear projection without random initial values or settings, so that the same vectors give the same
    map. Distances on it are never larger than between the vectors, and `explained` states what it leaves out. t-SNE and
    UMAP have none of these properties: their maps depend on random initial values and a chosen number of neighbours,
    can show clusters in noise, and have distances and sizes of clusters without a meaning.

    Args:
        vectors: (N, D).
        count: number of axes; at most min(N, D) are returned.
    """
    components = principal_components(vectors, count)
    return Map((np.asarray(vectors, np.float64) - components.mean) @ components.directions.T, components.explained)
