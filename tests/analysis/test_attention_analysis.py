"""Measurements on attention weights beside closed forms and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tformer_cli.analysis.attention import (
    entropy,
    evenness,
    mean_distance,
    offset_share,
    pattern_shares,
    rollout,
    strongest_of,
)


def random_weights(heads: int, queries: int, keys: int, seed: int = 0) -> np.ndarray:
    """Random distributions over keys, (H, Q, K)."""
    return np.random.default_rng(seed).dirichlet(np.ones(keys), (heads, queries))


def uniform(heads: int, size: int, *, causal: bool = False) -> np.ndarray:
    """Equal weights of all keys, or of all keys that are not later, (H, N, N)."""
    weights = np.tril(np.ones((size, size))) if causal else np.ones((size, size))
    return np.broadcast_to(weights / weights.sum(-1, keepdims=True), (heads, size, size))


def grid_positions(side: int, patch: int) -> np.ndarray:
    """Row and column of each patch in pixels, (side^2, 2)."""
    return np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2) * patch


@pytest.mark.parametrize("size", [1, 5])
def test_rollout_of_uniform_attention(size):
    layers = rollout([uniform(heads, size) for heads in (1, 2, 4, 3)])
    for number, layer in enumerate(layers, 1):
        expected = 2.0**-number * np.eye(size) + (1 - 2.0**-number) / size
        np.testing.assert_allclose(layer, expected, atol=1e-12)


def test_rollout_multiplies_later_layers_on_the_left():
    first, second = random_weights(2, 4, 4), random_weights(3, 4, 4, seed=1)
    layers = rollout([first.astype(np.float32), second.astype(np.float32)])
    mixed = [(weights.mean(0) + np.eye(4)) / 2 for weights in (first, second)]
    np.testing.assert_allclose(layers[0], mixed[0], atol=1e-6)
    expected = np.zeros((4, 4))
    for out in range(4):
        for middle in range(4):
            for token in range(4):
                expected[out, token] += mixed[1][out, middle] * mixed[0][middle, token]
    np.testing.assert_allclose(layers[1], expected, atol=1e-6)
    assert not np.allclose(layers[1], mixed[0] @ mixed[1], atol=1e-3)
    np.testing.assert_allclose(layers.sum(-1), 1, atol=1e-6)


def test_rollout_of_a_token_that_attends_to_none_is_the_token():
    weights = random_weights(1, 3, 3)
    weights[0, 1] = 0
    np.testing.assert_allclose(rollout([weights])[0, 1], [0, 1, 0])


def test_rollout_refuses_what_is_not_self_attention_over_the_same_tokens():
    with pytest.raises(ValueError, match="self-attention over 5 tokens"):
        rollout([random_weights(2, 1, 5)])
    with pytest.raises(ValueError, match="self-attention over 5 tokens"):
        rollout([random_weights(2, 5, 5), random_weights(2, 4, 4)])


@pytest.mark.parametrize("size", [1, 2, 9])
def test_mean_distance_of_uniform_attention_in_one_dimension(size):
    expected = (size**2 - 1) / (3 * size)
    np.testing.assert_allclose(mean_distance(uniform(2, size), np.arange(size)), [expected, expected])


def test_mean_distance_of_uniform_attention_on_patches():
    positions = grid_positions(14, 16)
    assert mean_distance(uniform(1, 196), positions)[0] == pytest.approx(116.49, abs=0.005)
    # With [class], whose row and column are dropped, the rows are normalised again.
    assert mean_distance(uniform(1, 197), positions, skip=1)[0] == pytest.approx(116.49, abs=0.005)


def test_mean_distance_equals_a_plain_loop():
    weights, positions = random_weights(3, 7, 7), np.random.default_rng(1).normal(size=(6, 2))
    for head, distance in enumerate(mean_distance(weights, positions, skip=1)):
        queries = []
        for i in range(6):
            row = [weights[head, i + 1, j + 1] for j in range(6)]
            queries.append(sum(w * math.dist(positions[i], positions[j]) for j, w in enumerate(row)) / sum(row))
        assert distance == pytest.approx(sum(queries) / 6, abs=1e-12)


def test_mean_distance_leaves_out_queries_that_attend_to_dropped_tokens_alone():
    weights = np.zeros((2, 3, 3))
    weights[:, :, 0] = 1
    weights[0, 2] = [0.5, 0.5, 0]  # of head 0, one query attends to its neighbour
    distances = mean_distance(weights, np.arange(2), skip=1)
    assert distances[0] == 1 and np.isnan(distances[1])
    with pytest.raises(ValueError, match="3 positions"):
        mean_distance(weights, np.arange(3), skip=1)


def test_entropy():
    assert entropy(np.eye(4)[None]).tolist() == [0]
    np.testing.assert_allclose(entropy(uniform(2, 8)), math.log(8))
    weights = random_weights(3, 5, 6)
    np.testing.assert_allclose(entropy(weights), stats.entropy(weights, axis=-1).mean(-1), atol=1e-12)


def test_shares_of_patterns():
    weights = random_weights(2, 4, 6)
    shares = pattern_shares(weights)
    for head in range(2):
        row = weights[head]
        assert shares["previous position"][head] == pytest.approx((row[1, 0] + row[2, 1] + row[3, 2]) / 3)
        assert shares["same position"][head] == pytest.approx((row[0, 0] + row[1, 1] + row[2, 2] + row[3, 3]) / 4)
        assert shares["next position"][head] == pytest.approx((row[0, 1] + row[1, 2] + row[2, 3] + row[3, 4]) / 4)
        assert shares["first position"][head] == pytest.approx((row[1, 0] + row[2, 0] + row[3, 0]) / 3)
        assert shares["last position"][head] == pytest.approx((row[0, 5] + row[1, 5] + row[2, 5]) / 3)
    harmonic = sum(1 / number for number in range(1, 6))
    assert pattern_shares(uniform(1, 5, causal=True))["same position"][0] == pytest.approx(harmonic / 5)
    assert offset_share(weights, 7).tolist() == [0, 0]
    alone = {name: share.tolist() for name, share in pattern_shares(np.ones((1, 1, 1))).items()}
    assert alone == {
        "previous position": [0],
        "same position": [1],
        "next position": [0],
        "first position": [0],
        "last position": [0],
    }


def test_strongest_patterns():
    size, heads = 10, []
    for target in (lambda i: max(i - 1, 0), lambda i: i, lambda i: min(i + 1, size - 1), lambda i: 0, lambda i: 9):
        head = np.full((size, size), 0.07 / (size - 1))
        for query in range(size):
            head[query, target(query)] = 0.93
        heads.append(head)
    weights = np.stack([*heads, np.full((size, size), 0.1)])
    names = ["previous position", "same position", "next position", "first position", "last position", "spread"]
    patterns = strongest_of(pattern_shares(weights))
    assert [pattern.name for pattern in patterns] == names
    assert str(patterns[0]) == "previous position 0.93"
    assert patterns[5].share == pytest.approx(0.1)
    assert strongest_of(pattern_shares(weights), least=0.95)[0].name == "spread"


def test_evenness_is_one_for_equal_weights_under_any_mask_and_zero_for_a_single_key():
    padded = np.pad(np.full((1, 5, 3), 1 / 3), ((0, 0), (0, 0), (0, 2)))
    weights = np.concatenate((uniform(1, 5), uniform(1, 5, causal=True), padded, np.eye(5)[None]))
    np.testing.assert_allclose(evenness(weights), [1, 1, 1, 0])
    one_row = np.array([[0.5, 0.25, 0.25]])  # 1.5 bits, of log2 3
    assert evenness(one_row) == pytest.approx(1.5 / math.log2(3))
    assert evenness(np.concatenate((one_row, np.eye(3)))) == pytest.approx(1.5 / math.log2(3))
