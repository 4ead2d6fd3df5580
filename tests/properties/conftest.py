"""Short runs of every family, which the tests of properties share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.properties.families import FAMILIES, Family
from tformer_cli import builtin
from tformer_cli.config.schema import Experiment
from tformer_cli.train.launch import launch

SETTINGS = [
    "trainer.log_every=2", "trainer.evaluate_every=4", "trainer.checkpoint_every=2", "trainer.keep=9",
    "trainer.evaluate_limit=4", "trainer.ema=0.9", "trainer.accumulate=2", "model.dropout=0.3",
]  # fmt: skip
"""Logs, evaluations and checkpoints at different steps; dropout, and an average that a checkpoint must contain."""


@dataclass(frozen=True)
class Trained:
    """A run of six steps with `SETTINGS` that was not interrupted. Tests read it, or change a copy."""

    family: Family
    folder: Path

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "run"

    def config(self, *more: str) -> Experiment:
        """Return the configuration of the run, with other settings after its own."""
        return self.family.config(self.folder, *SETTINGS, "trainer.steps=6", *more)

    def copy(self, run: Path) -> Path:
        """Copy the run folder, as a substitute for another uninterrupted run."""
        return Path(shutil.copytree(self.run, run))


@pytest.fixture(autouse=True)
def fewer_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce built-in validation splits from 500 sentences to 100, since decoding takes long."""
    parallel = builtin.parallel

    def fewer(name: str, split: str, *, size: int = 0, seed: int = 1) -> list[tuple[str, str]]:
        return parallel(name, split, size=size or 100, seed=seed)

    monkeypatch.setattr(builtin, "parallel", fewer)


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request):
    return request.param


@pytest.fixture(scope="session")
def train_once(tmp_path_factory) -> Callable[[Family], Trained]:
    """Return a function that trains a family at its first call; several tests compare with this run."""
    runs: dict[str, Trained] = {}

    def train(family: Family) -> Trained:
        if family.name not in runs:
            trained = Trained(family, tmp_path_factory.mktemp("trained"))
            launch(trained.config(), trained.run, quiet=True)
            runs[family.name] = trained
        return runs[family.name]

    return train


@pytest.fixture
def trained(family: Family, train_once: Callable[[Family], Trained]) -> Trained:
    return train_once(family)
