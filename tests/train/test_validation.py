"""Which evaluation is the best, and that the loop's record of it is the checkpoint that is kept."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.properties.families import FAMILIES, family_named
from tformer_cli.config.schema import TrainerConfig
from tformer_cli.console import Console
from tformer_cli.errors import RunError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.machine import Machine
from tformer_cli.runs.checkpoint import Checkpoints
from tformer_cli.train.validation import Validation

HIGHER = {
    "accuracy", "bleu", "bleu_lowercase", "chrf", "exact_match", "f1", "f1_macro", "matthews", "mlm_accuracy",
    "precision", "recall", "tag_accuracy", "top5_accuracy",
}  # fmt: skip
"""Scores of which higher values are better."""

CPU = Machine(torch.device("cpu"), "fp32", "explicit", 1, 1e9)


def validation(*, higher_is_better: bool) -> Validation:
    found: Any = Validation.__new__(Validation)
    found.metric = "score"
    found.task = SimpleNamespace(
        evaluator=SimpleNamespace(lower_is_better=frozenset() if higher_is_better else frozenset({"score"}))
    )
    return found


def test_of_equal_scores_the_lower_loss_is_better():
    errors, accuracy = validation(higher_is_better=False), validation(higher_is_better=True)
    assert errors.better(5.0, 1.0, None, None) and errors.better(4.0, 9.0, 5.0, 1.0)
    assert not errors.better(6.0, 0.5, 5.0, 1.0)
    assert accuracy.better(6.0, 9.0, 5.0, 1.0) and not accuracy.better(4.0, 0.5, 5.0, 1.0)
    for each in (errors, accuracy):
        assert each.better(5.0, 0.9, 5.0, 1.0)
        assert not each.better(5.0, 1.0, 5.0, 1.0) and not each.better(5.0, 1.1, 5.0, 1.0)
        assert not each.better(5.0, 0.1, 5.0, None)  # of a run from before losses were recorded


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_the_loop_and_the_checkpoints_agree_on_the_best(tmp_path, higher_is_better):
    scorer = validation(higher_is_better=higher_is_better)
    checkpoints = Checkpoints(tmp_path, higher_is_better=higher_is_better)
    random.seed(3)
    best, best_loss, best_step = None, None, 0
    for step in range(1, 40):
        score, loss = random.randint(0, 3), random.randint(0, 3)
        if scorer.better(score, loss, best, best_loss):
            best, best_loss, best_step = score, loss, step
        state = {"step": step, "score": score, "loss": loss, "best": best, "best_step": best_step}
        checkpoints.save(step, {"model.safetensors": b"", "config.yaml": b"", "state.json": json.dumps(state).encode()})
        assert checkpoints.best() == checkpoints.path(best_step) == checkpoints.ranked()[0]
        assert (tmp_path / "best").read_text() == checkpoints.path(best_step).name


@pytest.mark.parametrize("name", [family.name for family in FAMILIES])
def test_each_score_has_a_direction_or_is_no_criterion(name, tmp_path):
    task = family_named(name).task(tmp_path)
    with torch.inference_mode():
        scores = set(task.evaluate(task.model().eval(), "validation", Scoring(limit=20, samples=0)).scores)
    lower, unranked = task.evaluator.lower_is_better, task.evaluator.unranked
    assert not lower & unranked
    assert scores - lower - unranked <= HIGHER
    assert not HIGHER & (lower | unranked)


@pytest.mark.parametrize(
    ("name", "metric"), [("sagan", "pixel_spread"), ("sagan", "real_score"), ("editing", "length_ratio")]
)
def test_a_score_without_direction_does_not_select_checkpoints(name, metric, tmp_path):
    task = family_named(name).task(tmp_path, f"trainer.metric={metric}")
    validation = Validation(task, task.model(), CPU, Console(quiet=True))
    message = f"trainer.metric: neither the highest nor the lowest {metric} is the best: name another"
    with pytest.raises(RunError, match=message):
        validation.check_metric()


def test_an_evaluation_computes_as_much_as_the_settings_say():
    calls = []

    def evaluate(model, view, scoring, share) -> None:
        calls.append((view, scoring, model.training, torch.is_grad_enabled()))

    trainer = TrainerConfig(evaluate_limit=7, samples=2, evaluate_decoded=False)
    task: Any = SimpleNamespace(
        config=SimpleNamespace(trainer=trainer), data=SimpleNamespace(view=str),
        evaluator=SimpleNamespace(metric="score", evaluate=evaluate),
    )  # fmt: skip
    Validation(task, torch.nn.Linear(1, 1), CPU, Console(quiet=True)).measure()
    assert calls == [("validation", Scoring(decoded=False, thorough=False, limit=7, samples=2), False, False)]
