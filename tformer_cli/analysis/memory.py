"""Memory on a CPU: the peak of a computation, and the available memory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile


def peak_memory(run: Callable[[], object]) -> int:
    """Return the peak of the memory that tensors of a computation add, in bytes.

    torch's profiler reports each allocation and release of tensors on the CPU, so that free memory within the process
    does not hide them. Buffers within kernels of libraries are not included. The computation takes longer than without
    the profiler.

    Args:
        run: the computation; run it once before, so that weights and caches are not counted.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler prints its stages
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_bytes())["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]"]
    allocated = peak = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        allocated += size
        peak = max(peak, allocated)
    return peak


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that a process may still use, on Linux; None on other systems.

    It is the minimum of the memory that is available without swapping (`MemAvailable`) and of the memory that each
    control group of the process leaves (version 2: `memory.max` minus `memory.current`, plus inactive cached files).

    Args:
        root: the root of the file system.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        (line,) = [line for line in lines if line.startswith("MemAvailable:")]
        group = (root / "proc/self/cgroup").read_text().partition("0::/")[2].partition("\n")[0]
    except (OSError, ValueError):
        return None
    limits = [1024 * int(line.split()[1])]
    top = root / "sys/fs/cgroup"
    folder = top / group
    for parent in [folder, *folder.parents][: len(Path(group).parts) + 1]:
        limits += _left_by_group(parent)
    return max(0, min(limits))


def _left_by_group(folder: Path) -> list[int]:
    """Return the bytes that a control group leaves; none if it has no limit."""
    try:
        limit = int((folder / "memory.max").read_text())  # "max": no limit
        used = int((folder / "memory.current").read_text())
        files = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return []
    return [limit - used + int(files.get("inactive_file", 0))]
