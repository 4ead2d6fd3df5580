"""Measurements on position vectors beside closed forms, plain loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from tformer_cli.analysis.positions import (
    clocks,
    monotonicity,
    similarities,
    symmetry,
    translation_invariance,
)
from tformer_cli.nn.grid import cells
from tformer_cli.nn.positions import frequencies, sinusoidal_table, sinusoids

OMEGA = frequencies(16, dtype=torch.float64)
VECTORS = sinusoids(torch.arange(40), OMEGA).numpy()
DISTANCES = np.abs(np.subtract.outer(np.arange(40), np.arange(40)))


def test_similarities():
    vectors = np.random.default_rng(0).normal(size=(7, 5))
    np.testing.assert_allclose(similarities(vectors), cosine_similarity(vectors), atol=1e-12)
    np.testing.assert_allclose(similarities(vectors, cosine=False), vectors @ vectors.T, atol=1e-12)
    assert similarities(np.zeros((2, 3))).tolist() == [[0, 0], [0, 0]]


def test_similarity_of_sinusoids_in_closed_form():
    expected = np.cos(DISTANCES[..., None] * OMEGA.numpy()).sum(-1)  # p1 . p2 = sum_i cos(w_i (p1 - p2))
    np.testing.assert_allclose(similarities(VECTORS, cosine=False), expected, atol=1e-12)
    np.testing.assert_allclose(similarities(VECTORS), expected / 8, atol=1e-12)


def test_sinusoids_are_translation_invariant_and_symmetric_but_monotonous_only_nearby():
    cosines = similarities(VECTORS)
    assert translation_invariance(cosines) == pytest.approx(1, abs=1e-12)
    assert symmetry(cosines) == 1
    assert monotonicity(cosines, reach=3) == 1
    assert monotonicity(cosines) < 1
    assert monotonicity(-DISTANCES) == 1 and monotonicity(DISTANCES) == 0


def test_random_vectors_have_none_of_the_properties():
    random = np.random.default_rng(0).normal(size=(40, 40))
    assert translation_invariance(random) == pytest.approx(
        77 / 1559, abs=0.03
    )  # 78 displacements explain that by chance
    assert symmetry(random) == pytest.approx(0.5, abs=0.05)
    assert monotonicity(random) == pytest.approx(0.5, abs=0.05)


def test_scores_of_one_direction():
    below = np.tril(np.ones((6, 6)), -1) - np.triu(np.ones((6, 6)), 1)
    assert symmetry(below) == 0 and translation_invariance(below) == 1
    assert symmetry(np.ones((4, 4))) == translation_invariance(np.full((4, 4), 0.1)) == 1
    by_row = np.arange(5.0)[:, None].repeat(5, 1)  # depends on x alone
    assert translation_invariance(by_row) == pytest.approx(
        1 - 15 / 40
    )  # sum of k (k^2 - 1) / 6, k to 4; 4 sum (x - 2)^2


@pytest.mark.parametrize("reach", [None, 2])
def test_monotonicity_equals_a_plain_loop(reach):
    proximity, far = np.random.default_rng(1).normal(size=(7, 7)), reach or 7
    triples = []
    for x in range(7):
        for sign in (-1, 1):
            for m in range(1, far + 1):
                for n in range(1, m):
                    if 0 <= x + sign * m < 7:
                        triples.append(proximity[x, x + sign * m] < proximity[x, x + sign * n])
    assert monotonicity(proximity, reach=reach) == pytest.approx(sum(triples) / len(triples))
    assert np.isnan(monotonicity(np.ones((2, 2))))
    assert monotonicity(np.ones((5, 5))) == 0  # the definition is strict


def test_scores_on_a_grid():
    positions = cells((4, 5), class_token=False).numpy()
    euclidean = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    assert monotonicity(-euclidean, positions) == translation_invariance(euclidean, positions) == 1
    assert translation_invariance(euclidean) < 0.9  # in raster order, the same offset may begin a new row
    in_raster_order = -np.abs(np.subtract.outer(np.arange(20), np.arange(20)))
    assert monotonicity(in_raster_order, positions) < 1


def test_monotonicity_on_a_grid_equals_a_plain_loop():
    positions, proximity = cells((3, 3), class_token=False).tolist(), np.random.default_rng(2).normal(size=(9, 9))
    triples = []
    for x, (row, column) in enumerate(positions):
        for y, near in enumerate(positions):
            for z, far in enumerate(positions):
                between_rows = min(row, far[0]) <= near[0] <= max(row, far[0])
                between_columns = min(column, far[1]) <= near[1] <= max(column, far[1])
                if between_rows and between_columns and y not in (x, z):
                    triples.append(proximity[x, z] < proximity[x, y])
    assert monotonicity(proximity, np.array(positions)) == pytest.approx(sum(triples) / len(triples))


def test_clocks_of_sinusoids():
    result = clocks(VECTORS)
    np.testing.assert_allclose(result.frequencies, OMEGA, atol=1e-12)
    angles = np.arange(40)[:, None] * OMEGA.numpy()
    np.testing.assert_allclose(result.angles, (angles + np.pi) % (2 * np.pi) - np.pi, atol=1e-9)
    np.testing.assert_allclose(result.lengths, 1, atol=1e-12)
    np.testing.assert_allclose(result.steadiness, 1, atol=1e-12)
    assert result.periods[0] == pytest.approx(2 * np.pi)
    np.testing.assert_allclose(clocks(sinusoidal_table(40, 16).numpy()).frequencies, OMEGA, atol=1e-6)


def test_clocks_of_other_vectors():
    random = clocks(np.random.default_rng(0).normal(size=(400, 2)))
    assert random.steadiness[0] < 0.2
    still = clocks(np.tile([0.0, 2.0], (5, 1)))
    assert still.frequencies[0] == 0 and np.isinf(still.periods[0]) and still.lengths[0, 0] == 2
    assert clocks(np.zeros((3, 2))).steadiness[0] == 0
    with pytest.raises(ValueError, match="even width"):
        clocks(np.zeros((3, 3)))
