"""The batches of an evaluation are independent jobs that ranks can share: the scores are those of one process."""

from __future__ import annotations

import pickle

import pytest
import torch

from tests.properties.families import FAMILIES
from tformer_cli.evaluators.base import Scoring
from tformer_cli.tasks.task import Task

RANKS = 3


def shared(compute, jobs):
    """Compute the jobs of one rank after those of another, and hand the results over as bytes."""
    parts = [[pickle.dumps(result) for result in compute(jobs[rank::RANKS])] for rank in range(RANKS)]
    return [pickle.loads(parts[number % RANKS][number // RANKS]) for number in range(len(jobs))]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_ranks_share_the_batches_of_an_evaluation(family, tmp_path):
    task = family.task(tmp_path)
    if not isinstance(task, Task):
        pytest.skip("the task is not composed yet")
    torch.manual_seed(0)
    model, view, scoring = task.model().eval(), task.data.view("train"), Scoring(predictions=True)
    assert view.num_batches > RANKS
    with torch.inference_mode():
        alone = task.evaluator.evaluate(model, view, scoring)
        assert task.evaluator.evaluate(model, view, scoring, shared) == alone
