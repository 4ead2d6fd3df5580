"""The speed of a run: tokens (images, frames) per second, padding, waiting for data, share of the peak, memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from tformer_cli.data.core.batch import Batch
from tformer_cli.machine import Machine

Result = TypeVar("Result")


def _nothing(*args: Any, **kwargs: Any) -> int:
    return 0


NOT_DECOMPOSED: dict[Any, Any] = {torch.ops.aten.silu_backward.default: _nothing}
"""Operations that the counter must not decompose: their parts round differently, and a resumed run would differ."""


class Throughput:
    """Counters between two log lines, without the time of evaluations and checkpoints.

    The floating-point operations of a step are counted once, on the first batch, and assumed to be proportional to the
    number of padded tokens (or of the unit of the task's batches). Ranks have batches of similar sizes, so that the
    numbers of this rank are multiplied by the number of ranks.

    Args:
        machine: the machine, with its peak rate.
        ranks: number of processes that train together.
    """

    def __init__(self, machine: Machine, ranks: int) -> None:
        self.machine, self.ranks = machine, ranks
        self.flops_per_unit = 0.0
        self.unit, self.is_padded = Batch.unit, Batch.is_padded
        self._reset()

    def _reset(self) -> None:
        self.real = self.padded = 0
        self.count: float | torch.Tensor = 0.0
        self.seconds = self.waited = 0.0
        self.step_seconds: list[float] = []
        self.last = time.perf_counter()

    @contextmanager
    def counting(self, micro_batches: list[Batch]) -> Iterator[None]:
        """Count the floating-point operations of the first step inside the context; later steps are not counted.

        The counted step is not compiled: PyTorch would never compile functions that it first meets inside the counter.
        """
        if self.flops_per_unit:
            yield
            return
        self.unit, self.is_padded = micro_batches[0].unit, micro_batches[0].is_padded
        counter = FlopCounterMode(display=False, custom_mapping=NOT_DECOMPOSED)
        with torch.compiler.set_stance("force_eager"), counter:
            yield
        self.flops_per_unit = counter.get_total_flops() / max(1, sum(batch.sizes()[1] for batch in micro_batches))

    def timed(self, work: Callable[[], Result]) -> tuple[Result, float]:
        """Return the result of a function, and its duration in seconds."""
        begin = time.perf_counter()
        return work(), time.perf_counter() - begin

    def add(self, micro_batches: list[Batch], waited: float, counts: Iterable[torch.Tensor]) -> None:
        """Add a finished step.

        Args:
            micro_batches: this rank's batches.
            waited: seconds of waiting for batches.
            counts: number of summands of each phase's loss, on all ranks; scalars.
        """
        for count in counts:
            self.count = self.count + count
        now = time.perf_counter()
        self.step_seconds.append(now - self.last)
        self.seconds += now - self.last
        self.waited += waited
        self.last = now
        for batch in micro_batches:
            real, padded = batch.sizes()
            self.real += real * self.ranks
            self.padded += padded * self.ranks

    def skip(self) -> None:
        """Ignore the time since the last step, which was not spent on training."""
        self.last = time.perf_counter()

    def read(self) -> dict[str, float]:
        """Return the rates of all ranks together since the last call."""
        if self.machine.device.type == "cuda":
            torch.cuda.synchronize(self.machine.device)
        seconds = max(self.seconds, 1e-9)
        p50, p95 = np.percentile(self.step_seconds, (50, 95)) if self.step_seconds else (0.0, 0.0)
        rates = {f"{self.unit}_per_second": self.real / seconds}
        if self.is_padded:
            rates |= {
                f"padded_{self.unit}_per_second": self.padded / seconds,
                "padding_percent": 100 * (1 - self.real / max(1, self.padded)),
            }
        if self.is_padded or float(self.count) != self.real:  # otherwise both are equal
            rates["targets_per_second"] = float(self.count) / seconds
        rates |= {
            "data_wait_percent": 100 * self.waited / seconds,
            "step_seconds_p50": float(p50),
            "step_seconds_p95": float(p95),
            "mfu_percent": 100 * self.flops_per_unit * self.padded / seconds / (self.ranks * self.machine.peak_flops),
            "peak_memory_gib": peak_memory_bytes(self.machine.device) / 2**30,
        }
        self._reset()
        return rates


def peak_memory_bytes(device: torch.device) -> int:
    """Return the maximum memory of this process in bytes, on the device, or on a CPU in total."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # not on this platform
        return 0
    usage: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024
