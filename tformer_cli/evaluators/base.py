"""The interface of evaluators, and the extent and result of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import numpy as np
from torch import nn

from tformer_cli.data.core.batch import B
from tformer_cli.data.core.view import View
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.draw import Picture, Sound
from tformer_cli.errors import Library
from tformer_cli.metrics.bootstrap import Resampled, Statistic, paired_bootstrap
from tformer_cli.objectives.base import Loss, LossSums, M, Objective
from tformer_cli.signals import poll


@dataclass
class Sample:
    """An example with the model's prediction, for the reader of a log.

    Attributes:
        input: the input.
        reference: the correct answer.
        prediction: the model's answer.
    """

    input: str
    reference: str
    prediction: str


@dataclass(frozen=True)
class Scoring:
    """The extent of an evaluation; by default everything is computed.

    Attributes:
        decoded: whether to decode and score predictions, which is slower than the loss alone.
        thorough: whether to compute the scores and tables that training does not need.
        limit: number of decoded examples; 0: all.
        samples: number of returned samples.
        predictions: whether to return all predictions too.
    """

    decoded: bool = True
    thorough: bool = True
    limit: int = 0
    samples: int = 3
    predictions: bool = False


@dataclass
class Evaluation:
    """The result of evaluating a split.

    Attributes:
        scores: scores by name; `trainer.metric` may name one.
        signatures: a description of how each score is computed, by name of the score.
        samples: a few examples.
        tables: (title, header, rows) of detailed scores.
        pictures: figures by name.
        notes: notes for the reader of the scores, one line each.
        data_sha256: hash of the evaluated data.
        predictions: predictions of all examples, if requested, as columns of a table: inputs, `reference`, `prediction`
            and further columns of the task.
    """

    scores: dict[str, float]
    signatures: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    tables: list[tuple[str, list[str], list[list[str]]]] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    data_sha256: str = ""
    predictions: list[dict[str, Any]] = field(default_factory=list)


Row = Mapping[str, Any]
"""A row of a table of predictions, see `Evaluation.predictions`."""


class Evaluator(Generic[M, B]):
    """Scores of a model on a split; a subclass implements `evaluate`.

    Attributes:
        metric: the score that selects the best checkpoint, unless the recipe names another.
        lower_is_better: scores for which lower values are better.
        unranked: scores of which neither the highest nor the lowest value is the best: they cannot select checkpoints.
        per_token: scores that are means over tokens, so that their values depend on the tokenizer.
        per_objective: scores whose values depend on what the loss measures, see `Objective.measure`.
        decodes: whether the scores except the loss are those of decoded examples, whose number and search are set by
            `trainer.evaluate_limit` and `decode`; false: of all examples.
        smallest_limit: number of decoded examples that suffices for every score; 0: all, if a score needs several.
        scores_examples: whether there is a prediction for each example; False for running text and patches.
        groups: groupings of scores, each with the columns of the table of predictions that it uses: `length` (of the
            texts in these columns), `label`, `speaker` (part of the names in this column).
        objective: training objective of the model.
        data: the data.
    """

    metric = "loss"
    lower_is_better: frozenset[str] = frozenset({"loss"})
    unranked: frozenset[str] = frozenset()
    per_token: frozenset[str] = frozenset()
    per_objective: frozenset[str] = frozenset({"loss"})
    decodes = False
    smallest_limit = 1
    scores_examples = True
    groups: Mapping[str, Sequence[str]] = {}

    def __init__(self, objective: Objective[M, B]) -> None:
        self.objective = objective
        self.data: Any = objective.data

    def require(self) -> None:
        """Check, before any data is read, that the settings of the scores are possible.

        Raises:
            ConfigError: if they are not.
        """

    def libraries(self) -> list[Library]:
        """Return the libraries of extras that compute the scores."""
        return []

    def prepare(self) -> None:
        """Check that the scores of the prepared data can be computed.

        Raises:
            TformerError: if they cannot.
        """

    def describe(self) -> list[tuple[str, str]]:
        """Return names and values of the lines on scoring in the header of a run."""
        return []

    def first_scorer(self, metric: str) -> str | None:
        """Return the signature of a score in version 0.1, whose checkpoints do not record it; None: the current one."""
        return None

    def evaluate(self, model: M, view: View[B], scoring: Scoring, share: Share = unshared) -> Evaluation:
        """Score a view of a split; batches are processed one after the other.

        Args:
            model: in evaluation mode.
            view: examples without augmentation.
            scoring: extent of the evaluation.
            share: distribution of batches among ranks.
        """
        raise NotImplementedError

    def scorer(self, split: str) -> str:
        """Return what scores of a split depend on besides the predictions, such as labels; compared runs must agree."""
        return ""

    def statistic(self, metric: str, rows: Sequence[Row]) -> Statistic | None:
        """Return a score as a function of rows of a table of predictions.

        Args:
            metric: name of the score.
            rows: all rows.

        Returns:
            The function, see `metrics.bootstrap`; None: the score cannot be computed from the table.
        """
        return None

    def compared(self, metric: str, systems: Sequence[Sequence[Row]]) -> list[Resampled] | None:
        """Compare several systems' predictions for the same examples with the predictions of the first system.

        Args:
            metric: name of the score.
            systems: table of predictions of each system.

        Returns:
            The resampled scores of each system; None: see `statistic`.
        """
        return paired_bootstrap([self.statistic(metric, rows) for rows in systems], len(systems[0]))

    def pictures(self, model: M) -> Mapping[str, Picture | Sound]:
        """Return figures and sounds for TensorBoard during training, by tag, from validation examples."""
        return {}

    def summed_loss(self, model: M, view: View[B], share: Share = unshared) -> LossSums:
        """Return the loss over all batches of a view."""

        def sums_of(index: int) -> LossSums:
            return LossSums.of(self._loss(model, batch_on_device(view, model, index)))

        total = LossSums()
        for sums in share(lambda indices: map(sums_of, indices), range(view.num_batches)):
            total.add(sums)
        return total

    def _loss(self, model: M, batch: B) -> Loss:
        return self.objective.loss(model, self.objective.outputs(model, batch), batch)


def batch_on_device(view: View[B], model: nn.Module, index: int) -> B:
    """Return a batch of the first epoch on the model's device; signals are handled between batches."""
    poll()
    return view.batch(0, index).to(next(model.parameters()).device)


def perplexity(loss: float) -> float:
    """Return exp(loss), at most exp(700), which is close to the largest float, so that it stays a number."""
    return math.exp(min(loss, 700))


def spread(rows: int, number: int) -> list[int]:
    """Return the indices of at most `number` of `rows` rows, evenly spaced from the first to the last."""
    return np.linspace(0, rows - 1, min(number, rows), dtype=int).tolist()
