"""Heartbeats between the ranks of a run, so that a stopped or lost rank does not block the others.

The duration of a collective operation is no indication, since rank 0 may evaluate for an hour while the others wait in
one. Each rank therefore increments a number in the store of PyTorch's process group from a separate thread, and watches
the numbers of the others.
"""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections.abc import Callable

import torch.distributed as dist

FAILED, LEFT = b"failed", b"left"


def connect(*, hosts: bool, timeout: datetime.timedelta) -> dist.Store:
    """Return a separate connection to the store of the process group.

    torchrun may keep the store when it restarts ranks, so each start uses its own names.

    Args:
        hosts: whether this process hosts the store.
        timeout: timeout of each request.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=hosts, timeout=timeout, wait_for_workers=False, multi_tenant=hosts)
    return dist.PrefixStore(f"tformer/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


class Heartbeat:
    """A thread that sends the heartbeats of one rank and watches those of the others.

    Args:
        rank: rank of this process.
        world: number of ranks.
        timeout: seconds without a heartbeat after which a rank counts as lost.
        end: function that is called once with a line that names the lost rank. It ends this process, whose main thread
            may wait in a collective operation that never ends.
    """

    def __init__(self, rank: int, world: int, timeout: float, end: Callable[[str], None]) -> None:
        self.rank, self.world, self.timeout, self.end = rank, world, timeout, end
        self.period = min(1.0, timeout / 10)
        self._store = connect(hosts=False, timeout=datetime.timedelta(seconds=max(timeout, 10)))
        self.names = [f"heartbeat/{number}" for number in range(world)]
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._values = [b""] * world
        now = time.monotonic()
        self._last_beats = [now] * world
        self._contact = now
        self._count = 0
        self._beat()

    def start(self) -> None:
        """Start to send and watch heartbeats."""
        for target in (self._keep_beating, self._keep_watch):
            threading.Thread(target=target, daemon=True).start()

    def stop(self, *, failed: bool) -> None:
        """Stop, and inform the others whether this rank is done or has failed.

        Ranks that are done wait for each other, since closing a connection early interrupts the requests of others.
        """
        self._over.set()
        if not self._lock.acquire(timeout=1):
            return  # another request is waiting for the store, which no longer responds
        try:
            self._store.set(self.names[self.rank], (FAILED if failed else LEFT).decode())
            if not failed:
                self._wait_for(self.names, LEFT)
                self._store.set(f"gone/{self.rank}", LEFT.decode())
                if self.rank == 0:  # it may host the store that the others still use
                    self._wait_for([f"gone/{number}" for number in range(self.world)], LEFT)
        except RuntimeError:  # the store ended with another rank
            pass
        finally:
            self._lock.release()

    def _wait_for(self, names: list[str], value: bytes, seconds: float = 10) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._store.check(names) and all(current == value for current in self._store.multi_get(names)):
                return
            time.sleep(0.01)

    def share(self, text: str) -> str:
        """Return rank 0's text on every rank; call it once per run."""
        with self._lock:
            if self.rank == 0:
                self._store.set("text", text)
            return self._store.get("text").decode()

    def lost(self) -> str:
        """Return a message about the lost rank after a failed collective operation; empty if all ranks are running.

        It waits for several heartbeats, since a rank that has just ended has sent one recently.
        """
        until = time.monotonic() + 5 * self.period
        while time.monotonic() < until:
            if message := self._failed():
                return message
            time.sleep(self.period / 4)
        if until - self._contact > 3 * self.period:
            return f"{self._host()} ended or does not answer"
        silent = self._silent_for(3 * self.period, until)
        return f"{self._named(silent)} ended or does not answer" if silent else ""

    def _beat(self) -> None:
        with self._lock:
            if self._over.is_set():  # the end was announced already
                return
            self._count += 1
            self._store.set(self.names[self.rank], str(self._count))

    def _keep_beating(self) -> None:
        while not self._over.wait(self.period):
            try:
                self._beat()
                with self._lock:
                    values = self._store.multi_get(self.names)
            except dist.DistNetworkError:
                return  # the store ended with its host, which the watch reports
            except RuntimeError:
                continue
            now = time.monotonic()
            self._contact = now
            for number, value in enumerate(values):
                if value != self._values[number]:
                    self._values[number], self._last_beats[number] = value, now

    def _keep_watch(self) -> None:
        last = time.monotonic()
        while not self._over.wait(self.period):
            now = time.monotonic()
            if now - last > 5 * self.period + 1:  # this process was stopped, or the machine was suspended
                self._last_beats = [now] * self.world
                self._contact = now
            last = now
            if message := self._failed() or self._silent(now):
                # Wait first: an error in the main thread is more informative, and releases resources.
                if not self._over.wait(2 * self.period):
                    self.end(message)
                return

    def _failed(self) -> str:
        failed = [number for number, value in enumerate(self._values) if value == FAILED and number != self.rank]
        return f"{self._named(failed)} failed" if failed else ""

    def _silent_for(self, seconds: float, now: float) -> list[int]:
        watched = [number for number in range(self.world) if number != self.rank and self._values[number] != LEFT]
        return [number for number in watched if now - self._last_beats[number] > seconds]

    def _silent(self, now: float) -> str:
        reason = f"no heartbeat for {self.timeout:g} s, trainer.distributed_timeout"
        if now - self._contact > self.timeout:
            return f"{self._host()} was stopped or lost ({reason})"
        silent = self._silent_for(self.timeout, now)
        return f"{self._named(silent)} was stopped or lost ({reason})" if silent else ""

    def _named(self, ranks: list[int]) -> str:
        return ("rank " if len(ranks) == 1 else "ranks ") + f"{', '.join(map(str, ranks))} of {self.world}"

    def _host(self) -> str:
        """Return the host of the store: rank 0, or with torchrun the agent of the first machine."""
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            return f"torchrun's agent at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        return self._named([0])
