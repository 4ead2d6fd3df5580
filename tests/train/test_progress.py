"""The progress of a run: what a resumed run continues with, and the means that the log shows."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from tformer_cli.train.progress import Progress


def test_a_resumed_run_continues_with_all_that_was_recorded():
    progress = Progress(
        step=7, seconds=3.5, score=0.5, loss=1.5, best=0.75, best_loss=1.25, best_step=3, without_better=2,
        compared_from=1, window={"loss": 4.0, "count": 2.0, "steps": 1.0}, schedule={"rate": 0.1},
    )  # fmt: skip
    values = dataclasses.asdict(progress)
    assert all(value for name, value in values.items() if name != "finished")
    state = json.loads(json.dumps({**values, "finished": True, "offsets": {}}))
    assert Progress.resumed(state) == progress  # it may go on, and is not finished


def test_a_score_is_the_best_or_counts_against_the_patience():
    progress = Progress()
    for step, score, better in ((2, 0.5, True), (4, 0.25, False), (6, 0.375, False)):
        progress.step = step
        progress.record(score, 2 * score, better=better)
    assert (progress.score, progress.loss, progress.without_better) == (0.375, 0.75, 2)
    assert (progress.best, progress.best_loss, progress.best_step) == (0.5, 1.0, 2)
    progress.step = 8
    progress.record(0.75, 0.25, better=True)
    assert (progress.best, progress.best_loss, progress.best_step, progress.without_better) == (0.75, 0.25, 8, 0)


def test_the_log_shows_means_over_targets_and_norms_over_updates():
    """A phase of two updates in each step has the sum of two norms; a phase without targets has a mean of 0."""
    progress = Progress()
    for loss, count in ((6.0, 2.0), (4.0, 3.0)):
        sums = {"loss": loss, "count": count, "gradient_norm": 3.0, "stop": 1.0, "seconds": 9.0}
        sums |= {"d/loss": 0.0, "d/count": 0.0, "d/gradient_norm": 8.0}
        progress.add_sums({name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()})
    assert progress.read_window()["count"] == 5
    means = progress.take_means({"": 1, "d/": 2})
    assert means == pytest.approx({"loss": 2.0, "gradient_norm": 3.0, "d/loss": 0.0, "d/gradient_norm": 4.0})
    assert not progress.window
