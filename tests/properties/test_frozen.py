"""A frozen encoder computes the same in training as in evaluation."""

from __future__ import annotations

import pytest
import torch

from tests.properties.families import batch_of, family_named
from tformer_cli import tasks
from tformer_cli.config.compose import override
from tformer_cli.train.learner import seed_step

FROZEN = ("text classification", "recurrent tagging", "causal tagging", "question answering", "vit", "resnet")
"""A family of each kind of encoder and head."""


@pytest.mark.parametrize("name", FROZEN)
@torch.no_grad()
def test_a_frozen_encoder_has_no_dropout(name, tmp_path):
    config = family_named(name).config(tmp_path, "head.frozen=true", "head.dropout=0")
    if name != "resnet":
        config = override(config, ["model.dropout=0.5"])  # as in a recipe; on the command line it is refused
    task = tasks.build(config)
    task.prepare(tmp_path)
    objective, batch, model = task.phases[0].objective, batch_of(task, "train", 0, 0), task.model().train()
    for value in model.parameters():
        value.add_(0.1 * torch.randn_like(value))
    losses = []
    for seed in (1, 2):
        seed_step(seed, 1, 0)
        losses.append(objective.loss(model, objective.outputs(model, batch), batch).total.item())
    assert losses[0] == losses[1]
    frozen = set(model.encoder.modules())
    for training in (False, True):
        model.train(training)
        assert {module.training for module in model.modules() if module not in frozen} == {training}
        assert not any(module.training for module in frozen)
