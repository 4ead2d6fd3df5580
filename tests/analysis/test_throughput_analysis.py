"""Speed and largest batches, with clocks and memories that the tests control, and memory of real tensors."""

from __future__ import annotations

import pytest
import torch

from tformer_cli.analysis.memory import available_memory, peak_memory
from tformer_cli.analysis.throughput import Largest, extrapolated_batch, largest_batch, throughput, tried_batch

CPU = torch.device("cpu")


class Time:
    """A clock that advances when it is asked to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_throughput_is_that_of_the_median_after_warming_up():
    time, durations = Time(), iter([50.0, 9.0, 2.0, 1.0, 30.0, 2.5, 4.0])

    def run():
        time.now += next(durations)

    rate = throughput(run, 10, repeats=5, seconds=1000, clock=time)
    assert next(durations, None) is None and rate.repeats == 5
    assert rate.per_second == pytest.approx(10 / 2.5)
    assert rate.slowest == pytest.approx(10 / 30) and rate.fastest == pytest.approx(10)


def test_throughput_is_bounded_by_time_and_waits_for_the_device():
    time, pending = Time(), []

    def synchronize():
        time.now += sum(pending)
        pending.clear()

    def run():
        pending.append(4.0)  # the device works on, the call returns

    rate = throughput(run, 8, seconds=15, synchronize=synchronize, clock=time)
    assert rate.per_second == pytest.approx(2) and rate.repeats == 2  # after 8 s of warming up
    assert throughput(run, 8, seconds=0, synchronize=synchronize, clock=time).repeats == 1


@pytest.mark.parametrize("most", [1, 2, 3, 37, 64, 99])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("MPS: Out of memory")]
)
def test_the_largest_batch_is_exact_without_tolerance(most, error):
    tried = []

    def run(batch):
        tried.append(batch)
        if batch > most:
            raise error

    assert tried_batch(run, limit=1000, tolerance=0) == Largest(most, "memory")
    assert len(tried) <= 16 and len(set(tried)) == len(tried)


def test_the_bounds_of_the_search():
    def run(batch):
        time.now += batch
        if batch > 5000:
            raise MemoryError

    time = Time()
    assert tried_batch(run, limit=100, seconds=1e9, clock=time) == Largest(100, "limit")
    assert tried_batch(run, limit=10**6, seconds=100, clock=time) == Largest(32, "time")  # 64 would end after 127 s
    near = tried_batch(run, limit=10**6, seconds=1e9, clock=time)
    assert near.bound == "memory" and 5000 / 1.02 <= near.batch <= 5000

    def fails(batch):
        raise MemoryError

    assert tried_batch(fails, limit=10) == Largest(0, "memory")

    def wrong(batch):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes"):
        tried_batch(wrong, limit=10)


def test_peak_memory_is_that_of_the_tensors():
    weights = torch.ones(1000, 50)

    def run():
        first = torch.ones(500, 1000)  # 2 MB
        second = first @ weights  # 0.1 MB
        del first
        return second.sum() + torch.ones(250_000).sum()  # 1 MB

    run()
    assert peak_memory(run) == 4 * (500_000 + 25_000)
    assert peak_memory(lambda: None) == 0


def test_peak_memory_prints_nothing(capfd):
    peak_memory(lambda: torch.ones(4))
    assert capfd.readouterr() == ("", "")


def test_the_largest_batch_is_extrapolated_from_real_tensors():
    batches = []

    def run(batch):
        batches.append(batch)
        return torch.ones(5000) + torch.ones(batch, 1000).sum()

    fixed, available = 4 * 5000 + 4, 10**7
    result = extrapolated_batch(run, available=available, limit=10**6, share=1.0)
    assert result.bytes_per_example == pytest.approx(4000, rel=0.1)
    assert result.bound == "estimated memory"
    assert result.batch == pytest.approx((available - fixed) / 4000, rel=0.03)
    assert 4000 * max(batches) < available / 4  # none came near the limit


def test_the_extrapolation_in_closed_form():
    time, runs = Time(), []

    def run(batch):
        time.now += batch
        runs.append(batch)

    def peak(function):
        function()
        return 1000 + 10 * runs[-1]

    arguments = {"available": 10_000, "peak": peak, "clock": time, "share": 0.5}
    assert extrapolated_batch(run, limit=10**6, seconds=1e9, **arguments) == Largest(400, "estimated memory", 10.0)
    assert extrapolated_batch(run, limit=300, seconds=1e9, **arguments) == Largest(300, "limit", 10.0)
    assert extrapolated_batch(run, limit=1, **arguments) == Largest(1, "limit")
    none = extrapolated_batch(run, limit=99, **{**arguments, "available": 1000})
    assert none == Largest(0, "estimated memory", 10.0)
    runs.clear()
    wide = {**arguments, "available": 10**9}
    assert extrapolated_batch(run, limit=10**9, seconds=50, **wide).batch == pytest.approx((5 * 10**8 - 1000) / 10)
    assert max(runs) == 16  # 1 + 1 + 2 + 4 + 8 + 16 s; 32 more would be too late


def test_a_cpu_is_extrapolated_and_other_devices_are_tried(monkeypatch):
    monkeypatch.setattr("tformer_cli.analysis.throughput.available_memory", lambda: 10**7)
    largest = largest_batch(lambda batch: torch.ones(batch, 1000), device=CPU, limit=10**6)
    assert largest == Largest(2000, "estimated memory", 4000.0)
    monkeypatch.setattr("tformer_cli.analysis.throughput.available_memory", lambda: None)
    with pytest.raises(ValueError, match="not known"):
        largest_batch(lambda batch: None, device=CPU, limit=2)
    assert largest_batch(lambda batch: None, device=torch.device("meta"), limit=5) == Largest(5, "limit")


def test_available_memory_is_the_least_that_the_system_and_control_groups_leave(tmp_path):
    assert available_memory(tmp_path) is None
    process = tmp_path / "proc" / "self"
    process.mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    (process / "cgroup").write_text("0::/one/two\n")
    assert available_memory(tmp_path) == 8000 * 1024
    for group, limit, used, files in (
        ("one/two", "max", 5, 0),
        ("one", "1000000", 400_000, 50_000),
        ("", "9999999", 1, 0),
    ):
        folder = tmp_path / "sys" / "fs" / "cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 3\ninactive_file {files}\n")
    assert available_memory(tmp_path) == 650_000
    (tmp_path / "sys/fs/cgroup/one/memory.current").write_text("2000000\n")
    assert available_memory(tmp_path) == 0
