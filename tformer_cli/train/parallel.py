"""The ranks of a run: joining and leaving PyTorch's process group, and sums over ranks."""

from __future__ import annotations

import datetime
import os
import re
import signal
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from tformer_cli.errors import ConfigError, RunError
from tformer_cli.signals import Stopper, end_with_parent
from tformer_cli.train import processes
from tformer_cli.train.heartbeat import Heartbeat, connect

COLLECTIVE_TIMEOUT = datetime.timedelta(days=7)
"""Timeout of a collective operation, long enough to wait while rank 0 evaluates; `Heartbeat` detects lost ranks."""
START_TIMEOUT = datetime.timedelta(minutes=5)
"""Timeout of ranks that wait for the others to start."""
_WEIGHTS = {signal.SIGINT: 1.0, getattr(signal, "SIGHUP", None): 2.0**20, signal.SIGTERM: 2.0**40}


@dataclass
class Ranks:
    """The rank of this process, and the number of processes that train one model together."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    heartbeat: Heartbeat | None = field(default=None, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all ranks in place, and return it."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def wait(self) -> None:
        """Wait until all ranks have called this method."""
        if self.world > 1:
            dist.barrier()

    def same_text(self, text: str) -> str:
        """Return rank 0's text on every rank."""
        return self.heartbeat.share(text) if self.heartbeat is not None else text


def ballot(number: int) -> float:
    """Encode a signal as a number that ranks can sum; 0 for no signal."""
    return _WEIGHTS.get(number, 1.0) if number else 0.0


def elected(total: float) -> int:
    """Decode a sum of ballots: SIGTERM if any rank received it, else SIGHUP, else SIGINT; 0: none."""
    return next((int(number) for number, weight in reversed(_WEIGHTS.items()) if number and total >= weight), 0)


def join(device_type: str, timeout: float) -> Ranks:
    """Join the processes started by torchrun or `--processes`; return a single rank without them.

    The backend is Gloo on CPUs and NCCL on GPUs.

    Args:
        device_type: type of the training device.
        timeout: seconds without a heartbeat after which a rank counts as lost.

    Raises:
        ConfigError: if this machine has fewer GPUs than ranks.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # a rank that outlives torchrun would wait forever
        end_with_parent(os.getppid())
    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
    if device_type == "cuda":
        gpus, processes_here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", ranks.local_rank + 1))
        if processes_here > gpus:
            cause = f"--processes: {processes_here} processes need {processes_here} GPUs, and this machine has {gpus}"
            raise ConfigError(cause, f"use at most {gpus}, or trainer.device=cpu")
        torch.cuda.set_device(ranks.local_rank)
    backend = "nccl" if device_type == "cuda" else "gloo"
    try:
        if not dist.is_initialized():
            hosts = ranks.first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
            store = dist.PrefixStore("group", connect(hosts=hosts, timeout=START_TIMEOUT))
            dist.init_process_group(
                backend, store=store, rank=ranks.rank, world_size=ranks.world, timeout=COLLECTIVE_TIMEOUT
            )
        ranks.heartbeat = Heartbeat(ranks.rank, ranks.world, timeout, processes.end_rank)
        ranks.wait()  # each rank has sent its first heartbeat
    except RuntimeError as error:
        raise explained(error, ranks) from error
    ranks.heartbeat.start()
    return ranks


def leave(ranks: Ranks, *, failed: bool) -> None:
    """Close the process group."""
    if ranks.heartbeat is not None:
        ranks.heartbeat.stop(failed=failed)
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def explained(error: BaseException, ranks: Ranks) -> BaseException:
    """Return a clear error if another process ended; other errors are unchanged.

    Args:
        error: the error that ended training.
        ranks: the process group.
    """
    text = str(error)
    if not isinstance(error, RuntimeError):
        return error
    if match := re.search(r"DataLoader worker \(pid[^)]*\) (is killed by signal: (\w+)|exited unexpectedly)", text):
        by = f" by a signal ({match[2]})" if match[2] else ""
        remedy = f"if memory ran out, use data.workers=0 or a smaller batch; {processes.RESUME}"
        return RunError(f"a process that prepared batches was killed{by}", remedy)
    if ranks.world > 1 and re.search(r"gloo|NCCL|[Cc]onnection (closed|reset|was)|Broken pipe|c10d|TCPStore", text):
        lost = "no connection to the other ranks"
        if ranks.heartbeat is not None:
            with Stopper().listening():  # torchrun sends SIGTERM to the remaining ranks meanwhile
                lost = ranks.heartbeat.lost()
        return processes.LostRank(lost or "another rank has ended", processes.RESUME)
    return error
