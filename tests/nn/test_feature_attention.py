"""Self-attention on feature maps, against its equations in loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tformer_cli.nn.feature_attention import FeatureMapAttention
from tformer_cli.nn.spectral_norm import spectrally_normalised
from tformer_cli.nn.taps import attention_weights, tapped


def by_loops(layer: FeatureMapAttention, x: Tensor) -> Tensor:
    """Return x + gamma * v(sum_i softmax_i(f(x_i) g(x_j)) h(x_i)), with a loop over images and queries."""

    def columns(convolution, image: Tensor) -> Tensor:
        return torch.einsum("oc,chw->ohw", convolution.weight[:, :, 0, 0], image)

    results = []
    for image in x:
        f, g, h = (columns(part, image) for part in (layer.query, layer.key, layer.value))
        rows, cells = image.shape[1] // 2, image.shape[2] // 2
        pooled = [(i, j) for i in range(rows) for j in range(cells)]
        keys, values = (
            torch.stack([part[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].amax((1, 2)) for i, j in pooled])
            for part in (g, h)
        )
        attended = torch.empty(values.shape[1], *image.shape[1:])
        for i in range(image.shape[1]):
            for j in range(image.shape[2]):
                scores = (keys @ f[:, i, j]).exp()
                attended[:, i, j] = (scores / scores.sum()) @ values
        results.append(image + layer.gamma * columns(layer.output, attended))
    return torch.stack(results)


@pytest.mark.parametrize("size", [(4, 4), (6, 4), (7, 7)])
@pytest.mark.parametrize("prepare", [lambda layer: layer, spectrally_normalised])
def test_it_is_an_explicit_softmax(size, prepare):
    torch.manual_seed(1)
    layer, x = FeatureMapAttention(16, prepare), torch.randn(2, 16, *size)
    layer.gamma.data.fill_(0.7)
    torch.testing.assert_close(layer(x), by_loops(layer, x))


def test_it_starts_as_the_identity_and_gamma_learns():
    layer, x = FeatureMapAttention(16), torch.randn(2, 16, 4, 4)
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    assert dict(layer.named_parameters())["gamma"].grad != 0


def test_weights_are_recorded_for_each_query():
    layer, x = FeatureMapAttention(16), torch.randn(3, 16, 6, 4)
    (weights,) = attention_weights(layer, lambda: layer(x)).values()
    assert weights.shape == (3, 1, 24, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 1, 24))
    with tapped(layer, {"weights", "values", "outputs"}) as records:
        layer(x)
    (kinds,) = records.values()
    torch.testing.assert_close(kinds["weights"][0] @ kinds["values"][0], kinds["outputs"][0])


def test_one_channel_is_enough():
    assert FeatureMapAttention(1)(torch.randn(1, 1, 4, 4)).shape == (1, 1, 4, 4)
