"""Properties of every family in bfloat16 on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.properties.families import FAMILIES
from tformer_cli.config.schema import Positions
from tformer_cli.nn import backend
from tformer_cli.nn.dropout import Dropout
from tformer_cli.tasks.task import Task

SUMS_AND_PRODUCTS = ("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "addcmul", "addcmul_")


class Slow(TorchDispatchMode):
    """Record operations that a CPU does not vectorise: sums and products of two types, and `bernoulli_` of dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        tensors = [x for x in tree_leaves(args) if isinstance(x, torch.Tensor) and x.dim() and x.is_floating_point()]
        if name in SUMS_AND_PRODUCTS and {torch.bfloat16, torch.float32} <= {x.dtype for x in tensors}:
            self.operations.append(f"{name}: {[(str(x.dtype), tuple(x.shape)) for x in tensors]}")
        if name == "bernoulli_":
            self.operations.append(name)
        return func(*args, **(kwargs or {}))


def slow_ways(task: Task, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the slow operations of a training step, forward and backward, with dropout wherever the family has it."""
    monkeypatch.setattr(backend, "attention", "explicit")
    model = task.model().train()
    for module in model.modules():
        if isinstance(module, Dropout):
            module.rate = 0.1
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.1
    batch = task.view("train").collate(0, np.arange(8))
    with Slow() as slow, torch.autocast("cpu", torch.bfloat16):
        task.loss(model, batch).total.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    return slow.operations


def test_bfloat16_takes_no_slow_way(family, tmp_path, monkeypatch):
    assert slow_ways(family.task(tmp_path), monkeypatch) == []


@pytest.mark.parametrize("positions", Positions, ids=lambda positions: positions.name)
def test_bfloat16_takes_no_slow_way_with_any_positions(positions, tmp_path, monkeypatch):
    (vit,) = (family for family in FAMILIES if family.name == "vit")
    task = vit.task(tmp_path, f"model.positions={positions.name}", "model.layer_scale=0.1")
    assert slow_ways(task, monkeypatch) == []
