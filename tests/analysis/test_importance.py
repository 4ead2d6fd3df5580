"""Importance by gradients and occlusion beside closed forms, plain loops and Captum, if it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tformer_cli.analysis.importance import gradient_times_input, integrated_gradients, occlusion, occlusion_map

WEIGHTS = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]])
INPUTS = torch.tensor([[2.0, 1.0], [-1.0, 4.0], [7.0, 0.0]])


def linear(inputs):
    return (inputs * WEIGHTS).sum((1, 2)) + 5


@pytest.fixture
def network():
    """A smooth score of three vectors of two numbers, in float64."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    return lambda inputs: layers(inputs)[:, 0]


def test_a_linear_score_is_divided_among_its_inputs():
    expected = (INPUTS * WEIGHTS).numpy()
    np.testing.assert_allclose(gradient_times_input(linear, INPUTS), expected, atol=1e-6)
    result = integrated_gradients(linear, INPUTS, torch.ones(3, 2))
    np.testing.assert_allclose(result.attributions, expected - WEIGHTS.numpy(), atol=1e-6)
    assert result.difference == pytest.approx(float((INPUTS * WEIGHTS - WEIGHTS).sum()))
    assert abs(result.error) < 1e-5 and result.steps == 32
    np.testing.assert_allclose(occlusion(linear, INPUTS, torch.zeros(2)), expected.sum(-1), atol=1e-6)


def test_each_token_may_have_a_replacement_of_its_own():
    baseline = torch.tensor([[0.0, 0.0], [-1.0, 4.0], [1.0, 1.0]])
    expected = ((INPUTS - baseline) * WEIGHTS).sum(-1).numpy()
    np.testing.assert_allclose(occlusion(linear, INPUTS, baseline), expected, atol=1e-6)


def test_gradients_of_vectors_of_tokens_do_not_use_cudnn():
    """Its recurrent layers have none in evaluation mode."""
    used = []

    def score(batch):
        used.append(torch.backends.cudnn.enabled)
        return batch.flatten(1).sum(1)

    before = torch.backends.cudnn.enabled
    gradient_times_input(score, INPUTS)
    gradient_times_input(score, torch.zeros(3, 4, 4))
    assert used == [False, before] and torch.backends.cudnn.enabled == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_models_have_gradients_on_a_gpu(kind):
    torch.manual_seed(0)
    layer, inputs = kind(2, 4, batch_first=True).eval(), INPUTS
    expected = gradient_times_input(lambda batch: layer(batch)[0].sum((1, 2)), inputs)
    layer.cuda()
    result = gradient_times_input(lambda batch: layer(batch)[0].sum((1, 2)), inputs.cuda())
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_gradients_are_those_of_finite_differences(network):
    inputs, step = INPUTS.double(), 1e-6
    result = gradient_times_input(network, inputs)
    for index in np.ndindex(3, 2):
        moved = inputs.clone()
        moved[index] += step
        slope = float((network(moved[None]) - network(inputs[None])).detach()) / step
        assert result[index] == pytest.approx(slope * float(inputs[index]), abs=1e-5)


def test_integrated_gradients_in_closed_form():
    """Of f = x^3 y along the line a (x, y) from 0, both integrals are known: 3/4 and 1/4 of f."""
    x, y = 2.0, 3.0
    inputs = torch.tensor([x, y]).double()
    result = integrated_gradients(lambda v: v[:, 0] ** 3 * v[:, 1], inputs, torch.zeros(2).double())
    np.testing.assert_allclose(result.attributions, [0.75 * x**3 * y, 0.25 * x**3 * y], atol=1e-9)
    baseline = torch.tensor([0.5, -1.0]).double()
    squares = integrated_gradients(lambda v: v.square().sum(-1), inputs, baseline)
    np.testing.assert_allclose(squares.attributions, [x**2 - 0.25, y**2 - 1], atol=1e-9)


