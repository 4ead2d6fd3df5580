"""An interrupted save is completed or undone, and until then readers use the correct checkpoint."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tformer_cli.errors import RunError
from tformer_cli.runs import checkpoint as module
from tformer_cli.runs.checkpoint import Checkpoints, complete_save, damage, write_folder
from tformer_cli.runs.folder import Lock, locate


class Killed(BaseException):
    """An exception that simulates the end of the process, which no code catches."""


def files(step: int, best_step: int, score: float | None = None) -> dict[str, bytes]:
    state = {"step": step, "score": score, "loss": 0.5, "best": 1.0, "best_step": best_step, "metric": "bleu"}
    return {"model.safetensors": b"w" * step, "config.yaml": b"x", "state.json": json.dumps(state).encode()}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def last_save(folder: Path) -> None:
    """Write the last of three saves, the new best, which updates both pointers and removes a checkpoint."""
    Checkpoints(folder, keep=1).save(3, files(3, 3, 30.0))


@pytest.fixture
def begun(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(1, files(1, 1, 10.0))
    checkpoints.save(2, files(2, 1))
    return folder


def killed_at(number: int, monkeypatch) -> list[str]:
    """Kill the process at the `number`-th change of the disk, and return the list of changes so far."""
    events: list[str] = []

    def wrap(owner, name):
        real = getattr(owner, name)

        def counted(*arguments, **more):
            events.append(f"{name} {arguments[:1]}")
            if len(events) == number:
                raise Killed
            return real(*arguments, **more)

        monkeypatch.setattr(owner, name, counted)

    wrap(os, "replace")
    wrap(os, "fsync")
    wrap(module.shutil, "rmtree")
    return events


def events_of_a_save(begun, monkeypatch) -> int:
    copy = begun.parent / "counted"
    shutil.copytree(begun, copy)
    with monkeypatch.context() as patch:
        events = killed_at(0, patch)
        last_save(copy)
    return len(events)


def test_killed_anywhere_in_a_save_it_is_completed_or_undone(begun, monkeypatch, tmp_path):
    count, outcomes = events_of_a_save(begun, monkeypatch), set()
    assert count > 15
    expected = tree(tmp_path / "counted")
    for number in range(1, count + 1):
        folder = tmp_path / f"killed-{number}" / "checkpoints"
        shutil.copytree(begun, folder)
        with monkeypatch.context() as patch:
            killed_at(number, patch)
            with pytest.raises(Killed):
                last_save(folder)
        readers = Checkpoints(folder)
        newest = readers.latest()
        assert newest is not None and damage(newest) == ""
        assert readers.best() == readers.path(3 if newest.name.endswith("3") else 1)  # before the save is completed
        outcomes.add(newest.name)
        complete_save(folder)
        readers = Checkpoints(folder)
        assert not list(folder.glob(".*"))
        assert (folder / "latest").read_text() == readers.latest().name
        assert (folder / "best").read_text() == readers.best().name
        trainer = Checkpoints(folder, keep=1)
        trainer.clean()
        newest = trainer.newest(print)
        trainer.settle(newest)
        if newest.name.endswith("2"):  # undone, and the step is taken again
            last_save(folder)
        assert tree(folder) == expected
    assert len(outcomes) == 2


def test_readers_need_no_write_access(begun, tmp_path, monkeypatch):
    run = tmp_path
    (run / "config.yaml").write_text("x")
    last_save(begun)
    for pointer in ("best", "latest"):
        (begun / pointer).write_text("step-00000001")
    (begun / ".step-00000004.writing").mkdir()
    monkeypatch.setattr(
        "tformer_cli.runs.folder.Lock", lambda run, patience=0: (_ for _ in ()).throw(RunError("read-only"))
    )
    assert [locate(run, name)[1].name for name in ("", "best", "latest")] == ["step-00000003"] * 3
    assert (begun / "best").read_text() == "step-00000001"


def test_every_verb_completes_a_save_unless_a_process_is_writing(begun, tmp_path):
    (tmp_path / "config.yaml").write_text("x")
    last_save(begun)
    (begun / "best").write_text("step-00000001")
    (begun / ".step-00000004.writing").mkdir()
    lock = Lock(tmp_path)
    assert lock.held and locate(tmp_path)[1].name == "step-00000003"
    assert (begun / ".step-00000004.writing").is_dir()  # another process is writing it
    lock.release()
    assert locate(tmp_path)[1].name == "step-00000003"
    assert (begun / "best").read_text() == "step-00000003" and not list(begun.glob(".*"))


@pytest.mark.parametrize("pointer", [b"", b"\xff", b"step-99", b"../..", None, "fifo", "/dev/zero", "folder"])
def test_damaged_pointers_mislead_nobody(begun, tmp_path, pointer):
    (tmp_path / "config.yaml").write_text("x")
    for name in ("best", "latest"):
        file = begun / name
        file.unlink()
        if isinstance(pointer, bytes):
            file.write_bytes(pointer)
        elif pointer == "fifo":
            os.mkfifo(file)
        elif pointer == "folder":
            file.mkdir()
        elif pointer:
            file.symlink_to(pointer)
    assert locate(tmp_path)[1].name == "step-00000001"
    assert locate(tmp_path, "latest")[1].name == "step-00000002"


def test_a_damaged_record_of_the_best_is_no_reason_to_use_another(begun, tmp_path):
    (tmp_path / "config.yaml").write_text("x")
    state = begun / "step-00000002" / "state.json"
    state.write_bytes(state.read_bytes().replace(b'"best_step": 1', b'"best_step": 2'))
    with pytest.raises(RunError, match="step-00000002: damaged: state.json .*--checkpoint"):
        locate(tmp_path)
    assert locate(tmp_path, "step-00000001")[1].name == "step-00000001"
    with pytest.raises(RunError, match="step-00000002: damaged: state.json .*--checkpoint"):
        Checkpoints(begun).best()
    assert Checkpoints(begun).best(strict=False) is None


def test_the_average_counts_for_the_step_that_it_is_of(begun):
    checkpoints = Checkpoints(begun, keep=1)
    state = json.dumps({"step": 2, "score": 11.0, "loss": 0.1, "better": True}).encode()
    write_folder(begun / "averaged", {**files(2, 1), "state.json": state})
    assert checkpoints.best() == begun / "averaged"
    checkpoints.save(3, files(3, 1))
    assert checkpoints.best() == checkpoints.path(1)
    assert (begun / "best").read_text() == "step-00000001"


def test_an_average_of_version_0_1_counts_by_the_pointer(begun):
    state = json.dumps({"step": 2, "score": 11.0, "loss": 0.1}).encode()
    write_folder(begun / "averaged", {**files(2, 1), "state.json": state})
    assert Checkpoints(begun).best() == Checkpoints(begun).path(1)
    (begun / "best").write_text("averaged")
    assert Checkpoints(begun).best() == begun / "averaged"


def test_damaged_later_checkpoints_go_when_the_next_save_is_whole(begun):
    checkpoints = Checkpoints(begun, keep=1)
    (checkpoints.path(2) / "model.safetensors").write_bytes(b"")
    newest = checkpoints.newest(lambda line: None)
    checkpoints.settle(newest)
    assert newest == checkpoints.path(1) and checkpoints.path(2).is_dir()
    assert (begun / "latest").read_text() == "step-00000001"
    checkpoints.save(2, files(2, 1))
    (checkpoints.path(2) / "model.safetensors").write_bytes(b"")
    checkpoints.save(1, files(1, 1, 10.0))
    assert [path.name for path in checkpoints.steps()] == ["step-00000001"]
