"""Scoring the validation split while a run trains: always in the same way, so that its scores can be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tformer_cli.decode.workers import Share, unshared
from tformer_cli.draw import Picture, Sound, draw
from tformer_cli.errors import RunError
from tformer_cli.evaluators.base import Evaluation, Scoring
from tformer_cli.tasks.task import Task
from tformer_cli.train.log import Console, Log
from tformer_cli.train.machine import Machine


class Validation:
    """What a run's checkpoints are compared by.

    Args:
        task: prepared.
        model: the model in training; whoever wants averaged weights scored swaps them in first.
        machine: device and precision.
        console: where to talk.
    """

    def __init__(self, task: Task, model: nn.Module, machine: Machine, console: Console) -> None:
        self.task, self.model, self.machine, self.console = task, model, machine, console
        self.trainer = task.config.trainer
        self.metric = self.trainer.metric or task.evaluator.metric
        self.scored: tuple[str, str | None] | None = None
        """Metric of the last score, and its scorer's signature (None: not known)."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take from a checkpoint's state how its scores were computed; keep its metric where the task has it."""
        metric = state.get("metric") or self.metric
        if not self.trainer.metric and metric in (self.task.evaluator.metric, "loss"):
            self.metric = metric
        if state.get("best") is not None:
            self.scored = (metric, state.get("signature", self.task.evaluator.first_scorer(metric)))

    def changed(self, before: tuple[str, str | None] | None) -> str:
        """Return how the computation of scores has changed since an earlier one, in words; "" if it has not."""
        now = self.scored
        if before is None or now is None or (before[0] == now[0] and (before[1] is None or before[1] == now[1])):
            return ""
        first, last = (f"{metric} ({signature})" if signature else metric for metric, signature in (before, now))
        return f"{first} before, {last} now"

    @property
    def higher_is_better(self) -> bool:
        """Of the metric."""
        return self.metric not in self.task.evaluator.lower_is_better

    def better(self, score: float, loss: float, best: float | None, best_loss: float | None) -> bool:
        """Whether a score beats the best so far; of equals the lower loss does: on few examples many are equal."""
        if best is None or score != best:
            return best is None or (score > best if self.higher_is_better else score < best)
        return best_loss is not None and loss < best_loss

    def measure(self, share: Share = unshared) -> Evaluation:
        """Score the validation split with the weights as they are; leaves the model in evaluation mode.

        Args:
            share: how the batches are shared out among ranks.
        """
        self.model.eval()
        scoring = Scoring(
            decoded=self.trainer.evaluate_decoded,
            thorough=False,
            limit=self.trainer.evaluate_limit,
            samples=self.trainer.samples,
        )
        with torch.no_grad(), self.machine.autocast():
            view = self.task.data.view("validation")
            return self.task.evaluator.evaluate(self.model, view, scoring, share)

    def check_metric(self) -> None:
        """Refuse an unknown `trainer.metric` before training.

        The available scores come from an evaluation that decodes one example.

        Raises:
            RunError: if there is no such score.
        """
        if self.metric in (self.task.evaluator.metric, "loss"):
            return
        self.model.eval()
        scoring = Scoring(decoded=self.trainer.evaluate_decoded, thorough=False, limit=1, samples=0)
        with torch.no_grad(), self.machine.autocast():
            self.score(self.task.evaluate(self.model, "validation", scoring))

    def pictures(self) -> Mapping[str, Picture | Sound]:
        """The task's pictures, unless nothing is to be shown."""
        with torch.no_grad(), self.machine.autocast():
            return self.task.evaluator.pictures(self.model) if self.trainer.samples else {}

    def score(self, evaluation: Evaluation) -> float:
        """The score that says which checkpoint is best.

        Raises:
            RunError: if there is no such score.
        """
        if (
            self.metric not in evaluation.scores
            and self.metric == self.task.evaluator.metric
            and not self.trainer.evaluate_decoded
        ):
            self.metric = "loss"  # nothing was decoded, so that the task's own metric is not there
        if self.metric in evaluation.scores:
            signature = evaluation.signatures.get(self.metric, "")
            self.scored = (self.metric, re.sub(r"\|version:[^|]*$", "", signature))  # other versions score alike
            return evaluation.scores[self.metric]
        raise RunError(f"trainer.metric: no score {self.metric!r}", f"there are: {', '.join(evaluation.scores)}")

    def show(
        self, log: Log, step: int, evaluation: Evaluation, pictures: Mapping[str, Picture | Sound], *, better: bool
    ) -> None:
        """An evaluation in the files, in TensorBoard and on the console."""
        log.scalars(step, "val", evaluation.scores)
        if evaluation.samples:
            rows = "\n".join(f"| {s.input} | {s.reference} | {s.prediction} |" for s in evaluation.samples)
            log.text(step, "samples", f"| input | reference | prediction |\n|---|---|---|\n{rows}")
            for sample in evaluation.samples[:1]:
                self.console.say(
                    f"  input: {sample.input}\n  reference: {sample.reference}\n  prediction: {sample.prediction}"
                )
        for tag, picture in {**evaluation.pictures, **pictures}.items():
            if isinstance(picture, Sound):
                log.sound(step, tag, picture.samples, picture.rate, picture.caption)
            else:
                log.image(step, tag, draw(picture))
        self.console.evaluation(step, evaluation.scores, better)
