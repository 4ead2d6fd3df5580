"""Shared by the tests of the models: one thread, seeded, both attention backends."""

from __future__ import annotations

import pytest
import torch

from tformer_cli.nn import backend as backends


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)


@pytest.fixture(params=["explicit", "fused"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once a backend."""
    monkeypatch.setattr(backends, "attention", request.param)
    return request.param
