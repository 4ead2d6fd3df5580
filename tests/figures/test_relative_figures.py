"""Figures of relative positions: their numbers beside the scores of attention and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.figures.models import figures_of
from tformer_cli.config.schema import Combine, Positions
from tformer_cli.draw import svg
from tformer_cli.figures import relative
from tformer_cli.figures.base import Options
from tformer_cli.nn.attention import Attention
from tformer_cli.nn.grid import GridBias
from tformer_cli.nn.positions import AbsolutePositions, T5Bias, frequencies, sinusoids


def attention(positions, *, decoder=False):
    module = Attention(16, 2, positions=positions, relative_distance=4, decoder=decoder)
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return module


def figures(*modules, options=None):
    model = nn.ModuleList(modules)
    return figures_of(relative.KIND, model, options=options)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_t5_bias_by_offset(bidirectional):
    bias = T5Bias(2, 8, bidirectional=bidirectional, max_distance=16)
    bias.weight.data = torch.randn(8, 2)
    (figure,) = figures(bias).values()
    offsets, values = figure.numbers["offsets"], figure.numbers["bias"]
    assert offsets[0] == -16 and offsets[-1] == (16 if bidirectional else 0)
    scores = bias(torch.arange(20), torch.arange(20))
    for offset in (-9, -1, 0) + ((1, 3) if bidirectional else ()):
        expected = scores[:, 10, 10 + offset].detach().numpy()
        np.testing.assert_allclose(values[:, list(offsets).index(offset)], expected, atol=1e-6)


def test_offsets_that_no_sequence_has_are_left_out():
    bias, limit = T5Bias(2, 8, bidirectional=True), AbsolutePositions(Positions.t5, Combine.add, 8, 10)
    (figure,) = figures(bias, limit).values()
    assert figure.numbers["offsets"].tolist() == list(range(-9, 10))


def test_only_the_chosen_heads_are_drawn():
    bias = T5Bias(3, 8, bidirectional=True)
    bias.weight.data = torch.randn(8, 3)
    (figure,) = figures(attention(Positions.none), bias, options=Options(heads=(2,))).values()
    assert figure.numbers["heads"] == [2] and figure.numbers["bias"].shape[0] == 1


@pytest.mark.parametrize("class_token", [True, False])
def test_bias_of_a_grid_has_the_query_at_the_centre(class_token):
    bias = GridBias(2, (3, 4), class_token=class_token)
    bias.table.data = torch.randn_like(bias.table)
    drawn = figures(bias)
    numbers = drawn["relative-0"].numbers
    scores = bias(torch.tensor([[1, 1]]), torch.tensor([[2, 3], [0, 1]])).detach().numpy()
    assert numbers["rows"].tolist() == [-2, -1, 0, 1, 2] and numbers["columns"].tolist() == [-3, -2, -1, 0, 1, 2, 3]
    np.testing.assert_allclose(numbers["bias"][:, 2 + 1, 3 + 2], scores[:, 0, 0], atol=1e-6)
    np.testing.assert_allclose(numbers["bias"][:, 2 - 1, 3 + 0], scores[:, 0, 1], atol=1e-6)
    assert ("relative-0-class" in drawn) is class_token


def test_a_large_grid_is_drawn_in_part():
    (figure,) = figures(GridBias(2, (30, 4), class_token=False)).values()
    assert figure.numbers["bias"].shape == (2, 33, 7) and "left out" in figure.caption


@pytest.mark.parametrize("decoder", [False, True])
def test_the_term_of_the_position_of_transformer_xl(decoder):
    module = attention(Positions.transformer_xl, decoder=decoder)
    (figure,) = figures(module).values()
    offsets = figure.numbers["offsets"]
    assert offsets[-1] == (0 if decoder else 128)
    xl = module.transformer_xl
    distances = torch.from_numpy(-offsets)  # i - j
    embedded = xl.project(sinusoids(distances, frequencies(16))).view(-1, 2, 8)
    expected = torch.einsum("hk,ohk->ho", xl.position_bias[:, 0], embedded).detach().numpy() / 8**0.5
    np.testing.assert_allclose(figure.numbers["terms"], expected, atol=1e-5)
    assert figure.picture.rows == ["layer 1, head 1", "layer 1, head 2"]
    assert figure.numbers["layers"] == (1, 1) and figure.numbers["heads"] == (1, 2)


@pytest.mark.parametrize("decoder", [False, True])
def test_norms_and_cosines_of_shaws_vectors(decoder):
    module = attention(Positions.shaw, decoder=decoder)
    drawn = figures(module)
    kind = "decoder" if decoder else "encoder"
    keys = module.shaw.keys.detach().numpy()[: 5 if decoder else 9]
    assert drawn[f"relative-{kind}-shaw-keys"].numbers["offsets"].tolist() == list(range(-4, 1 if decoder else 5))
    norms = np.linalg.norm(keys, axis=1)
    np.testing.assert_allclose(drawn[f"relative-{kind}-shaw-keys"].numbers["norms"][0], norms, rtol=1e-5)
    cosines = keys @ keys.T / norms / norms[:, None]
    np.testing.assert_allclose(drawn[f"relative-{kind}-shaw-cosines"].numbers["cosines"][0], cosines, atol=1e-5)


def test_rotary_scores_are_the_mean_cosine_of_the_frequencies():
    (figure,) = figures(attention(Positions.rotary), attention(Positions.rotary)).values()
    distances = figure.numbers["distances"]
    expected = np.cos(distances[:, None] * frequencies(8, dtype=torch.float64).numpy()).mean(1)
    np.testing.assert_allclose(figure.numbers["scores"], expected, atol=1e-5)


def test_rotary_scores_of_a_grid():
    (figure,) = figures(attention(Positions.rotary_2d)).values()
    cosines = np.cos(np.arange(16)[:, None] * frequencies(4, 100.0, dtype=torch.float64).numpy()).mean(1)
    np.testing.assert_allclose(figure.numbers["scores"], (cosines[:, None] + cosines) / 2, atol=1e-5)


def test_a_model_without_relative_positions_has_none():
    with pytest.raises(LookupError, match="no relative positions"):
        figures(attention(Positions.learned))


def test_figures_can_be_drawn():
    schemes = (Positions.rotary, Positions.rotary_2d, Positions.shaw, Positions.transformer_xl)
    modules = [T5Bias(2, 8, bidirectional=True), GridBias(2, (3, 4), class_token=True), *map(attention, schemes)]
    drawn = figures(*modules)
    assert len(drawn) == 9
    for figure in drawn.values():
        assert svg(figure.picture).startswith("<svg")
