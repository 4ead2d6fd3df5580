"""Disagreement of heads beside a plain loop over heads and positions, and beside closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tformer_cli.analysis.diversity import (
    TERMS,
    cosine_agreement,
    mean_over,
    weight_agreement,
)

HEADS, POSITIONS, WIDTH = 3, 5, 4


def plain(name: str, tensor: Tensor, lengths: list[int]) -> Tensor:
    """The disagreement of each example, (B,), by loops over positions and pairs of heads, in float64."""
    values = tensor.double()
    heads, of_examples = values.shape[1], []
    for row, length in zip(values, lengths, strict=True):
        at_positions = []
        for position in range(length):
            pairs = []
            for i in range(heads):
                for j in range(heads):
                    x, y = row[i, position], row[j, position]
                    overlap = (x * y).abs().sum() if name == "disagreement_position" else x @ y / (x.norm() * y.norm())
                    pairs.append(overlap)
            at_positions.append(-sum(pairs) / heads**2)
        of_examples.append(sum(at_positions) / length)
    return torch.stack(of_examples)


@pytest.mark.parametrize("name", TERMS)
def test_values_and_gradients_equal_a_plain_loop(name):
    torch.manual_seed(0)
    tensor = torch.randn(4, HEADS, POSITIONS, WIDTH)
    if name == "disagreement_position":
        tensor = tensor.softmax(-1)
    tensor.requires_grad_()
    lengths = [5, 3, 1, 2]
    got = -mean_over(TERMS[name].agreement(tensor), torch.tensor(lengths))
    expected = plain(name, tensor, lengths)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    (gradient,) = torch.autograd.grad((got * weights).sum(), tensor)
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), tensor)
    torch.testing.assert_close(gradient, expected_gradient.float(), rtol=1e-4, atol=1e-6)


def test_closed_forms():
    same = torch.randn(2, 1, POSITIONS, WIDTH).expand(-1, HEADS, -1, -1)
    torch.testing.assert_close(cosine_agreement(same * torch.tensor([1.0, 2.0, 9.0])[:, None, None]), torch.ones(2, 5))
    orthogonal = torch.eye(WIDTH)[:HEADS, None].expand(2, -1, POSITIONS, -1)
    torch.testing.assert_close(cosine_agreement(orthogonal), torch.full((2, 5), 1 / HEADS))
    uniform = torch.full((2, HEADS, POSITIONS, 7), 1 / 7)
    torch.testing.assert_close(weight_agreement(uniform), torch.full((2, POSITIONS), 1 / 7))
    certain = torch.eye(7)[:HEADS, None].expand(2, -1, POSITIONS, -1)  # each head attends to another key
    torch.testing.assert_close(weight_agreement(certain), torch.full((2, POSITIONS), 1 / HEADS))


def test_bfloat16_is_computed_in_float32():
    tensor = torch.randn(2, HEADS, POSITIONS, WIDTH).bfloat16()
    assert torch.equal(cosine_agreement(tensor), cosine_agreement(tensor.float()))
