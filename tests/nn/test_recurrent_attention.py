"""Each score of recurrent attention equals its plain formula, and padding has no weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tformer_cli.nn.attention import Mask
from tformer_cli.nn.recurrent_attention import AdditiveScore, DotScore, GeneralScore, RecurrentAttention
from tformer_cli.nn.taps import tapped

LENGTHS = [5, 1, 3]


def numpy_of(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def dot(score: nn.Module, q: np.ndarray, h: np.ndarray) -> float:
    return float(q @ h)


def general(score: nn.Module, q: np.ndarray, h: np.ndarray) -> float:
    return float(q @ numpy_of(score.project_key.weight) @ h)


def additive(score: nn.Module, q: np.ndarray, h: np.ndarray) -> float:
    w, u, v = (numpy_of(x) for x in (score.project_query.weight, score.project_key.weight, score.v))
    return float(v @ np.tanh(w @ q + u @ h))


def concat(score: nn.Module, q: np.ndarray, h: np.ndarray) -> float:
    """With one matrix on the concatenation, as Luong et al. (2015) write it."""
    w = numpy_of(torch.cat((score.project_query.weight, score.project_key.weight), 1))
    return float(numpy_of(score.v) @ np.tanh(w @ np.concatenate((q, h))))


SCORES = [(DotScore, dot), (GeneralScore, general), (AdditiveScore, additive), (AdditiveScore, concat)]


@pytest.mark.parametrize(("kind", "formula"), SCORES, ids=lambda value: value.__name__)
def test_weights_and_contexts_equal_a_plain_formula(kind, formula) -> None:
    width = 4 if kind is DotScore else 6
    layer = RecurrentAttention(kind() if kind is DotScore else kind(4, width)).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    states = torch.randn(3, 5, width, dtype=torch.float64)
    queries = torch.randn(3, 2, 4, dtype=torch.float64)
    mask = Mask.from_lengths(torch.tensor(LENGTHS), 5)
    with tapped(layer, {"weights", "values", "outputs"}) as records:
        context = layer(queries, layer.prepare(states, mask))
    (weights,) = records[""]["weights"]
    assert weights.shape == (3, 1, 2, 5) and records[""]["values"][0].shape == (3, 1, 5, width)
    assert torch.equal(records[""]["outputs"][0][:, 0], context)
    for row, length in enumerate(LENGTHS):
        for query in range(2):
            q, h = numpy_of(queries[row, query]), numpy_of(states[row, :length])
            exponentials = np.exp([formula(layer.score, q, state) for state in h])
            expected = exponentials / exponentials.sum()
            np.testing.assert_allclose(numpy_of(weights[row, 0, query, :length]), expected, rtol=1e-9)
            assert not weights[row, 0, query, length:].any()
            np.testing.assert_allclose(numpy_of(context[row, query]), expected @ h, rtol=1e-9)


def test_a_sentence_without_states_has_no_weights_and_a_context_of_zeros() -> None:
    layer = RecurrentAttention(DotScore())
    states = torch.randn(2, 3, 4, requires_grad=True)
    memory = layer.prepare(states, Mask.from_lengths(torch.tensor([0, 2]), 3))
    with tapped(layer, {"weights"}) as records:
        context = layer(torch.randn(2, 1, 4), memory)
    context.sum().backward()
    assert not context[0].any() and not records[""]["weights"][0][0].any() and context[1].all()
    assert states.grad is not None and states.grad.isfinite().all() and not states.grad[0].any()


def test_sentences_can_leave() -> None:
    layer = RecurrentAttention(GeneralScore(4, 6))
    states, queries = torch.randn(3, 5, 6), torch.randn(3, 1, 4)
    memory = layer.prepare(states, Mask.from_lengths(torch.tensor(LENGTHS), 5))
    rows = torch.tensor([0, 2])
    torch.testing.assert_close(layer(queries[rows], memory.keep(rows)), layer(queries, memory)[rows])
    everything = layer.prepare(states, Mask()).keep(rows)
    assert everything.mask is None and everything.empty is None and everything.states.shape == (2, 5, 6)
