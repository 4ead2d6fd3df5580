"""Counting the work of a step leaves the step as it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tformer_cli.config.schema import Activation
from tformer_cli.data.core.batch import Batch
from tformer_cli.machine import Machine
from tformer_cli.nn.feedforward import FeedForward
from tformer_cli.train.throughput import Throughput


class Rows(Batch):
    def sizes(self) -> tuple[int, int]:
        return len(self.sample_ids), len(self.sample_ids)


@pytest.mark.parametrize("activation", list(Activation))
def test_counting_changes_no_gradient(activation):
    torch.manual_seed(0)
    layer, x = FeedForward(16, 40, activation), torch.randn(200, 16)

    def gradient() -> torch.Tensor:
        layer.zero_grad()
        layer(x).square().sum().backward()
        assert layer.project_in.weight.grad is not None
        return layer.project_in.weight.grad.clone()

    plain = gradient()
    throughput = Throughput(Machine(torch.device("cpu"), "fp32", "explicit", 1, 1e9), ranks=1)
    with throughput.counting([Rows(torch.arange(200))]):
        counted = gradient()
    assert torch.equal(counted, plain)
    # two products forward, one for the input of the second, and one for each weight
    shapes = layer.project_in.weight.numel() + layer.project_out.weight.numel()
    products = 2 * 200 * (2 * shapes + layer.project_out.weight.numel())
    assert throughput.flops_per_unit == products / 200


def test_a_step_is_compiled_after_its_work_is_counted():
    """PyTorch would never compile a function that it first met while it counted operations."""
    graphs, layer = [], nn.Linear(3, 3)

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    layer.forward = lambda x: x + x
    layer.compile(backend=backend)
    throughput = Throughput(Machine(torch.device("cpu"), "fp32", "explicit", 1, 1e9), ranks=1)
    with throughput.counting([Rows(torch.arange(200))]):
        layer(torch.ones(3))
    assert not graphs
    layer(torch.ones(3))
    assert len(graphs) == 1


class Pictures(Rows):
    is_padded = False


@pytest.mark.parametrize(("kind", "targets"), [(Rows, 4), (Pictures, 4), (Pictures, 9)])
def test_rates_say_nothing_twice(kind, targets):
    throughput = Throughput(Machine(torch.device("cpu"), "fp32", "explicit", 1, 1e9), ranks=1)
    batch = kind(torch.arange(4))
    with throughput.counting([batch]):
        pass
    throughput.add([batch], 0.0, [torch.tensor(targets)])
    names = set(throughput.read())
    assert ("padding_percent" in names) == ("padded_tokens_per_second" in names) == (kind is Rows)
    assert ("targets_per_second" in names) == (kind is Rows or targets == 9)
