"""Checkpoints are complete or absent, whatever interrupts a save, and damage is noticed."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

import pytest
import torch

from tformer_cli.config.schema import Experiment
from tformer_cli.errors import RunError
from tformer_cli.runs.checkpoint import (
    Checkpoints,
    damage,
    load_model_tensors,
    model_tensors,
    tensors_to_bytes,
    usable_files,
    write_folder,
)
from tformer_cli.runs.writing import replace_file
from tformer_cli.train.averaging import average_folders, average_tensors

FILES = {
    "model.safetensors": b"weights" * 100,
    "tokenizer/joint.model": b"pieces",
    "state.json": b'{"step": 1}',
    "config.yaml": b"task: translation",
}


def files(step: int, score: float | None, loss: float | None = None, **more: object) -> dict[str, bytes]:
    state = {"step": step, "score": score, "loss": loss, "best": score, "best_step": step, **more}
    return {**FILES, "state.json": json.dumps(state).encode()}


def test_whole_folder_is_whole_and_nothing_else_is_left(tmp_path):
    write_folder(tmp_path / "step-1", FILES)
    assert damage(tmp_path / "step-1") == ""
    assert os.listdir(tmp_path) == ["step-1"]
    write_folder(tmp_path / "step-1", {**FILES, "state.json": b'{"step": 2}'})
    assert damage(tmp_path / "step-1") == "" and os.listdir(tmp_path) == ["step-1"]


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "flip", "zero tail", "delete"])
def test_every_damage_is_noticed(tmp_path, name, how):
    folder = tmp_path / "step-1"
    write_folder(folder, FILES)
    file = folder / name
    content = bytearray(file.read_bytes())
    if how == "cut":
        file.write_bytes(content[:-1])
    elif how == "flip":
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    elif how == "zero tail":
        content[-4:] = bytes(4)
        file.write_bytes(content)
    else:
        file.unlink()
    assert damage(folder) != ""


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_names_that_lead_outside_are_damage(tmp_path, name):
    folder = tmp_path / "step-1"
    write_folder(folder, FILES)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name] = {"bytes": 0, "sha256": "0" * 64}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "outside" in damage(folder)


def test_retention_keeps_the_best_and_the_newest(tmp_path):
    for trial in range(8):
        random.seed(trial)
        keep, keep_best, higher = random.randint(1, 3), random.randint(1, 2), bool(trial % 2)
        checkpoints = Checkpoints(tmp_path / str(trial), keep, keep_best, higher)
        checkpoints.folder.mkdir()
        scores = {}
        for step in range(1, 15):
            score = round(random.random(), 1) if random.random() < 0.6 else None
            loss = None if score is None else round(random.random(), 1)
            if score is not None:
                scores[step] = (-score if higher else score, loss, step)
            best = min(scores, key=scores.__getitem__, default=0)
            checkpoints.save(step, files(step, score, loss, best=0.0 if best else None, best_step=best))
            steps = {int(path.name.removeprefix("step-")) for path in checkpoints.steps()}
            ranked = sorted(scores, key=lambda step: scores[step])  # of equal scores the lower loss, then the older
            assert steps >= set(range(max(1, step - keep + 1), step + 1)) | set(ranked[:keep_best])
            assert len(steps) <= keep + keep_best
            assert checkpoints.latest() == checkpoints.path(step)
            if ranked:
                assert checkpoints.best() == checkpoints.path(ranked[0])


def test_checkpoints_that_a_signal_caused_do_not_count_among_the_newest(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step, is_extra in ((1, False), (2, True), (3, False), (4, True), (5, False)):
        checkpoints.save(step, files(step, None, extra=is_extra))
    assert [path.name for path in checkpoints.regular()] == ["step-00000003", "step-00000005"]
    assert [path.name for path in checkpoints.steps()] == ["step-00000003", "step-00000005"]


def test_weights_that_are_not_finite_are_named(tmp_path):
    model = torch.nn.Linear(2, 2)
    tensors = model_tensors(model) | {"bias": torch.tensor([0.0, float("nan")])}
    with pytest.raises(RunError, match=r"step-1: bias is not finite: the training diverged: use an earlier checkpoint"):
        load_model_tensors(model, tensors, "step-1")


def test_a_rename_that_a_crash_left_out_is_finished(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, files(1, None))
    os.rename(checkpoints.path(1), tmp_path / ".step-00000001.writing")
    (tmp_path / ".step-00000002.writing").mkdir()
    checkpoints.clean()
    assert checkpoints.newest(print) == checkpoints.path(1)
    assert not list(tmp_path.glob(".*"))


CRASH = """
import json, os, signal, sys
from pathlib import Path
from tformer_cli.train.averaging import average_tensors
from tformer_cli.runs.checkpoint import Checkpoints
folder, crash_at = Path(sys.argv[1]), int(sys.argv[2])
events = 0
def hook(event, arguments):
    global events
    if event == "open" or event.startswith(("os.", "shutil.")):
        if any(str(folder) in str(argument) for argument in arguments):
            events += 1
            if events == crash_at:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
