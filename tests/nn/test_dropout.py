"""Cheap dropout has the rate, expectation and gradient of dropout, is deterministic, and equals the fused sum."""

from __future__ import annotations

import pytest
import torch

from tformer_cli.nn.dropout import Dropout


def seeded(function, *args) -> torch.Tensor:
    torch.manual_seed(7)
    return function(*args)


@pytest.mark.parametrize("rate", [0.002, 0.1, 0.3, 0.5, 0.99])
def test_rate_and_scale(rate: float) -> None:
    count = 400_000
    out = Dropout(rate)(torch.ones(count))
    rounded = round(rate * 256) / 256 or rate
    share = float((out == 0).float().mean())
    assert abs(share - rounded) < 5 * (rounded * (1 - rounded) / count) ** 0.5
    # the expectation is exact, not only nearly so: what is kept is scaled by the rounded rate
    torch.testing.assert_close(out.max(), torch.tensor(1 / (1 - rounded)), rtol=1e-6, atol=0)
    assert set(out.unique().tolist()) == {0.0, float(out.max())}
    assert abs(rounded - rate) <= 1 / 512


def test_dropout_is_compiled_as_one_graph() -> None:
    """Different shapes are compiled; `fullgraph` refuses code that the compiler cannot read."""
    torch.compiler.reset()
    layer = Dropout(0.5)
    layer.compile(backend="aot_eager", fullgraph=True)
    for count in (4000, 5000, 832):
        x = torch.ones(count, requires_grad=True)
        out = layer(x)
        out.sum().backward()
        assert set(out.tolist()) == {0.0, 2.0} and x.grad is not None and torch.equal(x.grad, out)
        assert abs(float((out == 0).float().mean()) - 0.5) < 0.1


def test_elements_are_dropped_independently() -> None:
    """A draw serves eight elements: neighbours must not go together."""
    dropped = (Dropout(0.5)(torch.ones(200_000)) == 0).double()
    for shift in (1, 2, 3, 4, 7, 8, 16):
        together = float((dropped[shift:] * dropped[:-shift]).mean())
        assert abs(together - 0.25) < 0.006
    by_place = dropped.view(-1, 8).mean(0)
    assert (by_place - 0.5).abs().max() < 0.02


def test_any_shape_and_layout() -> None:
    for shape in ((), (1,), (7,), (3, 5), (2, 3, 4), (0, 4)):
        assert Dropout(0.5)(torch.ones(shape)).shape == shape
    x = torch.arange(1.0, 13).view(3, 4).T  # not contiguous
    out = Dropout(0.5)(x)
    assert torch.equal(out[out != 0], 2 * x[out != 0]) and (out != 0).any()
    assert torch.equal(x, torch.arange(1.0, 13).view(3, 4).T)  # the input is left alone


def test_the_seed_decides() -> None:
    layer, x = Dropout(0.3), torch.randn(50, 9)
    first = seeded(layer, x)
    assert torch.equal(first, seeded(layer, x))
    assert not torch.equal(first, layer(x))


@pytest.mark.parametrize("layer", [Dropout(0.0), Dropout(0.5).eval()], ids=["zero", "evaluation"])
def test_nothing_is_dropped(layer: Dropout) -> None:
    x, residual = torch.randn(2, 4, 5)
    assert layer(x) is x
    torch.testing.assert_close(layer.add(residual, x, 0.5), residual + 0.5 * x)


@pytest.mark.parametrize("rate", [0.3, 0.001], ids=["cheap", "below-a-byte"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_gradient_is_the_mask_times_the_scale(rate: float, dtype: torch.dtype) -> None:
    layer = Dropout(rate)
    x = (torch.rand(64, 33).to(dtype) + 1).requires_grad_()
    seed = torch.randn(64, 33).to(dtype)
    out = layer(x)
    (gradient,) = torch.autograd.grad((out * seed).sum(), x)
    scale = 256 / (256 - round(rate * 256)) if rate > 0.01 else 1 / (1 - rate)
    torch.testing.assert_close(gradient, torch.where(out == 0, 0, seed * scale))


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_add_is_residual_plus_scaled_dropout(scale: float) -> None:
    layer = Dropout(0.4)
    residual, x, seed = torch.randn(3, 8, 16, dtype=torch.float64)
    residual.requires_grad_()
    x.requires_grad_()
    got = seeded(layer.add, residual, x, scale)
    expected = residual + scale * seeded(layer, x)
    torch.testing.assert_close(got, expected)
    for a, b in zip(
        torch.autograd.grad((got * seed).sum(), (residual, x)),
        torch.autograd.grad((expected * seed).sum(), (residual, x)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_add_of_different_types_is_as_torch_would() -> None:
    residual, x = torch.zeros(40, 50), torch.ones(40, 50, dtype=torch.bfloat16)
    out = Dropout(0.5).add(residual, x)
    assert out.dtype is torch.float32 and set(out.unique().tolist()) == {0.0, 2.0}


def test_a_branch_of_bfloat16_is_dropped_as_one_of_float32() -> None:
    """By the same draws, and its factor is not rounded to bfloat16, which would be 0.3 % off at this rate."""
    layer, residual, x = Dropout(0.1), torch.zeros(500, 400), torch.rand(500, 400).bfloat16() + 1
    exact = seeded(layer.add, residual, x.float())
    leaf = x.clone().requires_grad_()
    out = seeded(layer.add, residual, leaf)
    torch.testing.assert_close(out, exact)
    alone = seeded(layer, x).float()
    assert torch.equal(alone == 0, exact == 0)
    assert float(alone.sum() / exact.sum()) == pytest.approx(1, abs=1e-4)
    (gradient,) = torch.autograd.grad((out * x.float()).sum(), leaf)
    assert float(gradient.float().sum() / exact.sum()) == pytest.approx(1, abs=1e-4)


def test_gradcheck() -> None:
    layer = Dropout(0.4)
    residual, x = torch.randn(2, 3, 5, dtype=torch.float64)
    inputs = (residual.requires_grad_(), x.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: seeded(layer.add, a, b, 0.5), inputs)
    assert torch.autograd.gradcheck(lambda b: seeded(layer, b), inputs[1:])
