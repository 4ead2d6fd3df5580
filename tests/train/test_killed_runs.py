"""A run that is killed at a file event ends, resumed, with the same bytes as one that was left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.properties.families import FAMILIES
from tformer_cli.train import machine
from tformer_cli.train.checkpoint import Checkpoints, damage
from tformer_cli.train.launch import launch
from tformer_cli.train.run import locate

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")
FAMILY = next(family for family in FAMILIES if family.name == "text classification")
SETTINGS = [
    "trainer.steps=4", "trainer.log_every=1", "trainer.checkpoint_every=2", "trainer.evaluate_every=2",
    "trainer.keep=1", "trainer.keep_best=2", "trainer.average=best", "trainer.ema=0.9", "trainer.samples=1",
]  # fmt: skip
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")


def train(tmp_path: Path, name: str, *, resume: bool = False) -> None:
    launch(FAMILY.config(tmp_path / "cache", *SETTINGS), tmp_path / name, resume=resume, quiet=True)


def contents(run: Path) -> dict[str, object]:
    """All of a run that the seed determines, and each step of each tag in TensorBoard's files."""
    found: dict[str, object] = {"metrics": (run / "metrics.jsonl").read_bytes()}
    for path in sorted((run / "checkpoints").rglob("*")):
        if path.name == "state.json":
            state = json.loads(path.read_bytes())
            state.pop("seconds", None)
            state.get("offsets", {}).pop("performance.jsonl", None)
            found[str(path.relative_to(run))] = state
        elif path.is_file() and path.name != "manifest.json":
            found[str(path.relative_to(run))] = path.read_bytes()
    found["result"] = {**json.loads((run / "result.json").read_bytes()), "minutes": 0}
    for part in ("train", "validation"):
        board = EventAccumulator(str(run / part))
        board.Reload()
        tags = board.Tags()
        found |= {f"{part} {tag}": [event.step for event in board.Scalars(tag)] for tag in tags["scalars"]}
        found |= {f"{part} {tag}": [event.step for event in board.Tensors(tag)] for tag in tags["tensors"]}
    return found


def killed(tmp_path: Path, name: str, at: int) -> tuple[int, bool]:
    """Train in a forked process that is killed at its `at`-th change of a file; how many there were, and whether."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        folder, count = str(tmp_path / name), 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal count
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if (writes or event in CHANGES) and any(str(part).startswith(folder) for part in arguments):
                count += 1
                os.write(writer, b".")
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            train(tmp_path, name)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        count = len(stream.read())
    return count, os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.fixture
def whole(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    train(tmp_path, "whole")
    return contents(tmp_path / "whole")


def check(tmp_path: Path, at: int, whole: dict[str, object]) -> None:
    count, dead = killed(tmp_path, "run", at)
    assert dead and count == at
    newest = Checkpoints(tmp_path / "run" / "checkpoints").latest()
    if newest is not None:
        assert damage(newest) == "" and damage(locate(tmp_path / "run")[1]) == ""
    train(tmp_path, "run", resume=True)
    assert contents(tmp_path / "run") == whole
    assert not [path for path in (tmp_path / "run").rglob(".*") if path.name != ".lock"]
    shutil.rmtree(tmp_path / "run")


@LINUX
@pytest.mark.parametrize("share", [0.35, 0.93, 0.97])
def test_killed_at_a_few_events(tmp_path, whole, share):
    count, dead = killed(tmp_path, "counted", 0)
    assert count > 60 and not dead
    check(tmp_path, int(share * count), whole)


@LINUX
@pytest.mark.slow
def test_killed_at_every_event(tmp_path, whole):
    count, _ = killed(tmp_path, "counted", 0)
    step = int(os.environ.get("TFORMER_KILL_EVERY", "1"))
    for at in range(1, count + 1, step):
        check(tmp_path, at, whole)