def test_integrated_gradients_are_complete_and_have_a_bound(network):
    inputs, baseline = INPUTS.double(), torch.zeros(3, 2).double()
    result = integrated_gradients(network, inputs, baseline)
    assert result.difference == pytest.approx(float((network(inputs[None]) - network(baseline[None])).detach()))
    assert result.attributions.sum() == pytest.approx(result.difference + result.error)
    assert abs(result.error) < 1e-6
    sizes = []

    def steep(batch):
        sizes.append(len(batch))
        return torch.sigmoid(400 * (batch.sum((1, 2)) - 6.5))

    rough = integrated_gradients(steep, inputs, baseline, steps=4, max_steps=16, batch=5)
    assert rough.steps == 16 and abs(rough.error) > 0.01 and max(sizes) == 5
    assert sum(sizes) == 2 + 4 + 8 + 16
    fine = integrated_gradients(steep, inputs, baseline, steps=4, max_steps=4096, tolerance=0.01)
    assert abs(fine.error) <= 0.01 and fine.steps > 16


def test_integrated_gradients_work_where_gradients_are_off(network):
    with torch.no_grad():
        assert integrated_gradients(network, INPUTS.double(), torch.zeros(3, 2).double()).attributions.any()


def test_occlusion_of_token_ids_and_batches():
    values, sizes = torch.tensor([0.0, 10.0, 3.0, 5.0]), []

    def score(ids):
        sizes.append(len(ids))
        return values[ids].sum(-1) + (ids[:, 0] == 1) * (ids[:, 1] == 2)  # the first two together count one more

    assert occlusion(score, torch.tensor([1, 2, 3, 3]), 0, batch=2).tolist() == [11, 4, 5, 5]
    assert sizes == [2, 2, 1]


def test_occlusion_of_pictures():
    image = torch.arange(2 * 5 * 5.0).view(2, 5, 5)
    result = occlusion_map(lambda x: x.sum((1, 2, 3)), image, 2, fill=torch.tensor([1.0, 3.0]), batch=4)
    assert result.tops == result.lefts == [0, 2, 3]  # the last squares touch the edge
    for row, top in enumerate(result.tops):
        for column, left in enumerate(result.lefts):
            hidden = image[:, top : top + 2, left : left + 2]
            assert result.drops[row, column] == pytest.approx(float(hidden.sum()) - 4 * (1 + 3))
    np.testing.assert_allclose(result.pixels[3, 3], result.drops[1:, 1:].mean())
    assert result.pixels[0, 0] == result.drops[0, 0] and result.pixels.shape == (5, 5)
    sparse = occlusion_map(lambda x: x.sum((1, 2, 3)), image, 1, stride=3)
    assert sparse.tops == [0, 3, 4] and np.isnan(sparse.pixels[1, 1])
    one_square = occlusion_map(lambda x: x.sum((1, 2, 3)), image, 9)
    assert one_square.drops.tolist() == [[image.sum()]]


def test_captum_gives_the_same(network):
    captum = pytest.importorskip("captum.attr")
    inputs, baseline = INPUTS.double()[None], torch.full((1, 3, 2), 0.3).double()
    expected = captum.InputXGradient(network).attribute(inputs.clone())[0].detach()
    np.testing.assert_allclose(gradient_times_input(network, inputs[0]), expected, atol=1e-6)
    expected = captum.IntegratedGradients(network).attribute(inputs, baseline, n_steps=32)[0]
    result = integrated_gradients(network, inputs[0], baseline[0])
    np.testing.assert_allclose(result.attributions, expected, atol=1e-6)
    windows = captum.Occlusion(network).attribute(inputs, (1, 2), baselines=0.3)[0]
    drops = occlusion(network, inputs[0], torch.full((2,), 0.3).double())
    np.testing.assert_allclose(drops, windows[:, 0], atol=1e-6)

    torch.manual_seed(1)
    image, filters = torch.randn(3, 8, 8).double(), torch.randn(3, 8, 8).double()

    def picture_score(images):
        return (images * filters).sum((1, 2, 3)).tanh() + images.square().mean((1, 2, 3))

    squares = captum.Occlusion(picture_score).attribute(image[None], (3, 4, 4), strides=(3, 2, 2), baselines=0.5)
    result = occlusion_map(picture_score, image, 4, stride=2, fill=0.5)
    np.testing.assert_allclose(result.pixels, squares[0, 0], atol=1e-6)
