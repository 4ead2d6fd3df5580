"""Figures of position vectors: their numbers beside those of the modules and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.figures.models import figures_of
from tformer_cli.config.schema import Combine, Positions
from tformer_cli.draw import svg
from tformer_cli.figures import positions
from tformer_cli.nn.grid import GridPositions
from tformer_cli.nn.positions import AbsolutePositions, frequencies, sinusoids

LINES = [Positions.learned, Positions.sinusoidal, Positions.learnable_sinusoidal, Positions.index]
GRIDS = [*LINES, Positions.learned_2d, Positions.sinusoidal_2d]


def line(scheme, length=20):
    module = AbsolutePositions(scheme, Combine.add, 8, length)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return module


def of_line(scheme, length=20):
    return figures_of(positions.KIND, nn.ModuleDict({"positions": line(scheme, length)}))


def of_grid(scheme, grid=(3, 4), *, class_token=True, combine=Combine.add):
    module = GridPositions(scheme, combine, 8, grid, class_token=class_token)
    return figures_of(positions.KIND, nn.ModuleDict({"positions": module})), module


def cosines(vectors):
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms, norms, 1)
    return unit @ unit.T


@pytest.mark.parametrize("scheme", LINES)
def test_vectors_of_tokens_are_those_that_the_model_adds(scheme):
    module = line(scheme)
    figures = figures_of(positions.KIND, nn.ModuleDict({"positions": module}))
    added = module(torch.zeros(1, 20, 8), torch.arange(20))[0].detach().numpy()
    np.testing.assert_allclose(figures["positions-positions-vectors"].numbers["vectors"], added, atol=1e-6)
    similarity = figures["positions-positions-similarity"]
    np.testing.assert_allclose(similarity.numbers["cosines"], cosines(added), atol=1e-6)
    assert similarity.numbers["symmetry"] == 1
    assert ("positions-positions-clocks" in figures) is (
        scheme in (Positions.sinusoidal, Positions.learnable_sinusoidal)
    )


@pytest.mark.parametrize("combine", Combine)
@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("scheme", GRIDS)
def test_vectors_of_patches_are_those_that_the_model_combines(scheme, class_token, combine):
    figures, module = of_grid(scheme, class_token=class_token, combine=combine)
    added = module.vectors(12 + class_token).detach().numpy()
    numbers = figures["positions-positions-vectors"].numbers
    np.testing.assert_allclose(numbers["vectors"], added, atol=1e-6)
    assert numbers["positions"][-1] == "3, 4" and (numbers["positions"][0] == "[class]") is class_token
    maps = figures["positions-positions-patches"].numbers["cosines"]
    assert maps.shape == (12, 3, 4)
    np.testing.assert_allclose(maps.reshape(12, 12), cosines(added[int(class_token) :]), atol=1e-6)


def test_sinusoids_are_translation_invariant_clocks_of_known_periods():
    figures = of_line(Positions.sinusoidal)
    assert figures["positions-positions-similarity"].numbers["translation_invariance"] == pytest.approx(1, abs=1e-9)
    omega = frequencies(8, dtype=torch.float64).numpy()
    np.testing.assert_allclose(figures["positions-positions-periods"].numbers["periods"], 2 * np.pi / omega, rtol=1e-3)
    clocks = figures["positions-positions-clocks"].numbers
    dials = figures["positions-positions-dials"]
    assert dials.numbers["turns"].shape == (len(clocks["pairs"]), 16) and dials.picture.columns[-1] == "15"
    np.testing.assert_allclose(dials.numbers["turns"], clocks["turns"][:16].T)
    expected = np.arange(20)[:, None] * omega[clocks["pairs"]] / (2 * np.pi)
    difference = (clocks["turns"] - expected + 0.5) % 1 - 0.5
    np.testing.assert_allclose(difference, 0, atol=1e-6)


def test_learned_frequencies_are_drawn_beside_those_at_the_start():
    module = line(Positions.learnable_sinusoidal)
    numbers = figures_of(positions.KIND, nn.ModuleDict({"positions": module}))["positions-positions-periods"].numbers
    learned = module.frequency.detach().double().numpy()
    np.testing.assert_allclose(numbers["periods"], 2 * np.pi / np.abs(learned), rtol=1e-3)
    np.testing.assert_allclose(numbers["initial_periods"], 2 * np.pi / frequencies(8).double().numpy(), rtol=1e-6)


def test_rows_and_columns_of_sinusoids_have_clocks_each():
    figures, _ = of_grid(Positions.sinusoidal_2d)
    omega = frequencies(4, dtype=torch.float64).numpy()
    for name in ("rows", "columns"):
        periods = figures[f"positions-positions-{name}-periods"].numbers["periods"]
        np.testing.assert_allclose(periods, 2 * np.pi / omega, rtol=1e-3)


def test_positions_that_no_training_example_had_are_left_out():
    module = AbsolutePositions(Positions.learned, Combine.add, 8, 20)
    module.table.data[:5] = torch.randn(5, 8)
    figures = figures_of(positions.KIND, nn.ModuleDict({"positions": module}))
    assert len(figures["positions-positions-vectors"].numbers["vectors"]) == 5


def test_a_long_table_is_drawn_in_part_and_the_caption_states_it():
    figures = of_line(Positions.sinusoidal, 300)
    assert figures["positions-positions-vectors"].numbers["vectors"].shape == (256, 8)
    assert "first 256 of 300" in figures["positions-positions-similarity"].caption
    large, module = of_grid(Positions.learned, (20, 4))
    assert "Of 20 x 4 patches, 16 x 4 are drawn" in large["positions-positions-patches"].caption
    numbers = large["positions-positions-vectors"].numbers
    assert numbers["positions"][-1] == "20, 4"  # evenly spaced from the first row to the last
    row = int(numbers["positions"][-4].split(",")[0])
    np.testing.assert_allclose(numbers["vectors"][-4], module.table[row - 1, 0].detach(), atol=1e-6)


def test_a_large_grid_of_sinusoids_has_clocks_of_all_rows():
    figures, _ = of_grid(Positions.sinusoidal_2d, (40, 2))
    periods = figures["positions-positions-rows-periods"].numbers["periods"]
    np.testing.assert_allclose(periods, 2 * np.pi / frequencies(4).numpy(), rtol=1e-3)


def test_equal_vectors_of_two_modules_are_drawn_once():
    model = nn.ModuleDict({name: line(Positions.sinusoidal) for name in ("source", "target")})
    titles = {figure.title for figure in figures_of(positions.KIND, model).values()}
    assert all(title.startswith("source and target") for title in titles)


def test_a_model_without_absolute_positions_has_none():
    model = nn.ModuleDict({"positions": AbsolutePositions(Positions.rotary, Combine.add, 8, 20)})
    with pytest.raises(LookupError, match="no absolute positions"):
        figures_of(positions.KIND, model)


def test_vectors_of_a_module_are_on_its_device_and_of_its_length():
    module = line(Positions.learnable_sinusoidal)
    expected = sinusoids(torch.arange(5), module.frequency)
    torch.testing.assert_close(module.vectors(5), expected)


@pytest.mark.parametrize("scheme", GRIDS)
def test_figures_can_be_drawn(scheme):
    for figure in of_grid(scheme)[0].values():
        assert svg(figure.picture).startswith("<svg")
