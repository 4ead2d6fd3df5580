"""A task: data, objective, evaluator and predictor, put together.

The loop and the command line know a task only by this class. Each file of `tformer_cli.tasks` composes one in its
function `build`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from tformer_cli.data.core.batch import Batch
from tformer_cli.data.core.dataset import Data
from tformer_cli.data.core.view import View
from tformer_cli.evaluators.base import Evaluation, Evaluator, Scoring
from tformer_cli.objectives.base import Loss, Objective
from tformer_cli.predictors.base import Companion, Prediction, Predictor


def identity(model: nn.Module) -> nn.Module:
    """Return the model itself."""
    return model


@dataclass(frozen=True)
class Phase:
    """An update within a training step: an objective for a part of the model. Most tasks have one unnamed phase.

    Attributes:
        objective: what the part is trained for.
        part: returns the part of the model whose weights are updated.
        optim: name of the settings of its optimiser in the configuration.
        name: name in logs and checkpoints; empty for the only phase of a run.
        repeats: number of updates in a step, each on its own micro-batches.
    """

    objective: Objective[Any, Any]
    part: Callable[[nn.Module], nn.Module] = identity
    optim: str = "optim"
    name: str = ""
    repeats: int = 1


@dataclass
class Task:
    """What a run does: what it reads, which model it trains, by which loss, how it is scored and used.

    Attributes:
        config: the task's `Experiment`.
        data: splits, vocabulary and views.
        body: returns a freshly initialised body, the model that `model.family` names.
        phases: the updates of a training step, in order.
        evaluator: scores a split.
        predictor: predicts for a user's inputs.
        assemble: returns the body with the task's heads; by default the body itself.
        averaged: returns the part of the model that a moving average of weights covers; by default all of it.
        use: a command that uses a finished run, with {run} for its folder; empty: no command is suggested.
        companions: other runs that the task uses, by name; `train.restore.open_companions` opens them.
        accept: receives the opened companions by name, if there are any; raises a `ConfigError` for an unsuitable one.
    """

    config: Any
    data: Data[Any, Any]
    body: Callable[[], nn.Module]
    phases: Sequence[Phase]
    evaluator: Evaluator[Any, Any]
    predictor: Predictor[Any]
    assemble: Callable[[nn.Module], nn.Module] = identity
    averaged: Callable[[nn.Module], nn.Module] = identity
    use: str = ""
    companions: Mapping[str, Path] = field(default_factory=dict)
    accept: Callable[[Mapping[str, Companion]], None] = lambda companions: None

    def prepare(self, run: Path) -> None:
        """Read the data and check everything that can fail before training.

        Args:
            run: the run folder.

        Raises:
            TformerError: if the data is unsuitable, or a library is missing.
        """
        self.evaluator.require()
        self.data.prepare(run)
        self.evaluator.prepare()

    def describe(self) -> list[tuple[str, str]]:
        """Return name and value of the header's lines on data and scoring."""
        return [*self.data.describe(), *self.evaluator.describe()]

    def model(self) -> nn.Module:
        """Return a freshly initialised model, from the configuration and the prepared or loaded data."""
        return self.assemble(self.body())

    def view(self, split: str) -> View[Any]:
        """Return a split as a run in training sees it: the training split augmented, the others as they are."""
        return self.data.view(split, training=split == "train")

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the loss of a batch in the first phase."""
        objective = self.phases[0].objective
        return objective.loss(model, objective.outputs(model, batch), batch)

    def evaluate(self, model: nn.Module, split: str, scoring: Scoring) -> Evaluation:
        """Score a split as it is.

        Args:
            model: in evaluation mode.
            split: name of the split.
            scoring: extent of the evaluation.
        """
        return self.evaluator.evaluate(model, self.data.view(split), scoring)

    def predict(self, model: nn.Module, inputs: Iterable[Any]) -> Iterator[Prediction]:
        """Yield predictions in the order of the inputs."""
        return self.predictor.predict(model, inputs)
