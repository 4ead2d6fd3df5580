"""Figures of importance: their numbers beside closed forms, completeness, and the models of all families."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tests.figures.models import figures_of
from tests.properties.families import family_named
from tformer_cli.draw import svg
from tformer_cli.figures import importance
from tformer_cli.inspectors.base import Axis, Example, Explained

WEIGHTS = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]])
VECTORS = torch.tensor([[2.0, 1.0], [-1.0, 4.0], [7.0, 0.0]])


def figure_of(explained, **more):
    example = Example("text", lambda: None, answer="good 0.9", explained=lambda: explained, **more)
    (figure,) = figures_of(importance.KIND, nn.Linear(1, 1), examples=[example]).values()
    assert svg(figure.picture).startswith("<svg") and figure.example == "text"
    return figure


def test_the_parts_of_a_linear_score_of_tokens():
    baseline = torch.stack((VECTORS[0], torch.zeros(2), torch.zeros(2)))  # the first is a mark
    explained = Explained("logit", VECTORS, lambda batch: (batch * WEIGHTS).sum((1, 2)) + 5, baseline)
    figure = figure_of(explained, encoder=Axis.of_tokens(["<s>", "a", "b"]))
    effects = (VECTORS * WEIGHTS).sum(-1).numpy()
    np.testing.assert_allclose(figure.numbers["gradient x input"], effects, atol=1e-5)
    for method in ("occlusion", "integrated gradients"):
        np.testing.assert_allclose(figure.numbers[method], [0, *effects[1:]], atol=1e-5)
    assert abs(figure.numbers["completeness_error"]) < 1e-5
    assert figure.numbers["tokens"] == ["<s>", "a", "b"]
    assert np.abs(figure.picture.rows[0].weights).max() == pytest.approx(1)


def test_the_parts_of_a_linear_score_of_an_image():
    torch.manual_seed(0)
    weights, image = torch.randn(3, 16, 24), torch.randn(3, 16, 24)
    explained = Explained("logit", image, lambda batch: (batch * weights).sum((1, 2, 3)), torch.zeros(3, 16, 24))
    figure = figure_of(explained, image=np.zeros((16, 24, 3), np.uint8))
    effects = (image * weights).sum(0).numpy()
    for method in ("gradient x input", "integrated gradients"):
        np.testing.assert_allclose(figure.numbers[method], effects, atol=1e-4)
    assert figure.numbers["tops"] == list(range(15)) and figure.numbers["lefts"] == list(range(23))
    assert figure.numbers["drops"][0, 1] == pytest.approx(effects[0:2, 1:3].sum(), abs=1e-3)
    assert figure.numbers["difference"] == pytest.approx(effects.sum(), abs=1e-3)


def test_a_large_image_is_drawn_in_blocks_that_add_up():
    values = np.random.default_rng(0).normal(size=(130, 70))
    blocks = importance.cells(values)
    assert blocks.shape == (44, 24)
    assert blocks[1, 2] == pytest.approx(values[3:6, 6:9].sum())
    assert blocks.sum() == pytest.approx(values.sum())


def test_a_long_text_has_no_occlusion(monkeypatch):
    monkeypatch.setattr(importance, "MOST_TOKENS", 2)
    explained = Explained("logit", VECTORS, lambda batch: (batch * WEIGHTS).sum((1, 2)), torch.zeros(3, 2))
    figure = figure_of(explained, encoder=Axis.of_tokens(["a", "b", "c"]))
    assert "occlusion" not in figure.numbers and "no occlusion" in figure.caption


def test_models_without_a_score_to_explain_have_none():
    example = Example("text", lambda: None)
    with pytest.raises(LookupError, match="does not predict a label"):
        figures_of(importance.KIND, nn.Linear(1, 1), examples=[example], inspector=SimpleNamespace())


@pytest.mark.parametrize("name", ["text classification", "recurrent classification", "vit"])
def test_importance_of_a_task_is_complete(name, tmp_path):
    task = family_named(name).task(tmp_path)
    torch.manual_seed(0)
    model = task.model().eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    examples = task.inspector.of_split(model, "validation", 2)
    for figure in figures_of(importance.KIND, model, examples=examples, inspector=task.inspector).values():
        assert np.sum(figure.numbers["integrated gradients"]) == pytest.approx(
            figure.numbers["difference"] + figure.numbers["completeness_error"], abs=1e-3
        )
        assert abs(figure.numbers["completeness_error"]) < 0.02 * abs(figure.numbers["difference"]) + 1e-3
