"""Figures of speed: they measure the work of the first example, for every family, and only if they are named."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.figures.models import figures_of
from tests.properties.families import FAMILIES
from tformer_cli.cli.inspect import chosen_kinds
from tformer_cli.draw import Bars, Curves, svg
from tformer_cli.figures import throughput
from tformer_cli.inspectors.base import Example, Load, repeated, sizes_up_to


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(throughput, "RATE_SECONDS", 0.0)
    monkeypatch.setattr(throughput, "LARGEST_SECONDS", 0.0)


def test_each_size_is_measured_without_gradients():
    calls = []

    def prepare(batch, size):
        def run():
            calls.append((batch, size, torch.is_grad_enabled()))

        return run

    lines: list[str] = []
    example = Example("text", lambda: None, load=Load("tokens", [4, 8], prepare))
    drawn = figures_of(throughput.KIND, nn.Linear(1, 1), examples=[example], report=lines.append)
    numbers = drawn["throughput-speed"].numbers
    assert numbers["sizes"] == [4, 8] and all(rate > 0 for rate in numbers["examples_per_second"])
    assert {size for _, size, _ in calls} == {4, 8} and not any(gradients for *_, gradients in calls)
    assert (throughput.BATCH, 4, False) in calls
    assert all(batch >= 0 for batch in drawn["throughput-largest-batch"].numbers["batches"])
    assert "speed with 4 tokens ..." in lines


def test_making_the_batch_is_not_timed(monkeypatch):
    monkeypatch.setattr(throughput, "largest_figure", lambda *_: ())

    def prepare(batch, size):
        time.sleep(0.2)  # which would give 8 / 0.2 examples a second at most
        return lambda: None

    example = Example("text", lambda: None, load=Load("tokens", [4], prepare))
    drawn = figures_of(throughput.KIND, nn.Linear(1, 1), examples=[example])
    assert drawn["throughput-speed"].numbers["slowest"][0] > 10 * throughput.BATCH / 0.2


def test_a_single_size_is_a_bar_and_several_are_a_curve():
    for sizes, picture in (([256], Bars), ([4, 8], Curves)):
        example = Example("image", lambda: None, load=Load("pixels", sizes, lambda *shape: lambda: torch.ones(shape)))
        drawn = figures_of(throughput.KIND, nn.Linear(1, 1), examples=[example])
        assert len(drawn) >= 1 and all(type(figure.picture) is picture for figure in drawn.values())
        assert all(svg(figure.picture).startswith("<svg") for figure in drawn.values())


def test_it_is_drawn_only_if_it_is_named():
    assert "throughput" not in chosen_kinds("") and list(chosen_kinds("throughput")) == ["throughput"]


def test_an_example_is_repeated():
    assert repeated(torch.tensor([[1, 2, 3]]), 5, 2).tolist() == [[1, 2, 3, 1, 2]] * 2
    assert repeated(torch.arange(4.0).view(1, 2, 2), 3, 1)[0].tolist() == [[0, 1], [2, 3], [0, 1]]
    assert sizes_up_to(100) == [16, 32, 64] and sizes_up_to(9) == [9]


def test_without_examples_there_is_none():
    with pytest.raises(LookupError, match="cannot be repeated"):
        figures_of(throughput.KIND, nn.Linear(1, 1), inspector=SimpleNamespace())


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_work_of_each_family_runs(family, tmp_path):
    task = family.task(tmp_path)
    model = task.model().eval()
    (example,) = task.inspector.of_split(model, "validation", 1)
    if example.load is None:
        assert example.image is not None  # generated images
        return
    for size in (example.load.sizes[0], example.load.sizes[-1]):
        with torch.inference_mode():
            example.load.prepare(3, size)()
