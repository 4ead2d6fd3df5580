"""Principal components and patch filters beside closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from tformer_cli.analysis.components import principal_components
from tformer_cli.analysis.filters import patch_filters


def same_up_to_sign(one: np.ndarray, other: np.ndarray) -> None:
    """Assert that rows are equal or opposite."""
    np.testing.assert_allclose(np.abs((one * other).sum(-1)), 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 6), (5, 9)])
def test_components_equal_those_of_scikit_learn(shape):
    rows = np.random.default_rng(0).normal(size=shape) @ np.diag(np.arange(1, shape[1] + 1)) + 3
    count = min(4, shape[0] - 1)
    result, reference = principal_components(rows, count), PCA(count).fit(rows)
    same_up_to_sign(result.directions, reference.components_)
    np.testing.assert_allclose(result.explained, reference.explained_variance_ratio_, atol=1e-6)
    np.testing.assert_allclose(result.mean, reference.mean_, atol=1e-12)
    assert np.all(np.take_along_axis(result.directions, np.abs(result.directions).argmax(1)[:, None], 1) > 0)


def test_components_of_a_line_and_of_equal_rows():
    line = np.outer([-1.0, 0.0, 4.0], [3.0, 4.0]) + [5.0, 7.0]
    result = principal_components(line, 2)
    np.testing.assert_allclose(result.directions[0], [0.6, 0.8])
    np.testing.assert_allclose(result.explained, [1, 0], atol=1e-12)
    assert principal_components(np.ones((3, 2)), 2).explained.tolist() == [0, 0]


def test_patch_filters_are_orthonormal_images():
    weights = np.random.default_rng(0).normal(size=(64, 3, 4, 4)).astype(np.float32)
    filters = patch_filters(weights, 28)
    assert filters.images.shape == (28, 4, 4, 3)
    flat = filters.images.reshape(28, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(28), atol=1e-6)
    reference = PCA(28).fit(weights.reshape(64, -1).astype(np.float64))
    same_up_to_sign(filters.images.transpose(0, 3, 1, 2).reshape(28, -1), reference.components_)
    np.testing.assert_allclose(filters.explained, reference.explained_variance_ratio_, atol=1e-6)
    assert patch_filters(weights[:5], 28).images.shape[0] == 5


def test_the_filters_of_an_embedding_of_one_pattern_show_it():
    pattern = np.zeros((3, 2, 2))
    pattern[1, 0, 1] = 1  # green, above on the right
    filters = patch_filters(np.arange(8.0)[:, None, None, None] * pattern, 1)
    np.testing.assert_allclose(filters.images[0], pattern.transpose(1, 2, 0), atol=1e-12)
    assert filters.explained[0] == pytest.approx(1)
