"""Heartbeats between ranks: which ranks are reported as lost."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import torch.distributed as dist

from tformer_cli.signals import ending
from tformer_cli.train.heartbeat import Heartbeat
from tformer_cli.train.parallel import Ranks, explained
from tformer_cli.train.processes import LostRank


@pytest.fixture
def ranks(monkeypatch):
    """Return a function that creates ranks of one run, each with the messages that would end it."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    made: list[Heartbeat] = []

    def make(count: int, timeout: float = 1.0):
        ended: list[list[str]] = [[] for _ in range(count)]
        made.extend(Heartbeat(rank, count, timeout, ended[rank].append) for rank in range(count))
        return made, ended

    yield make
    for heartbeat in made:
        heartbeat._over.set()


def wait_for(condition, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    assert condition()


def test_ranks_that_beat_are_not_lost_however_long_an_exchange_takes(ranks):
    made, ended = ranks(3)
    for heartbeat in made:
        heartbeat.start()
    time.sleep(2.5)
    assert ended == [[], [], []] and made[0].lost() == ""


def test_a_rank_that_stops_beating_is_named_by_the_others(ranks):
    made, ended = ranks(3)
    made[0].start()
    made[2].start()  # rank 1 sent its first heartbeat, and no other
    wait_for(lambda: ended[0] and ended[2])
    assert all("rank 1 of 3 was stopped or lost" in message for message in ended[0] + ended[2])
    assert "trainer.distributed_timeout" in ended[0][0]


def test_a_rank_that_fails_is_named_at_once_and_one_that_is_done_is_not(ranks):
    made, ended = ranks(3, timeout=10)
    for heartbeat in made:
        heartbeat.start()
    threading.Thread(target=made[2].stop, kwargs={"failed": False}, daemon=True).start()
    made[1].stop(failed=True)
    wait_for(lambda: ended[0])
    assert ended == [["rank 1 of 3 failed"], [], []]


def test_ranks_that_are_done_wait_for_each_other(ranks):
    made, ended = ranks(3)
    for heartbeat in made:
        heartbeat.start()
    left: list[int] = []

    def leave(number: int) -> None:
        made[number].stop(failed=False)
        left.append(number)

    for number in (0, 1):
        threading.Thread(target=leave, args=(number,), daemon=True).start()
    time.sleep(0.5)
    assert not left
    leave(2)
    wait_for(lambda: len(left) == 3)
    assert ended == [[], [], []]


def test_a_rank_that_was_stopped_itself_blames_nobody(ranks, monkeypatch):
    made, ended = ranks(2, timeout=2)
    halted, real = threading.Event(), time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + (100 if halted.is_set() else 0))
    for heartbeat in made:
        heartbeat.start()
    time.sleep(0.5)
    halted.set()  # every clock jumps, as after Ctrl-Z and fg
    time.sleep(1)
    assert ended == [[], []]


def test_a_store_that_has_gone_is_rank_0(ranks):
    made, ended = ranks(2)
    made[1].start()
    made[1]._store = None  # every call fails from now on

    class Gone:
        def set(self, *_):
            raise dist.DistNetworkError("gone")

    made[1]._store = Gone()
    wait_for(lambda: ended[1])
    assert "rank 0 of 2 was stopped or lost" in ended[1][0]


def test_a_text_of_rank_0_reaches_the_others(ranks):
    made, _ = ranks(2)
    assert made[0].share("runs/x/001") == "runs/x/001"
    assert made[1].share("runs/x/002") == "runs/x/001"


def test_a_signal_while_the_lost_rank_is_determined_does_not_hide_it():
    # As torchrun sends it to the ranks of a machine once the ranks of another have ended.
    class Slow:
        def lost(self) -> str:
            os.kill(os.getpid(), signal.SIGTERM)
            return "rank 1 of 2 ended or does not answer"

    with ending():
        error = explained(RuntimeError("[gloo] Connection closed by peer"), Ranks(0, 2, heartbeat=Slow()))
    assert isinstance(error, LostRank) and "rank 1 of 2 ended or does not answer: continue" in str(error)
