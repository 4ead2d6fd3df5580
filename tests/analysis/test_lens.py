"""The logit lens beside SciPy and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from tformer_cli.analysis.lens import logit_lens

LAYERS, POSITIONS, WIDTH, VOCABULARY = 4, 7, 6, 11


@pytest.fixture
def states():
    torch.manual_seed(0)
    return torch.randn(LAYERS, POSITIONS, WIDTH)


@pytest.fixture
def head():
    torch.manual_seed(1)
    return nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY)).double()


def test_predictions_of_each_layer_equal_plain_loops(states, head):
    lens = logit_lens(states, lambda x: head(x.double()), top=3, chunk=3)
    probabilities = special.softmax(head(states.double()).detach().numpy(), -1)
    for layer in range(LAYERS):
        for position in range(POSITIONS):
            row, last = probabilities[layer, position], probabilities[-1, position]
            order = sorted(range(VOCABULARY), key=lambda token, row=row: -row[token])
            assert lens.top_tokens[layer, position].tolist() == order[:3]
            np.testing.assert_allclose(lens.top_probabilities[layer, position], row[order[:3]], atol=1e-6)
            final = int(last.argmax())
            assert lens.tokens[position] == final
            assert lens.probabilities[layer, position] == pytest.approx(row[final], abs=1e-6)
            assert lens.ranks[layer, position] == order.index(final) + 1
            assert lens.divergences[layer, position] == pytest.approx(stats.entropy(last, row), abs=1e-6)


def test_the_last_layer_is_the_output(states, head):
    head = head.float()
    lens = logit_lens(states, head, top=VOCABULARY + 5)
    output = head(states[-1]).softmax(-1)
    values, tokens = output.sort(descending=True)
    assert np.array_equal(lens.top_tokens[-1], tokens) and lens.top_tokens.shape == (LAYERS, POSITIONS, VOCABULARY)
    np.testing.assert_allclose(lens.top_probabilities[-1], values.detach(), atol=1e-6)
    assert (lens.ranks[-1] == 1).all() and (lens.divergences[-1] == 0).all() and (lens.divergences[:-1] > 0).all()


def test_chunks_and_followed_tokens(states, head):
    head = head.float()
    sizes = []

    def logits(x):
        sizes.append(len(x))
        return head(x)

    tokens = torch.arange(POSITIONS)
    chunked = logit_lens(states, logits, tokens=tokens, chunk=2)
    assert max(sizes) == 2
    for one, other in zip(chunked, logit_lens(states, head, tokens=tokens), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    expected = head(states).softmax(-1)[:, tokens, tokens].detach()
    np.testing.assert_allclose(chunked.probabilities, expected, atol=1e-6)
    assert (chunked.ranks > 1).any()


def test_ties_share_the_better_rank():
    lens = logit_lens(torch.zeros(2, 1, 3), lambda x: x, tokens=torch.tensor([2]))
    assert lens.ranks.tolist() == [[1], [1]]
    assert lens.probabilities[0, 0] == pytest.approx(1 / 3)