checkpoints = Checkpoints(folder, keep=1)
checkpoints.clean()
for step in (2, 3, 3):  # the last replaces a folder that is there
    state = json.dumps({"step": step, "score": step, "best": step, "best_step": step}).encode()
    files = {"model.safetensors": b"x" * 1000, "state.json": state, "config.yaml": b"x"}
    checkpoints.save(step, files)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_file_event_a_whole_checkpoint_is_left(tmp_path, monkeypatch):
    """SIGKILL at the k-th file event of three saves, for every k: a whole checkpoint is always there."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # what a process has written survives it
    survivors = []
    for crash_at in range(1, 200):
        folder = tmp_path / str(crash_at)
        Checkpoints(folder, keep=1).folder.mkdir()
        Checkpoints(folder, keep=1).save(1, files(1, 1.0))
        child = os.fork()
        if child == 0:
            sys.argv = ["crash", str(folder), str(crash_at)]
            try:
                exec(compile(CRASH, "crash", "exec"), {"__name__": "crash"})
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        checkpoints = Checkpoints(folder, keep=1)
        checkpoints.clean()
        newest = checkpoints.newest(print)
        assert newest is not None and damage(newest) == ""
        assert not list(folder.glob(".*"))
        survivors.append(int(newest.name.removeprefix("step-")))
        if not os.WIFSIGNALED(status):
            break
    assert len(survivors) > 20 and survivors == sorted(survivors) and survivors[-1] == 3


def test_damaged_ones_are_named_and_all_damaged_is_an_error(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, files(step, None))
    (checkpoints.path(2) / "state.json").write_bytes(b"")
    messages = []
    assert checkpoints.newest(messages.append) == checkpoints.path(1)
    assert len(messages) == 1 and "step-00000002 state.json" in messages[0]
    (checkpoints.path(1) / "model.safetensors").unlink()
    with pytest.raises(RunError, match="every checkpoint is damaged"):
        checkpoints.newest(messages.append)


def test_average():
    average = average_tensors([{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, 6.0])}])
    assert torch.equal(average["a"], torch.tensor([2.0, 4.0]))


def test_the_average_of_checkpoints_is_of_the_whole_ones(tmp_path):
    folders, messages = [tmp_path / f"step-{number}" for number in (1, 2, 3)], []
    for folder, value in zip(folders, (1.0, 50.0, 4.0), strict=True):
        write_folder(folder, {**FILES, "model.safetensors": tensors_to_bytes({"a": torch.tensor([value])})})
    (folders[1] / "model.safetensors").unlink()
    weights, names = average_folders(folders, messages.append)
    assert weights["a"].tolist() == [2.5] and names == ["step-1", "step-3"]
    assert messages == [f"not averaged: step-2 {damage(folders[1])}"]
    absent = tmp_path / "absent"
    for none, cause in (([folders[1], absent], f"{folders[1]}, {absent}"), ([], "no checkpoint")):
        with pytest.raises(RunError, match=rf"^{cause}: nothing to average: trainer\.average=none$"):
            average_folders(none, messages.append)


def test_weights_of_another_model_are_named():
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3), "b": torch.nn.Linear(3, 2)})
    right = {name: torch.full_like(value, 5.0) for name, value in model_tensors(model).items()}
    for change, cause in (
        ({"a.weight": None, "b.bias": None}, "missing weights: a.weight, b.bias"),
        ({"c": torch.zeros(1)}, "unknown weights: c"),
        ({"b.bias": torch.zeros(9)}, r"b.bias has shape \(9,\), the model has \(2,\)"),
    ):
        wrong = {name: value for name, value in (right | change).items() if value is not None}
        with pytest.raises(RunError, match=rf"^here: {cause}: it belongs to another model$"):
            load_model_tensors(model, wrong, "here")
    load_model_tensors(model, right, "here")
    assert all((value == 5.0).all() for value in model.state_dict().values())


def test_a_checkpoint_has_what_it_takes_to_use_it():
    files = usable_files(b"weights", {"step": 7}, Experiment(), {"labels.json": b"[]"})
    assert files.keys() == {"model.safetensors", "state.json", "config.yaml", "labels.json"}
    assert files["model.safetensors"] == b"weights" and json.loads(files["state.json"]) == {"step": 7}
    assert b"trainer:" in files["config.yaml"] and files["labels.json"] == b"[]"


def test_a_leftover_that_cannot_be_removed_stops_nothing(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, files(1, 1.0))
    leftover = tmp_path / ".step-00000002.deleting"
    (leftover / "inside").mkdir(parents=True)
    assert checkpoints.interrupted()

    def refuse(*arguments, **more):
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", refuse)
        checkpoints.clean()
    assert leftover.is_dir()
    checkpoints.clean()
    assert not leftover.exists() and not checkpoints.interrupted()


@pytest.mark.parametrize("pointer", ["latest", "best"])
def test_a_pointer_that_is_behind_tells_of_an_interrupted_save(tmp_path, pointer):
    checkpoints = Checkpoints(tmp_path)
    assert not checkpoints.interrupted()
    for step in (1, 2):
        checkpoints.save(step, files(step, float(step)))
    assert not checkpoints.interrupted()
    (tmp_path / pointer).write_text("step-00000001")
    assert checkpoints.interrupted()
    checkpoints.settle(checkpoints.path(2))
    assert not checkpoints.interrupted() and (tmp_path / pointer).read_text() == "step-00000002"


def test_several_processes_replace_one_file_each_with_its_own_whole_content(tmp_path, monkeypatch):
    """None writes where another does, and what a killed one left goes."""
    path, names = tmp_path / "test.json", []
    real_replace = os.replace

    def replace(source, target):
        names.append(Path(source).name)
        if len(names) == 1:  # meanwhile another process writes the same file
            replace_file(path, b"second")
        real_replace(source, target)

    monkeypatch.setattr(os, "replace", replace)
    abandoned, recent = (tmp_path / f".{name}.writing" for name in ("test.json.5", "other.json.6"))
    for file, age in ((abandoned, 3600), (recent, 5)):
        file.touch()
        os.utime(file, (time.time() - age,) * 2)
    replace_file(path, b"first")
    assert path.read_bytes() == b"first" and len(set(names)) == 2
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [recent.name, path.name]


def test_only_scores_that_can_be_compared_are_ranked(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step, score in ((2, 90.0), (4, 10.0), (6, 20.0)):
        write_folder(checkpoints.path(step), files(step, score, 1.0, metric="f1", compared_from=4 * (step > 3)))
    assert [path.name[-1] for path in checkpoints.ranked()] == ["6", "4"]


def test_steps_with_more_digits_are_newer(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (99_999_999, 100_000_000):
        checkpoints.save(step, files(step, 1.0, 1.0))
    assert [path.name for path in checkpoints.steps()] == ["step-99999999", "step-100000000"]
    assert (tmp_path / "latest").read_text() == "step-100000000"
