"""The start of a run: what is checked, and announced, in which order."""

from __future__ import annotations

import contextlib

import pytest
import torch

from tests.properties.families import SENTIMENT
from tformer_cli.config.compose import compose
from tformer_cli.console import Console
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.evaluators.text_classification import TextClassificationEvaluator
from tformer_cli.train.launch import launch
from tformer_cli.train.parallel import join


def test_libraries_are_imported_before_the_time_of_preparations_is_taken(tmp_path, monkeypatch):
    events: list[str] = []

    @contextlib.contextmanager
    def if_slow(self, line):
        events.append(f"begins: {line}")
        yield

    monkeypatch.setattr(Console, "if_slow", if_slow)
    monkeypatch.setattr(TextClassificationEvaluator, "libraries", lambda self: events.append("libraries") or [])
    config = compose("text/classification", [f"data.path={SENTIMENT}", "data.text=wrong", f"data.cache={tmp_path}"])
    with pytest.raises(DataError, match="no column 'wrong'"):
        launch(config, tmp_path / "run", quiet=True)
    assert [event.partition(" (")[0] for event in events] == ["libraries", "begins: preparing the data"]


@pytest.mark.parametrize("rank", [0, 3])
def test_more_processes_than_gpus_are_one_line(monkeypatch, rank):
    """Every rank reports it at once, before it waits for the others."""
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError) as caught:
        join("cuda", 45.0)
    message = "--processes: 4 processes need 4 GPUs, and this machine has 1: use at most 1, or trainer.device=cpu"
    assert str(caught.value) == message
