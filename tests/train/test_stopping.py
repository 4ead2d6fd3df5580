"""Runs stopped by signals in a step or while decoding, or by lost workers, and their next start."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time

import pytest
import torch

from tests.properties.families import family_named
from tformer_cli.decode.workers import Workers
from tformer_cli.errors import DataError, RunError
from tformer_cli.runs.checkpoint import read_tensors
from tformer_cli.runs.folder import Lock
from tformer_cli.train import ending, loop
from tformer_cli.train.launch import launch
from tformer_cli.train.parallel import ballot, elected

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")
TRANSLATION = family_named("translation")
SETTINGS = [
    "trainer.steps=4", "trainer.log_every=1", "trainer.evaluate_every=2", "trainer.evaluate_limit=4",
    "model.dropout=0.3", "decode.beam=1", "decode.max_length=8", "trainer.samples=1",
]  # fmt: skip


def config(folder, *more: str):
    return TRANSLATION.config(folder, *SETTINGS, *more)


def same(one, two) -> bool:
    """Return whether two runs ended with the same weights, scores and best checkpoint."""
    tensors = [read_tensors(run / "checkpoints" / "step-00000004" / "model.safetensors") for run in (one, two)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    texts = [[(run / name).read_bytes() for name in ("metrics.jsonl", "checkpoints/best")] for run in (one, two)]
    return texts[0] == texts[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    launch(config(folder), folder / "run", quiet=True)
    return folder / "run"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_step_saves_it_and_gives_its_exit_status(undisturbed, tmp_path, monkeypatch, number):
    step = loop.Trainer.train_step

    def signalled(self, batches):
        if self.progress.step == 3:
            os.kill(os.getpid(), number)
        return step(self, batches)

    monkeypatch.setattr(loop.Trainer, "train_step", signalled)
    with pytest.raises(SystemExit) as stop:
        launch(config(tmp_path), tmp_path / "run", quiet=True)
    assert stop.value.code == 128 + number
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text() == "step-00000003"
    monkeypatch.setattr(loop.Trainer, "train_step", step)
    launch(config(tmp_path), tmp_path / "run", resume=True, quiet=True)
    assert same(tmp_path / "run", undisturbed)


@LINUX
@pytest.mark.parametrize("evaluation", [1, 2])
def test_a_signal_to_the_whole_group_while_decoding_saves_at_once(undisturbed, tmp_path, monkeypatch, evaluation):
    """The first or last evaluation is abandoned, and repeated by the resumed run."""
    start, begun, starts = Workers._start, [], []

    def signalled(self, count):
        start(self, count)
        starts.append(count)
        if not begun and len(starts) == evaluation:
            begun.extend(process.pid for process in self._processes)
            for pid in (*begun, os.getpid()):
                os.kill(pid, signal.SIGTERM)

    monkeypatch.setattr(Workers, "_start", signalled)
    several = config(tmp_path, "decode.workers=2", "decode.batch=1")
    with pytest.raises(SystemExit) as stop:
        launch(several, tmp_path / "run", quiet=True)
    assert stop.value.code == 143 and len(begun) == 2
    step = f"step-0000000{2 * evaluation}"
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text() == step
    assert json.loads((tmp_path / "run" / "checkpoints" / step / "state.json").read_bytes())["score"] is None
    assert all(not process.is_alive() for process in multiprocessing.active_children())
    launch(several, tmp_path / "run", resume=True, quiet=True)
    assert same(tmp_path / "run", undisturbed)


def test_a_signal_while_the_last_checkpoints_are_averaged_leaves_that_to_the_resumed_run(tmp_path, monkeypatch, capsys):
    average = ending.average_checkpoints

    def signalled(trainer):
        raise SystemExit(143)  # like the handler of the command line

    monkeypatch.setattr(ending, "average_checkpoints", signalled)
    averaged = config(tmp_path, "trainer.average=last")
    with pytest.raises(SystemExit):
        launch(averaged, tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()
    assert "--resume" in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.setattr(ending, "average_checkpoints", average)
    launch(averaged, tmp_path / "run", resume=True, quiet=True)
    assert (tmp_path / "run" / "result.json").exists()


def test_a_signal_after_the_last_step_leaves_a_complete_run_and_says_so(tmp_path, monkeypatch, capsys):
    write = ending._write_result

    def signalled(trainer):
        trainer.stopper.number = signal.SIGINT
        return write(trainer)

    monkeypatch.setattr(ending, "_write_result", signalled)
    with pytest.raises(SystemExit) as stop:
        launch(config(tmp_path), tmp_path / "run")
    assert stop.value.code == 130 and (tmp_path / "run" / "result.json").exists()
    lines = capsys.readouterr().err.splitlines()
    assert "SIGINT came after the last step: nothing is lost, the run is complete" in lines


def test_a_signal_while_the_loss_is_measured_saves_at_once(undisturbed, tmp_path, monkeypatch):
    from tformer_cli.data.text.pairs import PairsView

    collate = PairsView.collate

    def signalled(self, epoch, rows):
        if self.split == "validation":
            os.kill(os.getpid(), signal.SIGTERM)
        return collate(self, epoch, rows)

    monkeypatch.setattr(PairsView, "collate", signalled)
    with pytest.raises(SystemExit):
        launch(config(tmp_path), tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text() == "step-00000002"
    monkeypatch.setattr(PairsView, "collate", collate)
    launch(config(tmp_path), tmp_path / "run", resume=True, quiet=True)
    assert same(tmp_path / "run", undisturbed)


@LINUX
def test_forked_processes_do_not_keep_the_lock(tmp_path):
    lock = Lock(tmp_path)
    child = os.fork()
    if not child:
        time.sleep(30)
        os._exit(0)
    try:
        time.sleep(0.05)
        lock.file.close()  # like any end of the parent
        Lock(tmp_path, patience=1).release()
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lock_waits_for_a_holder_that_is_ending(tmp_path):
    import threading

    lock = Lock(tmp_path)
    with pytest.raises(RunError, match="another process is writing this run"):
        Lock(tmp_path, patience=0)
    threading.Timer(0.2, lock.release).start()
    Lock(tmp_path, patience=5).release()


@LINUX
def test_a_data_worker_that_is_killed_is_named_in_a_line(tmp_path, monkeypatch):
    from torch import multiprocessing

    step = loop.Trainer.train_step

    def killing(self, batches):
        if self.progress.step == 2:
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.2)
        return step(self, batches)

    monkeypatch.setattr(loop.Trainer, "train_step", killing)
    with pytest.raises(RunError, match=r"a process that prepared batches was killed.*data\.workers=0"):
        launch(config(tmp_path, "data.workers=1", "trainer.steps=50"), tmp_path / "run", quiet=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_data_is_one_line_from_workers_too(tmp_path, monkeypatch, workers):
    from tformer_cli.data.text.pairs import PairsView

    def broken(self, epoch, rows):
        raise DataError("corpus.txt: line 3 is wrong", "mend it")

    monkeypatch.setattr(PairsView, "collate", broken)
    with pytest.raises(DataError) as caught:
        launch(config(tmp_path, f"data.workers={workers}"), tmp_path / "run", quiet=True)
    assert str(caught.value) == "corpus.txt: line 3 is wrong: mend it"


@pytest.mark.parametrize(
    ("numbers", "together"),
    [
        ((0, 0, 0), 0),
        ((0, signal.SIGINT, 0), signal.SIGINT),
        ((signal.SIGINT,) * 1000, signal.SIGINT),
        ((signal.SIGINT, signal.SIGHUP), signal.SIGHUP),
        ((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), signal.SIGTERM),
        ((signal.SIGTERM,) * 500, signal.SIGTERM),
    ],
)
def test_ranks_agree_on_one_signal(numbers, together):
    assert elected(sum(map(ballot, numbers))) == together
