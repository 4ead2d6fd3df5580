"""Feed-forward layers against the formulas of the papers that name their activations."""

from __future__ import annotations

import math

import pytest
import torch

from tformer_cli.config.schema import Activation
from tformer_cli.nn.feedforward import GATED, FeedForward, TrainedSwish

BY_HAND = {
    "relu": lambda z: max(z, 0.0),
    "gelu": lambda z: z * 0.5 * (1 + math.erf(z / math.sqrt(2))),
    "gelu_tanh": lambda z: 0.5 * z * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "swish": lambda z: z / (1 + math.exp(-z)),
    "swish_beta": lambda z: z / (1 + math.exp(-0.7 * z)),
    "glu": lambda z: 1 / (1 + math.exp(-z)),
}
BY_HAND |= {"reglu": BY_HAND["relu"], "geglu": BY_HAND["gelu"], "swiglu": BY_HAND["swish"]}


def test_every_activation_is_covered() -> None:
    assert {activation.name for activation in Activation} == set(BY_HAND)


@pytest.mark.parametrize("activation", Activation, ids=lambda activation: activation.name)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_equals_the_formula(activation: Activation, bias: bool) -> None:
    layer = FeedForward(4, 6, activation, bias=bias).double()
    if isinstance(layer.function, TrainedSwish):
        torch.nn.init.constant_(layer.function.beta, 0.7)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    inner = x @ layer.project_in.weight.T + (layer.project_in.bias if bias else 0)
    f = BY_HAND[activation.name]
    acted = inner[..., :6].detach().clone().apply_(f)
    if activation in GATED:
        acted = acted * inner[..., 6:]
    expected = acted @ layer.project_out.weight.T + (layer.project_out.bias if bias else 0)
    torch.testing.assert_close(layer(x), expected)
    assert layer.project_in.out_features == (12 if activation.name in ("glu", "reglu", "geglu", "swiglu") else 6)


@pytest.mark.parametrize(
    "activation", [a for a in Activation if "re" not in a.name], ids=lambda activation: activation.name
)
def test_gradcheck(activation: Activation) -> None:
    layer = FeedForward(3, 4, activation).double()
    assert torch.autograd.gradcheck(layer, torch.randn(2, 3, dtype=torch.float64, requires_grad=True))


def test_trained_swish_begins_as_swish_and_its_gradient_is_that_of_the_formula() -> None:
    function, x = TrainedSwish().double(), torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)
    torch.testing.assert_close(function(x), torch.nn.functional.silu(x))
    function(x).sum().backward()
    gate = torch.sigmoid(x)
    torch.testing.assert_close(function.beta.grad, (x.square() * gate * (1 - gate)).sum()[None])
    torch.nn.init.zeros_(function.beta)
    torch.testing.assert_close(function(x), x / 2)


def test_dropout_is_on_the_inner_activations() -> None:
    layer = FeedForward(5, 2000, Activation.relu, dropout=0.5).double()
    torch.nn.init.ones_(layer.project_out.weight)
    x = torch.randn(1, 5, dtype=torch.float64)
    torch.manual_seed(3)
    out = layer(x)
    torch.manual_seed(3)
    inner = layer.dropout(torch.relu(layer.project_in(x)))
    torch.testing.assert_close(out, layer.project_out(inner))
    assert not torch.equal(out, layer.eval()(x))
