"""A run that is killed at a change of a file and resumed ends with the same bytes as an uninterrupted run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.properties.families import family_named
from tformer_cli import machine
from tformer_cli.runs.checkpoint import Checkpoints, damage
from tformer_cli.train.launch import launch

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")
FAMILY = family_named("text classification")
SETTINGS = [
    "trainer.steps=4", "trainer.log_every=1", "trainer.checkpoint_every=2", "trainer.evaluate_every=2",
    "trainer.keep=1", "trainer.keep_best=1", "trainer.ema=0.9", "trainer.samples=1",
]  # fmt: skip
AVERAGED = ["trainer.keep_best=2", "trainer.average=best"]
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")


def train(tmp_path: Path, name: str, *, resume: bool = False) -> None:
    more = (tmp_path / "more").read_text().split() if (tmp_path / "more").exists() else []
    launch(FAMILY.config(tmp_path / "cache", *SETTINGS, *more), tmp_path / name, resume=resume, quiet=True)


def contents(run: Path) -> dict[str, object]:
    """Return all contents of a run that the seed determines, and the steps of each tag in TensorBoard's files."""
    parts: dict[str, object] = {"metrics": (run / "metrics.jsonl").read_bytes()}
    parts |= {name: (run / "checkpoints" / name).read_bytes() for name in ("best", "latest")}
    for path in sorted((run / "checkpoints").rglob("*")):
        if path.name == "state.json":
            state = json.loads(path.read_bytes())
            state.pop("seconds", None)
            state.get("offsets", {}).pop("performance.jsonl", None)
            parts[str(path.relative_to(run))] = state
        elif path.is_file() and path.name != "manifest.json":
            parts[str(path.relative_to(run))] = path.read_bytes()
    parts["result"] = {**json.loads((run / "result.json").read_bytes()), "minutes": 0}
    for part in ("train", "validation"):
        board = EventAccumulator(str(run / part))
        board.Reload()
        tags = board.Tags()
        parts |= {f"{part} {tag}": [event.step for event in board.Scalars(tag)] for tag in tags["scalars"]}
        parts |= {f"{part} {tag}": [event.step for event in board.Tensors(tag)] for tag in tags["tensors"]}
    return parts


def killed(tmp_path: Path, name: str, at: int) -> tuple[list[str], bool]:
    """Train in a forked process killed at its `at`-th change of a file; return the changes and whether it died."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        folder, count = str(tmp_path / name), 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal count
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if (writes or event in CHANGES) and any(str(part).startswith(folder) for part in arguments):
                count += 1
                os.write(writer, f"{arguments[0]}\n".encode())
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            train(tmp_path, name)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        changes = stream.read().decode().splitlines()
    return changes, os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.fixture(params=[[], AVERAGED], ids=["single", "averaged"])
def whole(tmp_path, monkeypatch, request):
    (tmp_path / "more").write_text(" ".join(request.param))
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    train(tmp_path, "whole")
    return contents(tmp_path / "whole")


def check(tmp_path: Path, at: int, whole: dict[str, object]) -> None:
    changes, dead = killed(tmp_path, "run", at)
    assert dead and len(changes) == at
    newest = Checkpoints(tmp_path / "run" / "checkpoints").latest()
    if newest is not None:
        best = Checkpoints(newest.parent).best()  # readers do not need a completed save
        assert damage(newest) == "" and (best is None or damage(best) == "")
    train(tmp_path, "run", resume=True)
    resumed = contents(tmp_path / "run")
    assert [name for name in resumed.keys() | whole.keys() if resumed.get(name) != whole.get(name)] == []
    assert not [path for path in (tmp_path / "run").rglob(".*") if path.name != ".lock"]
    shutil.rmtree(tmp_path / "run")


@LINUX
def test_killed_at_a_few_events(tmp_path, whole):
    """Most kills are in the end of the last save: pointers, retention, the average, the result."""
    changes, dead = killed(tmp_path, "counted", 0)
    assert len(changes) > 60 and not dead
    for name in ("/.latest.", "/.best.", ".step-00000002.deleting", "/averaged", "/.result.json."):
        events = [number for number, change in enumerate(changes, 1) if name in change]
        if events:
            check(tmp_path, events[-2 if name.endswith(".") else 0], whole)


@LINUX
@pytest.mark.slow
def test_killed_at_every_event(tmp_path, whole):
    changes, _ = killed(tmp_path, "counted", 0)
    step = int(os.environ.get("TFORMER_KILL_EVERY", "1"))
    for at in range(1, len(changes) + 1, step):
        check(tmp_path, at, whole)
