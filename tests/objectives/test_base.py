"""Losses that are the sum of several means, each with a count of its own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from tformer_cli.data.core.batch import Batch
from tformer_cli.objectives.base import Loss, LossSums, Objective
from tformer_cli.train.learner import TrainingStep


@dataclass
class Places(Batch):
    """Values (B, 3), of which some are places of a first mean, and some of a second."""

    values: Tensor
    first: Tensor
    second: Tensor

    def part(self, rows: slice, *, idle: bool = False) -> Places:
        return Places(*(value[rows] for value in (self.sample_ids, self.values, self.first, self.second)), idle=idle)


class TwoMeans(Objective):
    """The mean of w x over the first places, and that of (w x)^2 over the second."""

    def __init__(self) -> None:
        self.label_smoothing = 0.0

    def outputs(self, model: nn.Module, batch: Places) -> Tensor:
        return model(batch.values[..., None])[..., 0]

    def counts(self, batch: Places) -> dict[str, Tensor]:
        return {"count": torch.tensor(len(batch.values)), "a_loss": batch.first.sum(), "b_loss": batch.second.sum()}

    def loss(self, model: nn.Module, outputs: Tensor, batch: Places) -> Loss:
        parts = {"a_loss": outputs[batch.first].sum(), "b_loss": outputs[batch.second].square().sum()}
        counts = self.counts(batch)
        return Loss(parts["a_loss"] + parts["b_loss"], counts.pop("count"), parts, counts)


@pytest.fixture
def places() -> Places:
    torch.manual_seed(0)
    values = torch.randn(6, 3, dtype=torch.float64)
    first, second = torch.rand(6, 3) < 0.3, torch.rand(6, 3) < 0.7
    assert first.sum() != second.sum() and first[:2].any()
    return Places(torch.arange(6), values, first, second)


def linear() -> nn.Linear:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 0.7)
    return model


@pytest.mark.parametrize("cuts", [[0, 6], [0, 2, 6], [0, 1, 2, 3, 4, 5, 6]])
def test_a_step_over_several_means_does_not_depend_on_its_division(places, cuts):
    """The gradient is that of the sum of the means over all examples, for any micro-batches."""
    objective, model = TwoMeans(), linear()
    parts = [places.part(slice(*rows)) for rows in zip(cuts, cuts[1:], strict=False)]
    counts = {name: sum(objective.counts(part)[name] for part in parts) for name in objective.counts(places)}
    losses = [TrainingStep(objective, model)(part, counts) for part in parts]
    sum(loss.total for loss in losses).backward()
    x, w = places.values, 0.7
    mean = (w * x[places.first]).mean() + (w * x[places.second]).square().mean()
    gradient = x[places.first].mean() + 2 * w * x[places.second].square().mean()
    count = sum(loss.count for loss in losses)
    assert int(count) == 6
    assert float(sum(loss.total.detach() for loss in losses) / count) == pytest.approx(float(mean), rel=1e-6)
    assert float(model.weight.grad / count) == pytest.approx(float(gradient), rel=1e-6)
    assert float(sum(loss.parts["a_loss"].detach() for loss in losses) / count) == pytest.approx(
        float((w * x[places.first]).mean()), rel=1e-6
    )


def test_an_idle_batch_adds_nothing_to_a_step_of_several_means(places):
    objective, model = TwoMeans(), linear()
    counts = objective.counts(places)
    loss = TrainingStep(objective, model)(places.part(slice(1), idle=True), counts)
    assert float(loss.total.detach()) == float(loss.count) == 0 and not any(
        float(part.detach()) for part in loss.parts.values()
    )


def test_scores_of_several_means_do_not_depend_on_the_division_into_batches(places):
    objective, model = TwoMeans(), linear()
    sums = LossSums()
    for row in range(6):
        batch = places.part(slice(row, row + 1))
        sums.add(LossSums.of(objective.loss(model, objective.outputs(model, batch), batch)))
    x, w = places.values, 0.7
    first, second = float((w * x[places.first]).mean()), float((w * x[places.second]).square().mean())
    assert sums.means() == pytest.approx({"loss": first + second, "a_loss": first, "b_loss": second})


def test_the_sums_of_a_loss_with_one_count_are_divided_by_it():
    sums = LossSums.of(Loss(torch.tensor(6.0), torch.tensor(3), {"nll": torch.tensor(4.5)}))
    sums.add(LossSums.of(Loss(torch.tensor(2.0), torch.tensor(1))))
    assert sums.means() == {"loss": 2.0, "nll": 1.125}
