"""One optimiser step equals the same step by PyTorch's AdamW and gradient clipping."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.properties.families import FAMILIES, Family, family_named
from tests.properties.test_training import trainer_of
from tests.properties.waits import Waits
from tformer_cli.config.schema import OptimConfig
from tformer_cli.train.learner import seed_step
from tformer_cli.train.optim import build_optimizer


def test_adamw_takes_the_steps_of_its_equation_where_epsilon_counts():
    """Gradients are as small as epsilon, so that its value affects the steps (Loshchilov and Hutter 2019, alg. 2)."""
    config = OptimConfig(lr=0.1)
    assert (config.beta1, config.beta2, config.eps) == (0.9, 0.98, 1e-9)  # Vaswani et al. 2017, section 5.3
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    optimizer = build_optimizer(model, config)
    gradient = torch.tensor([[1e-9, 3e-9, 1e-7]])
    first, second, expected = torch.zeros(1, 3).double(), torch.zeros(1, 3).double(), torch.zeros(1, 3).double()
    for step in range(1, 4):
        model.weight.grad = gradient.clone()
        optimizer.grad_scale, optimizer.found_inf = torch.ones(()), torch.zeros(())
        optimizer.step()
        first = 0.9 * first + 0.1 * gradient.double()
        second = 0.98 * second + 0.02 * gradient.double() ** 2
        corrected = first / (1 - 0.9**step), (second / (1 - 0.98**step)).sqrt()
        expected -= 0.1 * corrected[0] / (corrected[1] + 1e-9)
    torch.testing.assert_close(model.weight.detach().double(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("clip_norm", [0.0, 0.01, 1e6])
@pytest.mark.parametrize("name", ["translation", "gpt"])
def test_a_step_clips_the_global_norm_as_pytorch_does(name, clip_norm, tmp_path):
    """The optimiser receives the gradient of `clip_grad_norm_`; 0 disables clipping."""
    family = family_named(name)
    task = family.task(tmp_path, "model.dropout=0", "optim.method=adamw", f"optim.clip_norm={clip_norm}")
    trainer = trainer_of(task, tmp_path)
    batch = task.view("train").collate(0, np.arange(6))
    reference = copy.deepcopy(trainer.model).train()
    seed_step(task.config.seed, 1, 0)
    loss = task.loss(reference, batch)
    (loss.total / loss.count).backward()
    norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), clip_norm or float("inf"))
    assert norm > 0.02  # the small limit has an effect

    trainer.model.train()
    trainer.progress.step = 1
    sums = trainer.train_step([batch])
    assert float(sums["gradient_norm"]) == pytest.approx(float(norm), rel=1e-4)
    for actual, expected in zip(trainer.model.parameters(), reference.parameters(), strict=True):
        moment = trainer.phases[0].optimizer.state[actual]["exp_avg"] / (1 - task.config.optim.beta1)
        torch.testing.assert_close(
            moment, expected.grad, rtol=1e-3, atol=1e-6 * float(expected.grad.abs().max() + 1e-9)
        )


@pytest.mark.parametrize(
    "name", ["recurrent translation", "Luong with input feeding", "recurrent question answering", "translation"]
)
def test_backward_runs_outside_of_autocast(name, tmp_path):
    """Gradients of layers that compute in float32, such as recurrent ones, are not rounded to bfloat16."""
    task = family_named(name).task(tmp_path, "model.dropout=0", "optim.method=adamw", "optim.clip_norm=0")
    trainer = trainer_of(task, tmp_path)
    trainer.machine.precision = "bf16"
    reference = copy.deepcopy(trainer.model).train()
    batch = task.view("train").collate(0, np.arange(6))
    with trainer.machine.autocast():
        loss = task.loss(reference, batch)
    loss.total.backward()

    trainer.model.train()
    trainer.progress.step = 1
    trainer.train_step([batch])
    for actual, expected in zip(trainer.model.parameters(), reference.parameters(), strict=True):
        gradient = expected.grad / loss.count
        moment = trainer.phases[0].optimizer.state[actual]["exp_avg"] / (1 - task.config.optim.beta1)
        torch.testing.assert_close(moment, gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max() + 1e-9))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_step_makes_no_tensor_from_numbers_on_the_device(family: Family, tmp_path):
    """`torch.tensor(number, device=...)` waits for a GPU; `torch.full` does not."""
    task = family.task(tmp_path)
    trainer = trainer_of(task, tmp_path)
    trainer.model.train()
    trainer.progress.step = 1
    batch = task.view("train").collate(0, np.arange(6))
    with Waits() as waits:
        trainer.train_step([batch] * len(trainer.updates))
    assert not waits.calls
