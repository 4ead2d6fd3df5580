"""Facts about the machine for the results, and the load by other processes."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

INTERESTING = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def cores() -> int:
    """Return the number of physical cores that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 2) // 2)
    siblings = set()
    for cpu in os.sched_getaffinity(0):
        try:
            siblings.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text("ascii"))
        except OSError:
            return len(os.sched_getaffinity(0))
    return len(siblings)


def describe() -> dict[str, object]:
    """Return processor, vector instructions, cores, memory and system."""
    facts: dict[str, object] = {
        "system": platform.platform(),
        "cores": cores(),
        "processor": platform.processor(),
    }
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").split("\n")
        info = dict(tuple(map(str.strip, line.split(":", 1))) for line in lines if ":" in line)
        facts["processor"] = info.get("model name", "")
        flags = info.get("flags", "").split()
        facts["instructions"] = [name for name in INTERESTING if name in flags]
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["memory_gib"] = round(pages / 2**30, 1)
    except (OSError, ValueError):  # not Linux
        pass
    return facts


def revision(root: Path) -> str:
    """Return the commit of the project, marked if files differ from it; "" without git."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def busy_percent(seconds: float = 1.0) -> float | None:
    """Return the processor time, in percent, that other processes used while this one slept; None if it is unknown."""

    def read() -> tuple[int, int]:
        values = [int(x) for x in Path("/proc/stat").read_text("ascii").split("\n")[0].split()[1:]]
        return sum(values[:8]), values[3] + values[4]

    try:
        total, idle = read()
        time.sleep(seconds)
        total_after, idle_after = read()
    except (OSError, ValueError, IndexError):
        return None
    return round(100 * (1 - (idle_after - idle) / max(1, total_after - total)), 1)
