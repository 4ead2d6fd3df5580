"""Measurements of experiments agree with the evaluation and with hand-computed means."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from laboratory.measures import band_means, band_names, token_scores
from tests.properties.families import FAMILIES


def test_bands_of_positions_have_names_and_means():
    assert band_names((0, 2, 3)) == ["1-2", "3", "4 on"]
    positions, values = np.array([0, 1, 2, 3, 7]), np.array([1.0, 3.0, 5.0, 7.0, 8.0])
    assert band_means(positions, values, (0, 2, 3)) == [2.0, 5.0, 7.5]
    assert np.isnan(band_means(positions, values, (0, 4, 6))[1])


@pytest.mark.parametrize("name", ["translation", "gpt"])
def test_token_scores_have_the_loss_of_the_evaluation(name, tmp_path):
    family = next(family for family in FAMILIES if family.name == name)
    task = family.task(tmp_path)
    model = task.model().eval()
    run: Any = SimpleNamespace(
        opened=SimpleNamespace(task=task, machine=SimpleNamespace(autocast=nullcontext)), model=model
    )
    scores = token_scores(run, "validation")
    view = task.data.view("validation")
    with torch.inference_mode():
        sums = task.evaluator.summed_loss(model, view)
    assert scores.losses.mean() == pytest.approx(sums.means()["loss"], rel=1e-5)
    rows = sum(len(cast(Any, view.batch(0, index)).targets) for index in range(view.num_batches))
    assert (scores.positions == 0).sum() == rows and 0 <= scores.correct.mean() <= 1
