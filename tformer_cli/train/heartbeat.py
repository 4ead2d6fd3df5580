"""Signs of life between the ranks of a run, so that one that was stopped or lost does not leave the others waiting.

How long an exchange may take says nothing: rank 0 may evaluate for an hour while the others wait in one. So each rank
counts up a number in the store that PyTorch's process group has anyway, from a thread of its own, and watches the
numbers of the others.
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
    """A connection of its own to the store by which the ranks find each other.

    torchrun may keep the store when it starts ranks again, so that each start has its own names in it.

    Args:
        hosts: whether this process holds the store.
        timeout: of each request.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=hosts, timeout=timeout, wait_for_workers=False, multi_tenant=hosts)
    return dist.PrefixStore(f"tformer/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


class Heartbeat:
    """The signs of life of one rank, and its watch over the others.

    Args:
        rank: of this process.
        world: number of ranks.
        timeout: seconds without a sign of life after which a rank counts as lost.
        end: called once with a line that names the lost rank; it ends this process, whose main thread may wait in an
            exchange that never ends.
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
        self._heard = [now] * world
        self._contact = now
        self._count = 0
        self._beat()

    def start(self) -> None:
        """Begin to beat and to watch."""
        for target in (self._keep_beating, self._keep_watch):
            threading.Thread(target=target, daemon=True).start()

    def stop(self, *, failed: bool) -> None:
        """Stop, and let the others know whether this rank is done or has failed.

        Ranks that are done wait for each other, as a connection that closes early cuts off what the others still read.
        """
        self._over.set()
        if not self._lock.acquire(timeout=1):
            return  # the store does not answer any more
        try:
            self._store.set(self.names[self.rank], (FAILED if failed else LEFT).decode())
            if not failed:
                self._wait_for(self.names, LEFT)
                self._store.set(f"gone/{self.rank}", LEFT.decode())
                if self.rank == 0:  # it may hold the store that the others still ask
                    self._wait_for([f"gone/{number}" for number in range(self.world)], LEFT)
        except RuntimeError:  # the store has gone with another rank
            pass
        finally:
            self._lock.release()

    def _wait_for(self, names: list[str], value: bytes, seconds: float = 10) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._store.check(names) and all(other == value for other in self._store.multi_get(names)):
                return
            time.sleep(0.01)

    def share(self, text: str) -> str:
        """Rank 0's text, on every rank; once a run."""
        with self._lock:
            if self.rank == 0:
                self._store.set("text", text)
            return self._store.get("text").decode()

    def lost(self) -> str:
        """Which rank is lost, asked when an exchange has failed; empty if all give signs of life.

        Waits for some of them, as a rank that has just ended was alive a moment ago.
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
            if self._over.is_set():  # the last word is said
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
                return  # the store has gone with the process that held it, which the watch will say
            except RuntimeError:
                continue
            now = time.monotonic()
            self._contact = now
            for number, value in enumerate(values):
                if value != self._values[number]:
                    self._values[number], self._heard[number] = value, now

    def _keep_watch(self) -> None:
        last = time.monotonic()
        while not self._over.wait(self.period):
            now = time.monotonic()
            if now - last > 5 * self.period + 1:  # this process itself was stopped, or the machine slept
                self._heard = [now] * self.world
                self._contact = now
            last = now
            if message := self._failed() or self._silent(now):
                # An exchange that fails in the main thread says more, and cleans up: leave it a moment.
                if not self._over.wait(2 * self.period):
                    self.end(message)
                return

    def _failed(self) -> str:
        failed = [number for number, value in enumerate(self._values) if value == FAILED and number != self.rank]
        return f"{self._named(failed)} failed" if failed else ""

    def _silent_for(self, seconds: float, now: float) -> list[int]:
        others = [number for number in range(self.world) if number != self.rank and self._values[number] != LEFT]
        return [number for number in others if now - self._heard[number] > seconds]

    def _silent(self, now: float) -> str:
        why = f"no sign of life for {self.timeout:g} s, trainer.distributed_timeout"
        if now - self._contact > self.timeout:
            return f"{self._host()} was stopped or lost ({why})"
        silent = self._silent_for(self.timeout, now)
        return f"{self._named(silent)} was stopped or lost ({why})" if silent else ""

    def _named(self, ranks: list[int]) -> str:
        return ("rank " if len(ranks) == 1 else "ranks ") + f"{', '.join(map(str, ranks))} of {self.world}"

    def _host(self) -> str:
        """Who holds the store: rank 0, or with torchrun the agent of the first machine."""
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            return f"torchrun's agent at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        return self._named([0])
