"""TensorBoard's files contain each step once, even after kills, and their failures never stop a run."""

from __future__ import annotations

import json
import shutil
import threading
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tformer_cli.errors import RunError
from tformer_cli.train.board import cut_events
from tformer_cli.train.log import JsonLines, Log


def steps(folder) -> dict[str, list[int]]:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    events = {tag: [event.step for event in accumulator.Scalars(tag)] for tag in tags["scalars"]}
    events |= {tag: [event.step for event in accumulator.Tensors(tag)] for tag in tags["tensors"]}
    return events | {tag: [event.step for event in accumulator.Images(tag)] for tag in tags["images"]}


def log_steps(run, start: int, end: int, offsets=None, messages=None) -> dict[str, int]:
    log = Log(run, start, offsets or {}, say=(messages if messages is not None else []).append)
    for step in range(start + 1, end + 1):
        log.scalars(step, "train", {"loss": 1 / step})
        log.text(step, "samples", f"text of {step}")
        log.image(step, "picture", np.zeros((4, 4, 3), np.uint8))
    new_offsets = log.offsets()
    log.close()
    return new_offsets


def test_each_step_is_there_once_after_any_resumption(tmp_path):
    offsets = log_steps(tmp_path, 0, 4)
    for end in (300, 6):  # each killed later than the checkpoint of step 4; steps of one and of two bytes
        log_steps(tmp_path, 4, end, offsets)
    events = steps(tmp_path / "train") | steps(tmp_path / "validation")
    assert set(map(tuple, events.values())) == {(1, 2, 3, 4, 5, 6)} and len(events) == 3
    log_steps(tmp_path, 0, 2)  # killed before the first checkpoint: the run starts again
    events = steps(tmp_path / "train") | steps(tmp_path / "validation")
    assert set(map(tuple, events.values())) == {(1, 2)}


def test_a_run_resumed_within_the_same_second_keeps_its_order(tmp_path):
    """TensorBoard sorts the files of one second by process id, which need not increase."""
    offsets = log_steps(tmp_path, 0, 4)
    for path in [*(tmp_path / "train").iterdir(), *(tmp_path / "validation").iterdir()]:
        path.rename(path.with_name(f"events.out.tfevents.{int(time.time()):010d}.zz.99999999.0"))
    log_steps(tmp_path, 4, 6, offsets)
    events = steps(tmp_path / "train") | steps(tmp_path / "validation")
    assert set(map(tuple, events.values())) == {(1, 2, 3, 4, 5, 6)}


def test_an_event_that_is_cut_off_hides_no_later_ones(tmp_path):
    log_steps(tmp_path, 0, 4)
    [path] = (tmp_path / "train").iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    cut_events(tmp_path / "train", 9)
    log_steps(tmp_path, 4, 6)
    assert sorted(steps(tmp_path / "train")["loss/loss"]) == [1, 2, 3, 5, 6]


def test_removing_the_folder_stops_nothing(tmp_path, monkeypatch):
    messages, raised = [], []
    log = Log(tmp_path, 0, {}, say=messages.append)
    log.scalars(1, "train", {"loss": 1.0})
    log.offsets()
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    shutil.rmtree(tmp_path / "train")
    for step in range(2, 40):
        log.scalars(step, "train", {"loss": 1.0})
        log.offsets()
    log.close()
    assert len(messages) == 1 and "its curves start again at step" in messages[0] and not raised
    assert steps(tmp_path / "train")["loss/loss"][-1] == 39
    assert len((tmp_path / "metrics.jsonl").read_bytes().splitlines()) == 39


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path):
    (tmp_path / "train").write_text("not a folder")
    messages = []
    log = Log(tmp_path, 0, {}, say=messages.append)
    log.scalars(1, "train", {"loss": 1.0})
    log.close()
    assert len(messages) == 1 and "no further TensorBoard records" in messages[0]


def test_metrics_are_on_the_disk_before_a_checkpoint_relies_on_them(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("tformer_cli.train.log.sync", lambda handle: synced.append(handle))
    log = Log(tmp_path, 0, {})
    log.scalars(1, "train", {"loss": 1.0})
    log.offsets()
    assert set(synced) == {log.metrics.file.fileno(), log.performance.file.fileno()}
    log.close()


@pytest.mark.parametrize("how", ["cut", "flipped", "gone", "whole"])
def test_lost_and_changed_metrics_are_said(tmp_path, how):
    lines = JsonLines(tmp_path / "metrics.jsonl", 0)
    for step in range(5):
        lines.write({"step": step, "loss": 0.5})
    offset, sha256 = lines.offset(), lines.hash.hexdigest()
    lines.write({"step": 5, "loss": 0.5})
    lines.file.close()
    content = (tmp_path / "metrics.jsonl").read_bytes()
    if how == "cut":
        (tmp_path / "metrics.jsonl").write_bytes(content[: offset - 3])
    elif how == "flipped":
        (tmp_path / "metrics.jsonl").write_bytes(content.replace(b"0.5", b"0.4", 1))
    elif how == "gone":
        (tmp_path / "metrics.jsonl").unlink()
    again = JsonLines(tmp_path / "metrics.jsonl", offset, sha256)
    again.write({"step": 5, "loss": 0.5})
    assert {"cut": "are lost", "gone": "are lost", "flipped": "changed after", "whole": ""}[how] in again.note
    assert (again.note == "") == (how == "whole")
    content = (tmp_path / "metrics.jsonl").read_bytes()
    assert len(content.splitlines()) == {"cut": 5, "gone": 1}.get(how, 6) and content.endswith(b"}\n")
    assert again.offset() == len(content)
    again.file.close()


@pytest.mark.parametrize("how", ["fifo", "/dev/zero", "folder"])
def test_other_things_in_place_of_metrics_are_refused(tmp_path, how):
    import os

    place = tmp_path / "metrics.jsonl"
    if how == "fifo":
        os.mkfifo(place)
    elif how == "folder":
        place.mkdir()
    else:
        place.symlink_to(how)
    with pytest.raises(RunError, match="not a regular file"):
        JsonLines(place, 0)


def test_curves_are_named_and_grouped_as_they_are_looked_for(tmp_path):
    (tmp_path / "run").mkdir()
    log = Log(tmp_path / "run", 0, {})
    log.scalars(1, "train", {"loss": 1.0, "learning_rate": 0.1, "ctc": 2.0})
    log.scalars(1, "val", {"loss": 2.0, "accuracy": 50.0})
    log.scalars(1, "perf", {"images_per_second": 9.0}, timing=True)
    log.sound(1, "training/sound", np.zeros(100, np.float32), 8000, "one two")
    log.image(1, "confusion", np.zeros((4, 4, 3), np.uint8))
    log.close()
    folders = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("events.*")}
    assert folders == {"run/train", "run/validation"}  # their names in TensorBoard
    train, validation = (EventAccumulator(str(tmp_path / "run" / part)).Reload() for part in ("train", "validation"))
    assert sorted(train.Tags()["scalars"]) == [
        "loss/ctc", "loss/loss", "speed/images_per_second", "training/learning_rate",
    ]  # fmt: skip
    assert sorted(validation.Tags()["scalars"]) == ["loss/loss", "score/accuracy"]
    assert validation.Tags()["images"] == ["pictures/confusion"]
    metadata = train.SummaryMetadata("training/sound")
    assert metadata.display_name == "training/sound: one two" and metadata.summary_description == "one two"
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[1])
    assert record == {"step": 1, "val/loss": 2.0, "val/accuracy": 50.0}
