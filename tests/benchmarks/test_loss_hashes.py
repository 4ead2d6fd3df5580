"""The seeded hashes that a refactoring is held against are the same twice; another seed changes them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.properties.families import FAMILIES, VARIANTS, family_named
from tformer_cli import machine

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "loss_hashes.py"


def load(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    spec = importlib.util.spec_from_file_location("loss_hashes", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "loss_hashes", module)  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def test_the_same_twice_and_others_with_another_seed(tmp_path, monkeypatch):
    script = load(monkeypatch)
    vit = family_named("vit")
    first, second = (script.run_hashes(vit, tmp_path / name) for name in ("first", "second"))
    assert first == second
    config = type(vit).config
    monkeypatch.setattr(type(vit), "config", lambda self, folder, *more: config(self, folder, *more, "seed=2"))
    other = script.run_hashes(vit, tmp_path / "other")
    assert other.weights != first.weights and other.metrics != first.metrics and other.optimizer != first.optimizer


def test_a_tensor_is_hashed_with_its_name_type_shape_and_bytes(tmp_path, monkeypatch):
    script = load(monkeypatch)
    tensors = [
        {"a": torch.zeros(2, 2)}, {"b": torch.zeros(2, 2)}, {"a": torch.zeros(4)},
        {"a": torch.zeros(2, 2, dtype=torch.int32)}, {"a": torch.full((2, 2), 1e-30)},
    ]  # fmt: skip
    hashes = set()
    for number, content in enumerate(tensors):
        save_file(content, tmp_path / f"{number}.safetensors")
        hashes.add(script.tensors_hash(tmp_path / f"{number}.safetensors"))
    assert len(hashes) == len(tensors)


def test_the_loss_of_a_step_of_several_phases_is_that_of_the_last(tmp_path, monkeypatch):
    script = load(monkeypatch)
    hashes = script.run_hashes(family_named("sagan"), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert hashes.loss == [line for line in lines if "train/generator/loss" in line][-1]["train/generator/loss"]


def test_every_family_has_its_own_name():
    names = [family.name for family in (*FAMILIES, *VARIANTS)]
    assert len(set(names)) == len(names)
