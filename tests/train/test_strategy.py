"""Evaluation on several ranks: the same scores and predictions as in one process, and failures that reach all ranks."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import time
from pathlib import Path

import pytest
import torch

from tests.properties.families import FAMILIES, WRITERS
from tformer_cli.errors import DataError, RunError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.nn import backend
from tformer_cli.signals import StopRequested
from tformer_cli.train import parallel
from tformer_cli.train.learner import seed_step
from tformer_cli.train.processes import run_ranks
from tformer_cli.train.strategy import PeerError, Strategy


def free_ports(count: int) -> list[int]:
    """Return ports for as many process groups, one after the other."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def joined(port: int) -> Strategy:
    os.environ["MASTER_PORT"] = str(port)
    return Strategy(parallel.join("cpu", 60))


def evaluations(configs, share=None) -> list[tuple[dict, list, list]]:
    """Return scores, predictions and samples of a seeded model of each family."""
    from tformer_cli import tasks

    torch.set_num_threads(1)
    backend.attention = "explicit"  # of a whole process: other tests may have set it
    results = []
    for config, folder in configs:
        task = tasks.build(config)
        task.prepare(folder)
        seed_step(1, 0, 0)
        model = task.model().eval()
        more = () if share is None else (share,)
        with torch.inference_mode():
            scoring = Scoring(limit=100, predictions=task.evaluator.scores_examples)
            evaluation = task.evaluator.evaluate(model, task.data.view("validation"), scoring, *more)
        results.append((evaluation.scores, evaluation.predictions, evaluation.samples))
    return results


def evaluate_on_rank(configs, port: int, output: Path) -> None:
    strategy = joined(port)
    with strategy.synchronized():
        results = evaluations(configs, strategy.share)
    (output / f"{strategy.ranks.rank}.pickle").write_bytes(pickle.dumps(results))
    parallel.leave(strategy.ranks, failed=False)


def test_ranks_score_as_one_process_does(tmp_path):
    def short(family) -> list[str]:  # a model without training writes to its limit
        return ["decode.max_length=8", "decode.beam=2"] if family.name in WRITERS else []

    configs = [(family.config(tmp_path, *short(family)), tmp_path) for family in FAMILIES]
    expected = evaluations(configs)
    run_ranks(2, evaluate_on_rank, (configs, *free_ports(1), tmp_path))
    for rank in range(2):
        actual = pickle.loads((tmp_path / f"{rank}.pickle").read_bytes())
        for family, first, second in zip(FAMILIES, expected, actual, strict=True):
            assert second == first, family.name


def results_on_rank(port: int, output: Path, doing: str) -> None:
    """Share jobs twice; rank 1 fails or is asked to stop in or between them."""
    strategy = joined(port)
    rank = strategy.ranks.rank

    def squares(jobs):
        for job in jobs:
            if doing == "fails in a job" and rank == 1 and job > 4:
                raise DataError("row 5 is wrong", "mend it")
            if doing == "stops in a job" and rank == 1 and job > 4:
                raise StopRequested
            yield job * job

    outcome = ""
    try:
        with strategy.synchronized():
            first = list(strategy.share(squares, range(3)))
            if doing == "fails between" and rank == 1:
                raise ValueError("odd")
            if doing == "stops between" and rank == 1:
                raise StopRequested
            if doing == "fails at last" and rank == 0:
                time.sleep(0.2)
            second = list(strategy.share(squares, range(7)))
            if doing == "fails at last" and rank == 1:
                raise DataError("row 9 is wrong", "mend it")
        outcome = f"{first} {second}"
    except (DataError, ValueError, StopRequested, RunError) as error:
        kind = "stop" if isinstance(error, StopRequested) else "peer" if isinstance(error, PeerError) else "own"
        outcome = f"{kind}: {error}"
    (output / f"{doing}-{rank}.txt").write_text(outcome)
    strategy.ranks.wait()  # nobody is left waiting
    parallel.leave(strategy.ranks, failed=False)


OUTCOMES = {
    "works": ["[0, 1, 4] [0, 1, 4, 9, 16, 25, 36]"] * 2,
    "fails in a job": ["peer: rank 1: row 5 is wrong", "own: row 5 is wrong"],
    "stops in a job": ["stop: ", "stop: "],
    "fails between": ["peer: rank 1: ValueError: odd", "own: odd"],
    "stops between": ["stop: ", "stop: "],
    "fails at last": ["peer: rank 1: row 9 is wrong", "own: row 9 is wrong"],
}
"""What each of two ranks knows at the end, by what happens to one of them."""


def all_results_on_rank(ports: list[int], output: Path) -> None:
    for port, doing in zip(ports, OUTCOMES, strict=True):
        results_on_rank(port, output, doing)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> Path:
    """A folder with the outcomes on two ranks, which try everything in turn, each time as a new process group."""
    folder = tmp_path_factory.mktemp("outcomes")
    run_ranks(2, all_results_on_rank, (free_ports(len(OUTCOMES)), folder))
    return folder


@pytest.mark.parametrize("doing", OUTCOMES)
def test_what_happens_to_one_rank_is_known_to_all(outcomes, doing):
    for rank, expected in enumerate(OUTCOMES[doing]):
        actual = (outcomes / f"{doing}-{rank}.txt").read_text()
        assert actual.startswith(expected), (rank, actual)
