"""Jobs on several cores: answers in order, failures in words, and nobody left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest
import torch

from tests.properties.families import family_named
from tformer_cli.decode.workers import Workers
from tformer_cli.errors import DataError, RunError
from tformer_cli.tasks.task import Task

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def about(job: float) -> tuple[float, int, int]:
    time.sleep(job)
    return job, os.getpid(), torch.get_num_threads()


def test_answers_are_in_the_order_of_the_jobs_and_of_processes_with_one_thread() -> None:
    jobs = [0.2, 0.0, 0.01, 0.0, 0.05, 0.0]
    with Workers(about, 0, CPU) as workers:
        answers = workers.map(jobs)
        assert [answer[0] for answer in answers] == jobs
        pids = {answer[1] for answer in answers}
        assert len(pids) == 2  # as many as torch has threads
        assert os.getpid() not in pids
        assert {answer[2] for answer in answers} == {1}
        assert {answer[1] for answer in workers.map(jobs)} == pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_job_alone_has_all_threads_of_this_process() -> None:
    with Workers(about, 2, CPU) as workers:
        assert workers.map([]) == []
        assert workers.map([0.0]) == [(0.0, os.getpid(), 2)]


def test_one_worker_is_this_process_and_rounds_as_many_do() -> None:
    with Workers(about, 1, CPU) as workers:
        assert workers.map([0.0, 0.0]) == [(0.0, os.getpid(), 1)] * 2
    assert torch.get_num_threads() == 2


def test_other_devices_are_left_alone() -> None:
    with Workers(about, 2, torch.device("meta")) as workers:
        assert workers.map([0.0, 0.0]) == [(0.0, os.getpid(), 2)] * 2


def test_autocast_and_inference_mode_hold_in_workers() -> None:
    def modes(_: int) -> tuple[bool, bool]:
        return torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()

    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode(), Workers(modes, 2, CPU) as workers:
        assert workers.map([0, 1]) == [(True, True)] * 2


def test_errors_are_those_of_the_function() -> None:
    def fail(job: int) -> int:
        if job == 1:
            raise DataError("line 3 is wrong", "mend it")
        if job == 2:
            raise ValueError(lambda: "what pickle cannot carry")
        return job

    with Workers(fail, 2, CPU) as workers, pytest.raises(DataError) as caught:
        workers.map([0, 1, 3])
    assert (caught.value.cause, caught.value.remedy) == ("line 3 is wrong", "mend it")
    with Workers(fail, 2, CPU) as workers, pytest.raises(RuntimeError, match="ValueError"):
        workers.map([0, 2])


def test_a_process_that_is_ended_from_outside_is_named() -> None:
    def end(job: int) -> int:
        return job if job else os.kill(os.getpid(), signal.SIGKILL)

    with Workers(end, 2, CPU) as workers, pytest.raises(RunError, match="killed by SIGKILL"):
        workers.map([1, 0, 1])


def test_workers_leave_signals_to_their_parent_and_end_with_it() -> None:
    with Workers(about, 2, CPU) as workers:
        for _, pid, _ in workers.map([0.1, 0.1]):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)
        assert [answer[0] for answer in workers.map([0.0, 0.01])] == [0.0, 0.01]
        for connection in workers._connections:  # as a parent that is killed leaves them
            connection.close()
        for process in workers._processes:
            process.join(20)
            assert process.exitcode == 0


@pytest.fixture(scope="module")
def translation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, torch.nn.Module]:
    family = family_named("translation")
    task = family.task(tmp_path_factory.mktemp("translation"), "decode.batch=2", "decode.beam=2", "decode.max_length=6")
    torch.manual_seed(1)
    return task, task.model().eval()


def test_translations_have_the_same_bytes_however_many_workers_there_are(
    translation: tuple[Task, torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, model = translation
    lines = [" ".join(["cat", "dog", "eats", "three"][: 1 + i * 7 % 4]) for i in range(70)]
    lines[3] = lines[40] = ""
    counts, real_map = [], Workers.map
    monkeypatch.setattr(
        Workers, "map", lambda self, jobs, **more: counts.append(len(jobs)) or real_map(self, jobs, **more)
    )
    predictions = {}
    for workers in (1, 3):
        task.config.decode.workers = workers
        predictions[workers] = list(task.predict(model, lines))
    assert predictions[1] == predictions[3]
    assert [
        line for line, prediction in zip(lines, predictions[3], strict=True) if not prediction.details["hypotheses"]
    ] == ["", ""]
    assert counts[: len(counts) // 2] == [8, 16, 11]  # windows grow: batches of two lines but the empty ones


def test_no_more_is_read_than_a_window_before_it_is_answered(
    translation: tuple[Task, torch.nn.Module],
) -> None:
    task, model = translation
    task.config.decode.workers = 2
    read = []

    def endless() -> Iterator[str]:
        while True:
            read.append("cat")
            yield "cat"

    answers = task.predict(model, endless())
    next(answers)
    assert len(read) == 16
    for _ in range(16):
        next(answers)
    assert len(read) == 16 + 32
    answers.close()
    assert not multiprocessing.active_children()


def test_a_line_that_is_too_long_is_named(translation: tuple[Task, torch.nn.Module]) -> None:
    task, model = translation
    task.config.decode.workers = 2
    with pytest.raises(DataError, match="input line 20: "):
        list(task.predict(model, ["cat"] * 19 + ["cat " * 10_000]))
    assert not multiprocessing.active_children()
