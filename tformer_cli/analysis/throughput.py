"""Measured speed, and the largest batch that runs.

On a GPU a batch that needs too much memory fails, so that the largest one is found by trying. On a CPU the system would
end the process; the largest batch is therefore extrapolated from the memory of small ones.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from tformer_cli.analysis.memory import available_memory, peak_memory

Clock = Callable[[], float]
"""A clock, in seconds."""


class Rate(NamedTuple):
    """The speed of a computation.

    Attributes:
        per_second: examples per second, from the median of the repeats.
        slowest: examples per second in the slowest repeat.
        fastest: examples per second in the fastest repeat.
        repeats: number of measured repeats.
    """

    per_second: float
    slowest: float
    fastest: float
    repeats: int


def throughput(
    run: Callable[[], object],
    examples: int,
    *,
    repeats: int = 7,
    warm_up: int = 2,
    seconds: float = 10.0,
    synchronize: Callable[[], object] = lambda: None,
    clock: Clock = time.perf_counter,
) -> Rate:
    """Measure the examples per second of a computation.

    The first runs are not measured: they allocate memory and choose kernels. The median of several repeats is robust
    to other programs that interrupt one of them; the range shows how much they vary.

    Args:
        run: the computation; its inputs are ready.
        examples: number of examples that it computes.
        repeats: maximum number of measured repeats.
        warm_up: number of runs before the measured ones.
        seconds: time after which no further repeat begins; at least one is measured.
        synchronize: function that waits for the device, such as `torch.cuda.synchronize`; without it, only the start of
            the work on a GPU is measured.
        clock: a clock.
    """
    start = clock()
    for _ in range(warm_up):
        run()
    synchronize()
    times = []
    while not times or (len(times) < repeats and clock() - start < seconds):
        begin = clock()
        run()
        synchronize()
        times.append(clock() - begin)
    return Rate(examples / float(np.median(times)), examples / max(times), examples / min(times), len(times))


class Largest(NamedTuple):
    """The largest batch that runs.

    Attributes:
        batch: number of examples; 0: not even one runs.
        bound: reason why it is not larger: `memory` (a larger one failed), `estimated memory` (extrapolated, not
            tried), `limit` (the given limit), `time` (no time was left to try a larger one).
        bytes_per_example: growth of the peak memory with each example; None if it was not measured.
    """

    batch: int
    bound: str
    bytes_per_example: float | None = None


def largest_batch(run: Callable[[int], object], *, device: torch.device, limit: int, seconds: float = 30.0) -> Largest:
    """Return the largest batch that runs on a device: tried on a GPU, extrapolated on a CPU.

    Args:
        run: the computation as a function of the batch size.
        device: the device that it runs on.
        limit: largest batch to consider.
        seconds: approximate time for all runs.

    Raises:
        ValueError: if the available memory of a CPU is not known; it is known on Linux.
    """
    if device.type != "cpu":
        return tried_batch(run, limit=limit, seconds=seconds)
    available = available_memory()
    if available is None:
        raise ValueError("the available memory is not known on this system")
    return extrapolated_batch(run, available=available, limit=limit, seconds=seconds)


def _runs(run: Callable[[int], object], batch: int) -> bool:
    """Return whether a batch runs: False if memory is exhausted. Other errors are raised."""
    try:
        run(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return True
    except MemoryError:
        pass
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error).lower():
            raise
    # The handled error no longer refers to the tensors of the failed run.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def tried_batch(
    run: Callable[[int], object],
    *,
    limit: int,
    seconds: float = 30.0,
    tolerance: float = 0.02,
    clock: Clock = time.monotonic,
) -> Largest:
    """Return the largest batch that runs without exhausting memory, by doubling, then bisection.

    Args:
        run: the computation as a function of the batch size.
        limit: largest batch to try.
        seconds: a run begins only if it is expected to end within this time; time is assumed proportional to the batch.
        tolerance: the search ends when the smallest batch that failed is larger by no more than this share.
        clock: a clock.
    """
    end, works, fails = clock() + seconds, 0, limit + 1
    rate = 0.0  # seconds for an example
    while fails - works > max(1, tolerance * works):
        batch = min(max(1, 2 * works), limit) if fails > limit else (works + fails) // 2
        start = clock()
        if works and start + rate * batch > end:
            return Largest(works, "time")
        if _runs(run, batch):
            works, rate = batch, (clock() - start) / batch
            if works == limit:
                return Largest(works, "limit")
        else:
            fails = batch
    return Largest(works, "memory")


def extrapolated_batch(
    run: Callable[[int], object],
    *,
    available: int,
    limit: int,
    seconds: float = 30.0,
    share: float = 0.8,
    peak: Callable[[Callable[[], object]], int] = peak_memory,
    clock: Clock = time.monotonic,
) -> Largest:
    """Return the largest batch that fits into memory, extrapolated from the growth of the peak.

    Batches are doubled until they need a sixteenth of the memory or time is short. If the last two batches b1 and b2
    have peaks m1 and m2, growth is g = (m2 - m1) / (b2 - b1), and a batch b needs m2 + g (b - b2). No batch near the
    limit of memory is run. The estimate is wrong if memory does not grow linearly.

    Args:
        run: the computation as a function of the batch size.
        available: bytes that may be used.
        limit: largest batch to consider; if it is reached, no extrapolation is needed.
        seconds: a run begins only if it is expected to end within this time; time is assumed proportional to the batch.
        share: share of `available` that the batch may use.
        peak: function that measures the peak of a computation in bytes.
        clock: a clock.
    """
    end, budget = clock() + seconds, share * available
    run(1)  # weights and caches are allocated
    peaks: dict[int, int] = {}
    batch = 1
    while True:
        start = clock()
        peaks[batch] = peak(lambda size=batch: run(size))
        taken = clock() - start
        if batch == limit or (len(peaks) > 1 and (peaks[batch] > budget / 16 or clock() + 2 * taken > end)):
            break
        batch = min(2 * batch, limit)
    if len(peaks) < 2:
        return Largest(
            limit if peaks[batch] <= budget else 0, "limit" if peaks[batch] <= budget else "estimated memory"
        )
    before, last = sorted(peaks)[-2:]
    growth = (peaks[last] - peaks[before]) / (last - before)
    most = last + int((budget - peaks[last]) // growth) if growth > 0 else limit
    return Largest(limit, "limit", growth) if most >= limit else Largest(max(0, most), "estimated memory", growth)
