"""Measurements of the experiments on small images have their closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from laboratory.experiments.grid import line_scores
from tformer_cli.analysis.positions import similarities
from tformer_cli.nn.grid import cells

PLACES = cells((4, 5), class_token=False).numpy()


def test_vectors_of_row_and_column_have_the_score_of_their_halves():
    vectors = np.concatenate([np.eye(4)[PLACES[:, 0]], np.eye(5)[PLACES[:, 1]]], axis=1)
    assert line_scores(similarities(vectors), PLACES) == pytest.approx((0.5, 0.5))


def test_nearness_alone_is_not_a_line():
    steps = np.abs(PLACES[:, None] - PLACES[None]).sum(-1)
    difference, at_equal_steps = line_scores(-steps.astype(float), PLACES)
    assert difference > 0.5 and at_equal_steps == pytest.approx(0, abs=1e-12)
