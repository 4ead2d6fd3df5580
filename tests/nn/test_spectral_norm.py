"""Spectral normalisation: the largest singular value is 1, and the vectors move only when they are told to."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from tformer_cli.config.schema import OptimConfig
from tformer_cli.nn.spectral_norm import SpectralNorm, iterate_spectral_norms, spectrally_normalised
from tformer_cli.train.optim import build_optimizer, decayed

LAYERS = {
    "linear": lambda: nn.Linear(7, 5),
    "convolution": lambda: nn.Conv2d(3, 6, 3),
    "embedding": lambda: nn.Embedding(4, 9),
}


def largest_singular_value(weight: torch.Tensor) -> float:
    return float(torch.linalg.svdvals(weight.detach().double().flatten(1))[0])


def set_singular_values(weight: torch.Tensor) -> None:
    """Set them to 6, 3, 1.5, ...: an iteration converges by the ratio of the first two, which may be 1 by chance."""
    left, values, right = torch.linalg.svd(weight.detach().flatten(1), full_matrices=False)
    halved = 6 * 0.5 ** torch.arange(len(values))
    with torch.no_grad():
        weight.copy_((left * halved @ right).view_as(weight))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("seed", range(3))
def test_the_largest_singular_value_is_one_after_iterations(name, seed):
    torch.manual_seed(seed)
    layer = LAYERS[name]()
    set_singular_values(layer.weight)
    before = layer.weight.detach().clone()
    layer = spectrally_normalised(layer)
    iterate_spectral_norms(layer, 50)
    assert largest_singular_value(layer.weight) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(layer.weight * largest_singular_value(before), before, rtol=1e-4, atol=1e-5)


def test_values_and_gradients_are_those_of_torch():
    torch.manual_seed(2)
    ours, theirs = spectrally_normalised(nn.Conv2d(3, 5, 3)), spectral_norm(nn.Conv2d(3, 5, 3))
    norm, reference = ours.parametrizations.weight, theirs.parametrizations.weight
    with torch.no_grad():
        norm.original.copy_(reference.original)
        norm[0].left.copy_(reference[0]._u)
        norm[0].right.copy_(reference[0]._v)
    theirs.eval()
    x = torch.randn(2, 3, 6, 6)
    for layer in (ours, theirs):
        layer.bias.data.zero_()
        layer(x).square().sum().backward()
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(norm.original.grad, reference.original.grad, rtol=1e-4, atol=1e-5)


def test_an_iteration_is_that_of_the_paper():
    torch.manual_seed(3)
    weight = torch.randn(4, 6)
    norm = SpectralNorm(weight)
    u = norm.left.clone()
    norm.iterate(weight)
    v = weight.T @ u / (weight.T @ u).norm()
    torch.testing.assert_close(norm.right, v)
    torch.testing.assert_close(norm.left, weight @ v / (weight @ v).norm())


def test_the_vectors_do_not_move_when_the_layer_is_used():
    torch.manual_seed(4)
    layer = spectrally_normalised(nn.Linear(4, 3))
    before = copy.deepcopy(layer.state_dict())
    for mode in (True, False):
        layer.train(mode)
        layer(torch.randn(2, 4)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    with torch.no_grad():  # an iteration may leave the vectors of the initial weight as they are
        layer.parametrizations.weight.original.add_(torch.randn(3, 4))
    iterate_spectral_norms(layer)
    assert not torch.equal(layer.parametrizations.weight[0].right, before["parametrizations.weight.0.right"])


def test_a_normalised_weight_is_decayed_itself():
    model = nn.Sequential(spectrally_normalised(nn.Linear(4, 3)), spectrally_normalised(nn.Embedding(3, 4)))
    assert decayed(model)[0] == ["0.parametrizations.weight.original"]
    optimizer = build_optimizer(model, OptimConfig(weight_decay=0.5))
    (decaying,) = [group for group in optimizer.param_groups if group["weight_decay"]]
    assert [id(p) for p in decaying["params"]] == [id(model[0].parametrizations.weight.original)]
