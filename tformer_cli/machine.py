"""The choice of implementations by measurements of the machine, which take about a second before training.

All alternatives compute the same function up to rounding; the header of a run shows the choices.
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
from collections.abc import Callable, Iterator
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
    """The device, and the implementations to use on it."""

    device: torch.device
    precision: str
    """`fp32` or `bf16` (float32 weights, bfloat16 products)."""
    attention: str
    threads: int
    peak_flops: float
    """Measured rate of matrix products in this precision, in FLOP/s, which MFU refers to."""

    @property
    def is_asynchronous(self) -> bool:
        """Return whether the device computes in the background, so that reading a number waits for it."""
        return self.device.type != "cpu"

    def autocast(self) -> torch.autocast:
        """Return the context in which a model computes, in training, evaluation and prediction alike."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def record(self) -> dict[str, Any]:
        """Return the entries of a checkpoint's `state.json`, for resumption and for scores in the same precision."""
        machine = {"precision": self.precision, "attention": self.attention, "device": self.device.type}
        return {"machine": machine, "scoring_precision": self.precision}

    def describe(self) -> str:
        """Return a line for the header of a run."""
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"cpu, {self.threads} thread{'s'[: self.threads != 1]}"
        )
        return f"{name}, {self.precision}, {self.attention} attention, {self.peak_flops / 1e9:,.0f} GFLOP/s measured"


def tune_process() -> None:
    """Prepare this process for a training or an evaluation; call it before torch starts its threads, which inherit it.

    Subnormal numbers become zero on a CPU (`torch.set_flush_denormal`), since processors compute slowly with them. Long
    trainings can have more and more of them, as gradients behind saturated gates.
    """
    tune_heap()
    torch.set_flush_denormal(True)


def flushes_subnormals() -> bool:
    """Return whether subnormal numbers become zero in this thread."""
    return (torch.tensor(torch.finfo(torch.float32).tiny) / 2).item() == 0


def tune_heap() -> None:
    """Keep freed memory in the process, since a step on a CPU otherwise spends much of its time on page faults.

    With glibc (`mallopt`, malloc.h) large blocks are not allocated by mmap, the heap is not trimmed, and it grows by
    256 MB. With other C libraries this function does nothing.
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
    """Return the number of physical cores that this process may use; hyper-threads do not speed up products."""
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


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Compute matrix products and convolutions on GPUs in float32 within the context, not in the less precise TF32."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def pick_device(device: Device) -> torch.device:
    """Return the device for a setting; `auto` takes a CPU rather than MPS, which lacks float64.

    Raises:
        ConfigError: if the device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "cpu": True, "mps": torch.backends.mps.is_available()}
    if device is Device.auto:
        return torch.device(next(name for name, is_available in available.items() if is_available))
    if not available[device.name]:
        raise ConfigError(f"trainer.device: no {device.name} device here", "use trainer.device=auto")
    return torch.device(device.name)


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Return the shortest duration of several calls, in seconds, after two calls to warm up."""
    best = float("inf")
    for repeat in range(repeats + 2):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat >= 2:
            best = min(best, time.perf_counter() - begin)
    return best


def fastest(alternatives: dict[str, Callable[[], object]], device: torch.device, rounds: int = 8) -> str:
    """Return the name of the fastest alternative; they are called in turn, so that other load affects all of them."""
    shortest = dict.fromkeys(alternatives, float("inf"))
    for _ in range(rounds):
        for name, work in alternatives.items():
            shortest[name] = min(shortest[name], seconds(work, device, repeats=2))
    return min(shortest, key=shortest.__getitem__)


SMALL_PRODUCT, PRODUCT_SECONDS = 16, 0.25
"""Rows of the first product that `product_rate` measures on a CPU, and the maximum duration of a product."""


def product_rate(device: torch.device, dtype: torch.dtype, width: int = 512) -> float:
    """Measure the speed of matrix products in the shapes of a training step.

    The product is (R, width) x (width, 4 width). On a CPU without instructions for `dtype` it can take a hundred times
    as long; R is then less than 2048.

    Returns:
        The rate in FLOP/s.
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
    """Return bf16 if its products are more than 1.2 times as fast as those of fp32, otherwise fp32."""
    return "bf16" if product_rate(device, torch.bfloat16) > 1.2 * product_rate(device, torch.float32) else "fp32"


def pick_attention(device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int, int]) -> str:
    """Return the backend of attention that is faster in forward and backward pass; `shape` is (B, H, T, K)."""
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

    before = backend.attention
    try:
        return fastest({name: functools.partial(run, name) for name in ("fused", "explicit")}, device)
    finally:
        backend.attention = before


def cached_choice(key: str, measure: Callable[[], str]) -> str:
    """Return the choice in the cache of this machine; if there is none, measure it and store it there.

    Measurements vary, and backends differ by rounding. Without the cache, the same command could give different
    results.

    Args:
        key: name of the choice.
        measure: function that returns it.
    """
    path = default_cache() / "machine.json"
    key = f"{platform.node()} {processor()} torch {torch.__version__} {key}"
    try:
        choices = json.loads(path.read_bytes())
        if choices.get(key) in ("fp32", "bf16", "fused", "explicit"):
            return choices[key]
    except (OSError, ValueError, AttributeError, RecursionError):
        choices = {}
    choice = measure()
    with contextlib.suppress(OSError):  # without a writable cache, the next run measures again
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps({**choices, key: choice}, indent=1).encode())
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
        config: settings of the user.
        heads: number of attention heads, H.
        head_dim: width of a head, K.
        length: typical length of a sequence, in tokens.
        ranks: number of processes that share the cores of this machine.
        chosen: `precision` and `attention` of a run that is resumed or used, and the type of its `device` if it is
            known; a device of another type has choices of its own.

    Returns:
        The choices.

    Raises:
        ConfigError: if the device is not available.
    """
    device = pick_device(config.device)
    threads = config.threads or max(1, physical_cores() // ranks)
    torch.set_num_threads(threads)
    if not chosen or chosen.get("device", device.type) != device.type:
        chosen = {}
    setup = f"{device} {threads} threads"
    precision = chosen.get("precision") or (
        config.precision.name
        if config.precision is not Precision.auto
        else cached_choice(f"{setup} precision", lambda: pick_precision(device))
    )
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    shape = (max(1, 4096 // length), heads, length, head_dim)
    backend.attention = chosen.get("attention") or (
        config.attention.name
        if config.attention is not Attention.auto
        else cached_choice(f"{setup} attention {precision} {shape}", lambda: pick_attention(device, dtype, shape))
    )
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return Machine(device, precision, backend.attention, threads, product_rate(device, dtype))
