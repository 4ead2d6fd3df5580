"""Measurements of the machine before a run."""

from __future__ import annotations

import os

import pytest
import torch

from tformer_cli import machine
from tformer_cli.config.schema import Device


@pytest.mark.parametrize(("row_seconds", "most_seconds", "rows"), [(2e-5, 1.0, 2048), (8e-3, 3.0, 31), (0.1, 20.0, 16)])
def test_slow_products_are_measured_with_fewer_rows(monkeypatch, row_seconds, most_seconds, rows):
    """A CPU without bfloat16 instructions computes its products a hundred times as slowly as those of float32."""
    measured, total = [], []

    def seconds(work, device, repeats=5):
        measured.append(work().shape[0])
        total.append((repeats + 2) * measured[-1] * row_seconds)
        return measured[-1] * row_seconds

    monkeypatch.setattr(machine, "seconds", seconds)
    rate = machine.product_rate.__wrapped__(torch.device("cpu"), torch.float32)
    assert measured[-1] == rows and sum(total) < most_seconds
    assert rate == pytest.approx(2 * 512 * 2048 / row_seconds)


@pytest.mark.parametrize(("cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_a_cpu_is_taken_rather_than_mps(monkeypatch, cuda, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert machine.pick_device(Device.auto).type == expected


def test_subnormal_numbers_become_zero():
    """Processors compute slowly with them."""
    before = machine.flushes_subnormals()
    tiny = torch.tensor([1e-30, 1.0])
    try:
        torch.set_flush_denormal(False)
        assert not machine.flushes_subnormals() and (tiny * 1e-10)[0] > 0
        machine.tune_process()
        assert machine.flushes_subnormals() and (tiny * 1e-10).tolist() == [0, torch.tensor(1e-10).item()]
    finally:
        torch.set_flush_denormal(before)


def test_tests_compute_on_a_cpu():
    """Except those of `-m gpu`, where there is a GPU: `auto` would take it, and results differ by rounding."""
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert machine.pick_device(Device.auto).type == "cpu"
