"""Measurements on vectors of tokens beside closed forms, plain loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise
from sklearn.neighbors import NearestNeighbors

from tformer_cli.analysis.vectors import (
    anisotropy,
    cosine_similarity,
    neighbours,
    principal_map,
    self_similarity,
    static_similarity,
)

RANDOM = np.random.default_rng(0)
VECTORS, OTHERS = RANDOM.normal(size=(9, 5)), RANDOM.normal(size=(12, 5))


def test_cosines_equal_those_of_scikit_learn():
    np.testing.assert_allclose(
        cosine_similarity(VECTORS, OTHERS), pairwise.cosine_similarity(VECTORS, OTHERS), atol=1e-12
    )
    assert cosine_similarity(np.zeros((1, 5)), OTHERS).tolist() == [[0] * 12]


def test_neighbours_equal_those_of_scikit_learn():
    reference = NearestNeighbors(n_neighbors=4, metric="cosine").fit(OTHERS)
    distances, indices = reference.kneighbors(VECTORS)
    for vector, expected, distance in zip(VECTORS, indices, distances, strict=True):
        result = neighbours(vector, OTHERS, 4)
        assert result.indices.tolist() == expected.tolist()
        np.testing.assert_allclose(result.similarities, 1 - distance, atol=1e-12)
    without = neighbours(VECTORS[0], OTHERS, 20, exclude=[int(indices[0, 0])])
    assert without.indices[0] == indices[0, 1] and len(without.indices) == 11
    assert neighbours(np.ones(2), np.ones((3, 2)), 2).indices.tolist() == [0, 1]


def test_static_similarity():
    static, contextual = VECTORS[:3], np.stack([VECTORS[:3] * 2, VECTORS[3:6]])
    similarities = static_similarity(static, contextual)
    np.testing.assert_allclose(similarities[0], 1)
    expected = np.diag(pairwise.cosine_similarity(VECTORS[3:6], VECTORS[:3]))
    np.testing.assert_allclose(similarities[1], expected, atol=1e-12)


def test_self_similarity_equals_a_plain_loop():
    cosines = pairwise.cosine_similarity(VECTORS)
    pairs = [cosines[j, k] for j in range(9) for k in range(9) if j != k]
    assert self_similarity(VECTORS) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert self_similarity(np.outer([1.0, 2.0, 5.0], [3.0, 4.0])) == pytest.approx(1)
    assert self_similarity(np.eye(4)) == pytest.approx(0)
    assert np.isnan(self_similarity(VECTORS[:1]))


def test_anisotropy_equals_a_plain_loop():
    words = np.array([7, 3, 7, 3, 1, 3, 8, 8, 8])
    cosines = pairwise.cosine_similarity(VECTORS)
    pairs = [cosines[j, k] for j in range(9) for k in range(9) if words[j] != words[k]]
    assert anisotropy(VECTORS, words) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert np.isnan(anisotropy(VECTORS, np.ones(9)))


def test_map_equals_that_of_scikit_learn_up_to_signs():
    reference = PCA(2).fit(VECTORS)
    result, expected = principal_map(VECTORS), reference.transform(VECTORS)
    for axis in range(2):
        sign = np.sign(result.points[0, axis] * expected[0, axis])
        np.testing.assert_allclose(result.points[:, axis], sign * expected[:, axis], atol=1e-6)
    np.testing.assert_allclose(result.explained, reference.explained_variance_ratio_, atol=1e-6)
    distances, shown = pairwise.euclidean_distances(VECTORS), pairwise.euclidean_distances(result.points)
    assert (shown <= distances + 1e-9).all()
