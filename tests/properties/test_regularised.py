"""What must hold of training with regularisers, too: properties of `test_training`."""

from __future__ import annotations

import pytest
import torch

from tests.properties.families import DISAGREE, FAMILIES, REGULARISED, Family, batch_of, family_named
from tests.properties.test_training import (
    test_a_rank_without_a_row_of_its_own_changes_nothing as test_a_rank_without_a_row_of_its_own_changes_nothing,
)
from tests.properties.test_training import test_accumulation_is_a_larger_batch as accumulation_is_a_larger_batch
from tests.properties.test_training import (
    test_resumed_run_ends_with_the_same_bytes as test_resumed_run_ends_with_the_same_bytes,
)
from tformer_cli.errors import ConfigError
from tformer_cli.train.learner import seed_step

WITH_HEADS = [
    family
    for family in FAMILIES
    if any(setting.startswith("model.heads=") for setting in family.settings) and family.name != "editing"
]
"""Families with attention. An editor has three losses of their own counts, and no regulariser yet."""


@pytest.fixture(params=REGULARISED, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


def test_accumulation_is_a_larger_batch(family, tmp_path):
    accumulation_is_a_larger_batch(family, tmp_path, clip_norm=0)


@pytest.mark.parametrize("of", WITH_HEADS, ids=lambda family: family.name)
def test_a_disagreement_is_the_same_however_a_step_is_divided(of, tmp_path):
    settings = [*of.settings, *DISAGREE]
    accumulation_is_a_larger_batch(Family(of.name, of.recipe, settings, of.inputs, of.same), tmp_path, clip_norm=0)


def test_an_editor_refuses_regularisers(tmp_path):
    for setting in (DISAGREE[0], "regularise.consistency=1"):
        with pytest.raises(ConfigError, match="the loss of this task is a sum of several means"):
            family_named("editing").task(tmp_path, setting)


def test_bfloat16_has_the_parts_of_float32(family, tmp_path):
    """Products are computed in bfloat16; cosines and divergences in float32."""
    task = family.task(tmp_path, "model.dropout=0")
    objective, batch = task.phases[0].objective, batch_of(task, "train", 0, 0)
    objective.begin_step(1)
    seed_step(1, 0, 0)
    model = task.model().train()
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = objective.loss(model, objective.outputs(model, batch), batch)
        gradients = torch.autograd.grad(loss.total, [value for value in model.parameters() if value.requires_grad])
        assert all(gradient.isfinite().all() for gradient in gradients)
        losses.append({"loss": loss.total, **loss.parts})
    for name, value in losses[0].items():
        assert float(losses[1][name].detach()) == pytest.approx(float(value.detach()), rel=0.03, abs=0.3), name
