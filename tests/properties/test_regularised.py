"""Training with regularisers has the properties of `test_training`, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.properties.families import DISAGREE, FAMILIES, REGULARISED, Family, batch_of, family_named
from tests.properties.test_training import (
    test_a_rank_without_a_row_of_its_own_changes_nothing as a_rank_without_a_row_of_its_own_changes_nothing,
)
from tests.properties.test_training import test_accumulation_is_a_larger_batch as accumulation_is_a_larger_batch
from tests.properties.test_training import test_resumed_run_ends_with_the_same_bytes as resumed_run_ends_with_the_same
from tformer_cli.errors import ConfigError
from tformer_cli.objectives.consistency import Consistency
from tformer_cli.train.learner import seed_step

WITH_HEADS = [
    family
    for family in FAMILIES
    if any(setting.startswith("model.heads=") for setting in family.settings) and family.name != "editing"
]
"""Families with attention. The loss of an editor is a sum of several means, which regularisers do not support."""


@pytest.fixture(params=REGULARISED, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture
def consistencies(monkeypatch) -> list[float]:
    """Return a list that receives the divergence of the two passes over each batch of a test."""
    values, loss = list[float](), Consistency.loss

    def noted(self, model, outputs, batch):
        result = loss(self, model, outputs, batch)
        values.extend(float(part) for name, part in result.parts.items() if name == "consistency")
        return result

    monkeypatch.setattr(Consistency, "loss", noted)
    return values


@contextmanager
def fixed_masks(model: nn.Module) -> Iterator[None]:
    """Drop every fourth component of each normalised vector, the same ones in all batches."""

    def mask(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output * (torch.arange(output.shape[-1]) % 4 > 0)

    hooks = [layer.register_forward_hook(mask) for layer in model.modules() if isinstance(layer, nn.LayerNorm)]
    yield
    for hook in hooks:
        hook.remove()


def test_accumulation_is_a_larger_batch(family, tmp_path, monkeypatch, consistencies):
    """Instead of dropout, the second pass has masks that do not depend on the division into micro-batches."""

    def outputs(self, model, batch):
        first = self.objective.outputs(model, batch)
        with fixed_masks(model):
            return first, self.objective.outputs(model, self.second(batch))

    monkeypatch.setattr(Consistency, "outputs", outputs)
    accumulation_is_a_larger_batch(family, tmp_path, clip_norm=0)
    assert min(consistencies) > 0


def test_a_rank_without_a_row_of_its_own_changes_nothing(family, tmp_path, consistencies):
    a_rank_without_a_row_of_its_own_changes_nothing(with_dropout(family), tmp_path)
    assert min(consistencies) > 0


def test_resumed_run_ends_with_the_same_bytes(family, train_once, tmp_path, consistencies):
    resumed_run_ends_with_the_same(train_once(family), tmp_path)
    assert min(consistencies) > 0


def with_dropout(family: Family) -> Family:
    return replace(family, settings=[*family.settings, "model.dropout=0.3"])


@pytest.mark.parametrize("of", WITH_HEADS, ids=lambda family: family.name)
def test_a_disagreement_is_the_same_however_a_step_is_divided(of, tmp_path):
    settings = [*of.settings, *DISAGREE]
    accumulation_is_a_larger_batch(Family(of.name, of.recipe, settings, of.inputs, of.same), tmp_path, clip_norm=0)


def test_an_editor_refuses_regularisers(tmp_path):
    for setting in (DISAGREE[0], "regularise.consistency=1"):
        with pytest.raises(ConfigError, match="the loss of this task is a sum of several means"):
            family_named("editing").task(tmp_path, setting)


def test_bfloat16_has_the_parts_of_float32(family, tmp_path):
    """All parts are finite and near those of float32, although products are computed in bfloat16."""
    task = family.task(tmp_path, "model.dropout=0.3")
    objective, batch = task.phases[0].objective, batch_of(task, "train", 0, 0)
    objective.begin_step(1)
    seed_step(1, 0, 0)
    model = task.model().train()
    losses = []
    for enabled in (False, True):
        seed_step(1, 1, 0)  # the same masks
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = objective.loss(model, objective.outputs(model, batch), batch)
        gradients = torch.autograd.grad(loss.total, [value for value in model.parameters() if value.requires_grad])
        assert all(gradient.isfinite().all() for gradient in gradients)
        losses.append({"loss": loss.total, **loss.parts})
        assert loss.parts["consistency"] > 0
    for name, value in losses[0].items():
        tolerance = {"rel": 0.1} if name == "consistency" else {"rel": 0.03, "abs": 0.3}
        assert float(losses[1][name].detach()) == pytest.approx(float(value.detach()), **tolerance), name
