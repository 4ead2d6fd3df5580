"""Measurements that several experiments share: token by token, and by position."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from laboratory.experiment import Cell
from laboratory.runs import Runs
from tformer_cli.api import Run
from tformer_cli.draw import Chart, Series
from tformer_cli.evaluators.base import batch_on_device
from tformer_cli.nn.padding import real_positions
from tformer_cli.runs.folder import METRICS


@dataclass(frozen=True)
class TokenScores:
    """Token scores tell what a model predicts for each target token, given the correct tokens before it.

    Attributes:
        positions: position of the token in its target, from 0, (N,), int64.
        losses: negative log-probability of the token, (N,), float64.
        correct: whether the token is the most probable one, (N,), bool.
    """

    positions: np.ndarray
    losses: np.ndarray
    correct: np.ndarray


def token_scores(run: Run, split: str = "test", change: Callable[[Any], Any] | None = None) -> TokenScores:
    """Score each target token of a split by teacher forcing.

    Args:
        run: a run of a model that predicts tokens, on sentence pairs or running text.
        split: train, validation or test.
        change: function that returns the batch that the model reads in place of one of the split.
    """
    opened, model = run.opened, cast(Any, run.model)  # a module has no type of its methods
    view, objective = opened.task.data.view(split), opened.task.evaluator.objective
    parts: list[tuple[torch.Tensor, ...]] = []
    with torch.inference_mode(), opened.machine.autocast():
        for index in range(view.num_batches):
            batch = batch_on_device(view, model, index)
            hidden = objective.outputs(model, batch if change is None else change(batch))
            real = real_positions(batch.target_lengths, hidden.shape[1])
            targets = batch.targets[real]
            weight, bias = model.output_layer()
            logits = torch.nn.functional.linear(hidden[real], weight, bias).float()
            losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
            positions = torch.arange(hidden.shape[1]).expand(hidden.shape[:2])[real.cpu()]
            parts.append((positions, losses.double().cpu(), (logits.argmax(-1) == targets).cpu()))
    positions, losses, correct = (torch.cat(items).numpy() for items in zip(*parts, strict=True))
    return TokenScores(positions, losses, correct)


def by_length(runs: Runs, metric: str = "") -> tuple[list[Sequence[Cell]], list[Sequence[Cell]], Chart]:
    """Compare the groups of an experiment on the test split by length of the source, as `tformer compare` does.

    Args:
        runs: the runs; the first of each group is compared.
        metric: the score; "": that of the task.

    Returns:
        Rows of group, score, 95 % interval and parameters; rows of words, sentences and scores; the chart of these.
    """
    comparison = runs.compare(metric=metric, by="length")
    names = list(runs.groups)
    total: list[Sequence[Cell]] = [
        (name, f"{entry.score:.1f}", f"{entry.resampled.low:.1f} to {entry.resampled.high:.1f}", entry.parameters)
        for name, entry in zip(names, comparison.runs, strict=True)
        if entry.resampled
    ]
    bands: list[Sequence[Cell]] = [
        (group.name, group.examples, *(f"{score:.1f}" for score in group.scores)) for group in comparison.groups
    ]
    lines = [
        Series(
            name,
            [group.scores[number] for group in comparison.groups],
            [group.intervals[number] for group in comparison.groups],
        )
        for number, name in enumerate(names)
    ]
    labels = [group.name for group in comparison.groups]
    return total, bands, Chart("", labels, lines, "words of the source", connected=True)


def training_losses(run: Path) -> tuple[list[int], list[float]]:
    """Return the steps and the losses of training that a run has recorded."""
    lines = [json.loads(line) for line in (run / METRICS).read_text(encoding="utf-8").splitlines()]
    recorded = [line for line in lines if "train/loss" in line]
    return [line["step"] for line in recorded], [line["train/loss"] for line in recorded]


def band_names(starts: Sequence[int]) -> list[str]:
    """Return names of bands of positions, which count from 1: "1-2", "3-4", "5 on" for the starts 0, 2, 4."""
    ends = [*starts[1:], None]
    pairs = zip(starts, ends, strict=True)
    return [f"{first + 1} on" if end is None else _span(first + 1, end) for first, end in pairs]


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def band_means(positions: np.ndarray, values: np.ndarray, starts: Sequence[int]) -> list[float]:
    """Return the mean of the values in each band of positions; nan for an empty band.

    Args:
        positions: (N,).
        values: (N,).
        starts: first position of each band, from 0, ascending; the last band has no end.
    """
    band = np.searchsorted(starts, positions, side="right") - 1
    sums = np.bincount(band, values, minlength=len(starts))
    with np.errstate(invalid="ignore"):
        return (sums / np.bincount(band, minlength=len(starts))).tolist()
