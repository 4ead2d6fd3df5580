"""The parent of `--processes`: signals, failures and killed ranks."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tformer_cli.errors import DataError, RunError
from tformer_cli.signals import Stopper, exit_status
from tformer_cli.train import processes
from tformer_cli.train.processes import LostRank, run_ranks


def mark(folder: Path, name: str) -> None:
    (folder / f"{name}-{os.environ['RANK']}").write_text(str(os.getpid()))


def work(folder: Path, doing: str) -> None:
    """Run a rank that only waits, like a long step, and then does one thing."""
    rank = int(os.environ["RANK"])
    stopper = Stopper(moment=2.0)
    with stopper.listening():
        mark(folder, "began")
        if doing == "fail" and rank == 1:
            raise DataError("line 3 is wrong", "mend it")
        if doing == "disk" and rank == 0:
            raise OSError(28, "No space left on device")
        if doing == "killed" and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if doing == "follow" and rank == 0:
            raise LostRank("rank 1 of 2 ended")
        until = time.monotonic() + (0.5 if doing == "end" else 60)
        while not stopper.number and time.monotonic() < until:
            time.sleep(0.02)
        if doing == "follow":
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
    mark(folder, "saved")
    if stopper.number:
        raise SystemExit(exit_status(stopper.number))


def left(folder: Path) -> list[int]:
    """Return the ranks that are still running."""
    pids = [int(place.read_text()) for place in folder.glob("began-*")]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()] if Path("/proc").exists() else []


def when_begun(folder: Path, act) -> threading.Thread:
    """Call a function once both ranks are waiting."""

    def watch() -> None:
        while len([place for place in folder.glob("began-*") if place.read_text()]) < 2:
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_ranks_end_well(tmp_path):
    run_ranks(2, work, (tmp_path, "end"))
    assert len(list(tmp_path.glob("saved-*"))) == 2 and not left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_parent_alone_reaches_the_ranks_once_and_is_its_status(tmp_path, number):
    when_begun(tmp_path, lambda: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as stop:
        run_ranks(2, work, (tmp_path, "wait"))
    assert stop.value.code == 128 + number
    assert len(list(tmp_path.glob("saved-*"))) == 2 and not left(tmp_path)


def test_a_signal_to_every_process_is_one_signal(tmp_path):
    def everyone() -> None:
        pids = [int(place.read_text()) for place in tmp_path.glob("began-*")]
        for pid in (os.getpid(), *pids):
            os.kill(pid, signal.SIGINT)

    when_begun(tmp_path, everyone)
    with pytest.raises(SystemExit) as stop:
        run_ranks(2, work, (tmp_path, "wait"))
    assert stop.value.code == 130
    assert len(list(tmp_path.glob("saved-*"))) == 2 and not left(tmp_path)


def test_a_second_interrupt_leaves_at_once_and_leaves_nobody_behind(tmp_path):
    def twice() -> None:
        for pid in [int(place.read_text()) for place in tmp_path.glob("began-*")]:
            os.kill(pid, signal.SIGSTOP)  # they do not answer the first signal
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.1)
        os.kill(os.getpid(), signal.SIGINT)

    when_begun(tmp_path, twice)
    with pytest.raises(KeyboardInterrupt):
        run_ranks(2, work, (tmp_path, "wait"))
    assert not left(tmp_path)


@pytest.mark.parametrize(
    ("doing", "error", "message"),
    [
        ("fail", DataError, r"rank 1: line 3 is wrong: mend it(\n|$)"),  # the traceback follows as a note
        ("killed", RunError, r"rank 1 of 2 was ended by SIGKILL: if memory ran out"),
        ("follow", LostRank, r"rank 1 of 2 ended(\n|$)"),  # the parent's own SIGKILL is not the cause
    ],
)
def test_the_first_failure_is_named_with_its_rank_and_ends_the_others(tmp_path, monkeypatch, doing, error, message):
    monkeypatch.setattr(processes, "GRACE", 0.2)
    with pytest.raises(error, match=f"^{message}"):
        run_ranks(2, work, (tmp_path, doing))
    assert not left(tmp_path)


def test_a_failure_of_the_system_stays_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.2)
    with pytest.raises(OSError, match="No space left") as caught:
        run_ranks(2, work, (tmp_path, "disk"))
    assert caught.value.errno == 28
