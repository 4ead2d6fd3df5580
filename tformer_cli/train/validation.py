"""The evaluation of the validation split during training, and the comparison of its scores."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tformer_cli.config.values import plain
from tformer_cli.console import Console
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.draw import Picture, Sound, draw
from tformer_cli.errors import RunError
from tformer_cli.evaluators.base import Evaluation, Scoring
from tformer_cli.machine import Machine
from tformer_cli.tasks.task import Task
from tformer_cli.train.log import Log
from tformer_cli.trained.evaluate import BATCHES

EXTENT = "|decoded:"
"""Beginning of the part of a signature that says which examples are decoded, and how."""


class Validation:
    """The validation of a run; its scores select the best checkpoint.

    Args:
        task: the prepared task.
        model: the model in training; to score averaged weights, swap them in first.
        machine: device and precision.
        console: the console.
    """

    def __init__(self, task: Task, model: nn.Module, machine: Machine, console: Console) -> None:
        self.task, self.model, self.machine, self.console = task, model, machine, console
        self.trainer = task.config.trainer
        self.metric = self.trainer.metric or task.evaluator.metric
        self.scored: tuple[str, str | None] | None = None
        """Metric of the last score, and the signature of its scorer (None: unknown)."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore metric and signature of the scores of a checkpoint, if the task has this metric."""
        metric = state.get("metric") or self.metric
        if not self.trainer.metric and metric in (self.task.evaluator.metric, "loss"):
            self.metric = metric
        if state.get("best") is not None:
            self.scored = (metric, state.get("signature", self.task.evaluator.first_scorer(metric)))

    def changed(self, before: tuple[str, str | None] | None) -> str:
        """Return a description of how the computation of scores differs from an earlier one; "" if it does not."""
        after = self.scored
        if before is None or after is None:
            return ""
        signatures = [signature or "" for _, signature in (before, after)]
        extents = [signature.partition(EXTENT)[2] for signature in signatures]
        if "" in extents or extents[0] == extents[1]:  # earlier versions recorded it for no task, or for all
            signatures = [signature.partition(EXTENT)[0] for signature in signatures]
        if before[0] == after[0] and (before[1] is None or signatures[0] == signatures[1]):
            return ""
        metrics = zip((before[0], after[0]), signatures, strict=True)
        first, last = (f"{metric} ({signature})" if signature else metric for metric, signature in metrics)
        return f"{first} before, {last} now"

    @property
    def _extent(self) -> str:
        """Return which examples are decoded and how, which the signatures of their scores contain; "" if none is."""
        if self.metric == "loss" or not self.task.evaluator.decodes:
            return ""
        decode = getattr(self.task.config, "decode", None)
        search = {name: value for name, value in plain(decode).items() if name not in BATCHES} if decode else {}
        digest = hashlib.sha256(json.dumps(search, sort_keys=True).encode()).hexdigest()[:8]
        return f"{EXTENT}{self.trainer.evaluate_limit or 'all'}" + (f"|decode:{digest}" if search else "")

    @property
    def higher_is_better(self) -> bool:
        """Whether higher values of the metric are better."""
        return self.metric not in self.task.evaluator.lower_is_better

    def better(self, score: float, loss: float, best: float | None, best_loss: float | None) -> bool:
        """Return whether a score is better than the best one; among equal scores the lower loss is better."""
        if best is None or score != best:
            return best is None or (score > best if self.higher_is_better else score < best)
        return best_loss is not None and loss < best_loss

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Compute as `tformer evaluate` inside the context: in the run's precision, without gradients, not compiled."""
        with torch.no_grad(), self.machine.autocast(), torch.compiler.set_stance("force_eager"):
            yield

    def measure(self, share: Share = unshared) -> Evaluation:
        """Score the validation split with the current weights; the model stays in evaluation mode.

        Args:
            share: distribution of batches among ranks.
        """
        self.model.eval()
        scoring = Scoring(
            decoded=self.trainer.evaluate_decoded,
            thorough=False,
            limit=self.trainer.evaluate_limit,
            samples=self.trainer.samples,
        )
        with self._evaluating():
            view = self.task.data.view("validation")
            return self.task.evaluator.evaluate(self.model, view, scoring, share)

    def check_metric(self) -> None:
        """Refuse an unknown `trainer.metric`, or one that has no best value, before training.

        The available scores come from an evaluation that decodes one example, or as many as in training if
        a score needs several.

        Raises:
            RunError: if there is no such score, or if it cannot select checkpoints.
        """
        if self.metric in (self.task.evaluator.metric, "loss"):
            return
        if self.metric in self.task.evaluator.unranked:
            cause = f"trainer.metric: neither the highest nor the lowest {self.metric} is the best"
            raise RunError(cause, f"name another score, such as {self.task.evaluator.metric}")
        self.model.eval()
        limit = self.task.evaluator.smallest_limit or self.trainer.evaluate_limit
        scoring = Scoring(decoded=self.trainer.evaluate_decoded, thorough=False, limit=limit, samples=0)
        with self._evaluating():
            self.score(self.task.evaluate(self.model, "validation", scoring))

    def pictures(self) -> Mapping[str, Picture | Sound]:
        """Return the pictures of the task; none if `trainer.samples` is 0."""
        with self._evaluating():
            return self.task.evaluator.pictures(self.model) if self.trainer.samples else {}

    def score(self, evaluation: Evaluation) -> float:
        """Return the score that selects the best checkpoint.

        Raises:
            RunError: if there is no such score.
        """
        if (
            self.metric not in evaluation.scores
            and self.metric == self.task.evaluator.metric
            and not self.trainer.evaluate_decoded
        ):
            self.metric = "loss"  # nothing was decoded, so that the metric of the task does not exist
        if self.metric in evaluation.scores:
            signature = evaluation.signatures.get(self.metric, "")
            signature = re.sub(r"\|version:[^|]*$", "", signature)  # versions do not change scores
            self.scored = (self.metric, signature + self._extent)
            return evaluation.scores[self.metric]
        raise RunError(f"trainer.metric: no score {self.metric!r}", f"there are: {', '.join(evaluation.scores)}")

    def show(
        self, log: Log, step: int, evaluation: Evaluation, pictures: Mapping[str, Picture | Sound], *, better: bool
    ) -> None:
        """Write an evaluation to the files, to TensorBoard and to the console."""
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
