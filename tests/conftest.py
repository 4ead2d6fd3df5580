"""Fixtures and settings that all tests share."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tformer_cli.nn import backend as backends

torch.set_num_threads(1)
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="tformer-cache-")  # never the user's own


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from this process and those that it starts; only `-m gpu`, which selects the tests for GPUs, sees them.

    The variable has an effect as long as nothing has asked CUDA for its devices.
    """
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


gc.disable()  # until all modules are imported, whose objects stay to the end


def pytest_collection_finish() -> None:
    """Leave the objects of modules out of garbage collections, which take a tenth of the time otherwise."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt`; a shell starts background commands with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def same_backend():
    """A run that a test launched chooses an attention backend for the whole process: no other test may notice."""
    kept = backends.attention
    yield
    backends.attention = kept


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws of torch does not depend on the tests before it."""
    torch.manual_seed(1)


@pytest.fixture(params=["explicit", "fused"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once an attention backend."""
    monkeypatch.setattr(backends, "attention", request.param)
    return request.param


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real data, where it lies on this machine."""
    folder = Path(os.environ.get("TFORMER_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set TFORMER_DATA)")
    return folder
