"""Measurements on vectors of tokens: similarity, neighbours, a map, and how contextual they are.

A contextual vector is a hidden state of one occurrence of a token; a static vector is its row of the embedding.

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
        indices: of the candidates, nearest first, (k,), int64.
        similarities: their cosines, (k,), -1 to 1.
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

    A model that adds positions to its embeddings is below 1 before its first layer, too.

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

    It is 0 if vectors point in all directions alike. The paper estimates it from a sample of occurrences; here it is
    the mean over all pairs of the vectors that are passed.

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


def adjusted_self_similarity(occurrences: np.ndarray, baseline: float) -> float:
    """Return the self-similarity of a word minus the anisotropy of its layer (Ethayarajh 2019, section 3.4).

    Vectors of a layer that all lie in a narrow cone are similar to each other whatever the word. The difference shows
    how much more similar the occurrences of one word are.

    Args:
        occurrences: vectors of one word in one layer, (n, D).
        baseline: `anisotropy` of the same layer.
    """
    return self_similarity(occurrences) - baseline


class Map(NamedTuple):
    """Vectors as points.

    Attributes:
        points: (N, k).
        explained: share of the variance along each axis, (k,), 0 to 1. The rest is not to be seen on the map.
    """

    points: np.ndarray
    explained: np.ndarray


def principal_map(vectors: np.ndarray, count: int = 2) -> Map:
    """Return the coordinates of vectors along their first principal components, for a map.

    The map is a linear projection: it has no random start and no setting, so that the same vectors have the same map,
    distances on it are never larger than those of the vectors, and `explained` states what it leaves out. t-SNE and
    UMAP have none of these properties: they arrange points by random initial values and by a chosen number of
    neighbours, show clusters in noise, and the distances between clusters and their sizes have no meaning.

    Args:
        vectors: (N, D).
        count: number of axes; at most min(N, D) are returned.
    """
    components = principal_components(vectors, count)
    return Map((np.asarray(vectors, np.float64) - components.mean) @ components.directions.T, components.explained)
