"""What the machine at hand is good at, found out in about a second before training starts.

Every choice here is between implementations that compute the same; the header says what was chosen.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tformer_cli.config.schema import Attention, Device, Precision, TrainerConfig
from tformer_cli.data.core.cache import default_cache
from tformer_cli.errors import ConfigError
from tformer_cli.nn import attention, backend
from tformer_cli.runs.folder import processor
from tformer_cli.runs.writing import replace_file


@dataclass
class Machine:
    """The device and how it will be used."""

    device: torch.device
    precision: str
    """`fp32` or `bf16` (float32 weights, bfloat16 products)."""
    attention: str
    threads: int
    peak_flops: float
    """Matrix-product rate measured at the start in this precision, FLOP/s; what MFU is a share of."""

    def autocast(self) -> torch.autocast:
        """Return the context in which a model computes, in training, evaluation and prediction alike."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint's `state.json` says of it, for resumption and for scores in the same precision."""
        kind = self.device.type
        machine = {"precision": self.precision, "attention": self.attention, "device": kind}
        return {"machine": machine, "scoring_precision": self.precision}

    def describe(self) -> str:
        """One line for the header."""
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"cpu, {self.threads} thread{'s'[: self.threads != 1]}"
        )
        return f"{name}, {self.precision}, {self.attention} attention, {self.peak_flops / 1e9:,.0f} GFLOP/s measured"


def tune_heap() -> None:
    """Keep freed memory in the process: a CPU step otherwise spends its time faulting in pages it just gave back.

    glibc only (`mallopt`, malloc.h): no mmap for large blocks, never trim, grow by 256 MB. Harmless elsewhere:
    nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 256 << 20)


def physical_cores() -> int:
    """Cores this process may use, hyper-threads not counted: products gain nothing from the second thread of a core."""
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 2) // 2)
    allowed = os.sched_getaffinity(0)
    cores = set()
    for cpu in allowed:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", encoding="ascii") as file:
                cores.add(file.read())
        except OSError:
            return len(allowed)
    return len(cores)


def pick_device(wanted: Device) -> torch.device:
    """The device to use.

    Raises:
        ConfigError: if the wanted one is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted is Device.auto:
        return torch.device(next(name for name, there in available.items() if there))
    if not available[wanted.name]:
        raise ConfigError(f"trainer.device: no {wanted.name} device here", "use trainer.device=auto")
    return torch.device(wanted.name)


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Least time of a few runs after two for warming up, seconds; it is the least disturbed one."""
    best = float("inf")
    for repeat in range(repeats + 2):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat >= 2:
            best = min(best, time.perf_counter() - begin)
    return best


def fastest(works: dict[str, Callable[[], object]], device: torch.device, rounds: int = 8) -> str:
    """Name of the fastest of several ways; taken in turn, so that a passing disturbance meets all of them."""
    least = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            least[name] = min(least[name], seconds(work, device, repeats=2))
    return min(least, key=least.__getitem__)


SMALL_PRODUCT, PRODUCT_SECONDS = 16, 0.25
"""Rows of the first product that `product_rate` measures on a CPU, and the longest that a product may take."""


def product_rate(device: torch.device, dtype: torch.dtype, width: int = 512) -> float:
    """Measure the speed of matrix products in the shapes of a training step.

    The product is (R, width) x (width, 4 width). On a CPU without instructions for `dtype` it can be a hundred times
    as slow, so that R is then less than 2048 rows.

    Returns:
        FLOP/s.
    """
    b = torch.randn(width, 4 * width, device=device, dtype=dtype)
    rows = 2048 if device.type == "cpu" else 16384
    if device.type == "cpu":
        few = torch.randn(SMALL_PRODUCT, width, dtype=dtype)
        bound = PRODUCT_SECONDS / seconds(lambda: few @ b, device, repeats=1)
        rows = max(SMALL_PRODUCT, min(rows, int(SMALL_PRODUCT * bound)))
    a = torch.randn(rows, width, device=device, dtype=dtype)
    return 2 * rows * width * 4 * width / seconds(lambda: a @ b, device)


def pick_precision(device: torch.device) -> str:
    """Return bf16 if its products run at least 1.2 times as fast as those of fp32, which it otherwise returns."""
    return "bf16" if product_rate(device, torch.bfloat16) > 1.2 * product_rate(device, torch.float32) else "fp32"


def pick_attention(device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int, int]) -> str:
    """The faster exact backend, forward and backward, for queries of `shape` (B, H, T, K)."""
    if device.type != "cpu":
        return "fused"
    batch, heads, length, head_dim = shape
    layer = attention.Attention(heads * head_dim, heads)
    x = torch.randn(batch, length, heads * head_dim, requires_grad=True)
    mask = attention.Mask.from_lengths(torch.arange(batch) % 3 + max(1, length - 2), length)

    def run(name: str) -> None:
        backend.attention = name
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
            layer(x, mask=mask).sum().backward()

    kept = backend.attention
    try:
        return fastest({name: functools.partial(run, name) for name in ("fused", "explicit")}, device)
    finally:
        backend.attention = kept


def remembered(key: str, measure: Callable[[], str]) -> str:
    """A choice that was measured on this machine before, else one measured now and written down.

    Measurements are noisy, and another backend rounds otherwise: without this, the same command could give other bytes.
    """
    place = default_cache() / "machine.json"
    key = f"{platform.node()} {processor()} torch {torch.__version__} {key}"
    try:
        known = json.loads(place.read_bytes())
        if known.get(key) in ("fp32", "bf16", "fused", "explicit"):
            return known[key]
    except (OSError, ValueError, AttributeError, RecursionError):
        known = {}
    choice = measure()
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs the next measurement
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, json.dumps({**known, key: choice}, indent=1).encode())
    return choice


def prepare(
    config: TrainerConfig,
    *,
    heads: int = 8,
    head_dim: int = 64,
    length: int = 64,
    ranks: int = 1,
    chosen: dict[str, str] | None = None,
) -> Machine:
    """Set threads and backends for this machine and this model's shape.

    Args:
        config: what the user wants.
        heads: H of the model, for measuring attention.
        head_dim: K of the model.
        length: typical sequence length, tokens.
        ranks: processes that share this machine's cores.
        chosen: `precision` and `attention` that the run was started with, when it is resumed or used.

    Returns:
        What was chosen.

    Raises:
        ConfigError: if the wanted device is not there.
    """
    device = pick_device(config.device)
    threads = config.threads or max(1, physical_cores() // ranks)
    torch.set_num_threads(threads)
    chosen = chosen or {}
    place = f"{device} {threads} threads"
    precision = chosen.get("precision") or (
        config.precision.name
        if config.precision is not Precision.auto
        else remembered(f"{place} precision", lambda: pick_precision(device))
    )
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    shape = (max(1, 4096 // length), heads, length, head_dim)
    backend.attention = chosen.get("attention") or (
        config.attention.name
        if config.attention is not Attention.auto
        else remembered(f"{place} attention {precision} {shape}", lambda: pick_attention(device, dtype, shape))
    )
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return Machine(device, precision, backend.attention, threads, product_rate(device, dtype))
