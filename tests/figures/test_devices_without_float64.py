"""Figures on devices without float64, such as Apple's: tensors are moved to the CPU before they are converted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.figures.models import figures_of
from tformer_cli.analysis.importance import integrated_gradients, occlusion
from tformer_cli.config.schema import Combine, Positions
from tformer_cli.figures import filters, positions, relative
from tformer_cli.models.vit import ViTConfig
from tformer_cli.models.vit.model import ViT
from tformer_cli.nn.attention import Attention
from tformer_cli.nn.grid import GridBias, GridPositions
from tformer_cli.nn.positions import AbsolutePositions, T5Bias


@pytest.fixture(autouse=True)
def float64_on_the_cpu_alone(monkeypatch):
    """Let only tensors that `cpu` has returned be converted to float64."""
    cpu, double = torch.Tensor.cpu, torch.Tensor.double

    def moved(tensor):
        result = cpu(tensor)
        result.is_moved = True
        return result

    def converted(tensor):
        assert getattr(tensor, "is_moved", False), "float64 on the device"
        return double(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", moved)
    monkeypatch.setattr(torch.Tensor, "double", converted)


@pytest.mark.parametrize("scheme", [Positions.learned, Positions.learnable_sinusoidal, Positions.learned_2d])
def test_absolute_positions(scheme):
    if scheme is Positions.learned_2d:
        module: nn.Module = GridPositions(scheme, Combine.add, 8, (3, 4), class_token=True)
    else:
        module = AbsolutePositions(scheme, Combine.add, 8, 20)
    assert figures_of(positions.KIND, nn.ModuleDict({"positions": module}))


@pytest.mark.parametrize("scheme", [Positions.shaw, Positions.transformer_xl, Positions.rotary])
def test_relative_positions(scheme):
    module = Attention(16, 2, positions=scheme, relative_distance=4, decoder=False)
    assert figures_of(relative.KIND, nn.ModuleList([module]))


def test_biases_of_scores():
    modules = [T5Bias(2, 8, bidirectional=True), GridBias(2, (3, 4), class_token=True)]
    assert len(figures_of(relative.KIND, nn.ModuleList(modules))) == 3


def test_filters():
    config = ViTConfig(dim=16, heads=2, ffn_dim=16, depth=1, patch_size=4)
    assert figures_of(filters.KIND, ViT(config, 16, 3))


def test_importance():
    def score(inputs: torch.Tensor) -> torch.Tensor:
        return inputs.sin().flatten(1).sum(1)

    inputs = torch.randn(3, 2)
    assert integrated_gradients(score, inputs, torch.zeros_like(inputs)).attributions.shape == (3, 2)
    assert occlusion(score, inputs, 0.0).shape == (3,)
