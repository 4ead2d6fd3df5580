"""The class of all tasks, which composes data, model, objectives, evaluator and predictor.

The training loop and the command line use tasks only through this class. Each file of `tformer_cli.tasks` composes one
in its function `build`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from tformer_cli import errors
from tformer_cli.config.compose import from_yaml
from tformer_cli.config.schema import Experiment
from tformer_cli.data.core.batch import Batch
from tformer_cli.data.core.dataset import Data
from tformer_cli.data.core.view import View
from tformer_cli.evaluators.base import Evaluation, Evaluator, Scoring
from tformer_cli.inspectors.base import Inspector
from tformer_cli.objectives.base import Loss, Objective
from tformer_cli.predictors.base import Companion, Prediction, Predictor
from tformer_cli.runs.folder import CONFIG, locate


def identity(model: nn.Module) -> nn.Module:
    """Return the model itself."""
    return model


@dataclass(frozen=True)
class Phase:
    """An update within a training step: an objective for a part of the model. Most tasks have one unnamed phase.

    Attributes:
        objective: training objective of the part.
        part: function from the model to the part whose weights are updated.
        optim: name of the settings of its optimiser in the configuration.
        name: name in logs and checkpoints; empty for the only phase of a run.
        repeats: number of updates in a step, each on its own micro-batches.
        before: function of the part, called once before each update, whatever the number of micro-batches.
    """

    objective: Objective[Any, Any]
    part: Callable[[nn.Module], nn.Module] = identity
    optim: str = "optim"
    name: str = ""
    repeats: int = 1
    before: Callable[[nn.Module], object] = identity


@dataclass
class Task:
    """A task: data, model, objectives of training, evaluator and predictor.

    Attributes:
        config: the task's `Experiment`.
        data: data with its splits and vocabulary.
        body: function that returns a freshly initialised body, the model that `model.family` names.
        phases: the updates of a training step, in order.
        evaluator: evaluator of splits.
        predictor: predictor for the user's inputs.
        inspector: source of examples for figures that look inside the model, with a meaning for each position.
        assemble: function that adds the task's heads to a body; by default the identity.
        averaged: function from the model to the part that a moving average of weights covers; by default the identity.
        use: command that uses a finished run, with {run} for its folder; empty: no command is suggested.
        companions: other runs that the task uses, by name; `trained.opening.open_companions` opens them.
        suits: function of the folder and the settings of a companion, which raises a `ConfigError` for an unsuitable
            one before it is opened.
        accept: function that receives the opened companions by name, if there are any.
    """

    config: Any
    data: Data[Any, Any]
    body: Callable[[], nn.Module]
    phases: Sequence[Phase]
    evaluator: Evaluator[Any, Any]
    predictor: Predictor[Any]
    inspector: Inspector[Any]
    assemble: Callable[[nn.Module], nn.Module] = identity
    averaged: Callable[[nn.Module], nn.Module] = identity
    use: str = ""
    companions: Mapping[str, Path] = field(default_factory=dict)
    suits: Callable[[Path, Experiment], None] = lambda run, config: None
    accept: Callable[[Mapping[str, Companion]], None] = lambda companions: None

    def require(self) -> None:
        """Check, before `prepare` reads any data, what a run needs: libraries, other runs, and files besides the data.

        Raises:
            ConfigError: naming all libraries that are missing; or if a setting is impossible.
            TformerError: if a run or file that a setting names is missing or unsuitable.
        """
        errors.require([*self.evaluator.libraries(), *self.data.libraries()])
        self.evaluator.require()
        self.predictor.require()
        self.check_companions()
        self.data.require()

    def check_companions(self) -> None:
        """Check the other runs that the task uses by their settings, without their weights.

        Raises:
            RunError: if one has no complete checkpoint; names the setting.
            ConfigError: if the task cannot use one.
        """
        for name, path in self.companions.items():
            try:
                _, checkpoint = locate(path)
            except errors.RunError as error:
                raise errors.RunError(f"{name}: {error.cause}", error.remedy) from error
            self.suits(path, from_yaml(checkpoint / CONFIG))

    def prepare(self, run: Path) -> None:
        """Read the data and check everything that can fail before training.

        Args:
            run: the run folder.

        Raises:
            TformerError: if the data is unsuitable.
        """
        self.data.prepare(run)
        self.evaluator.prepare()
        self.predictor.prepare(run, lambda: self.data)

    def describe(self) -> list[tuple[str, str]]:
        """Return names and values of the lines on data and scoring in the header of a run."""
        return [*self.data.describe(), *self.evaluator.describe()]

    def model(self) -> nn.Module:
        """Return a freshly initialised model, from the configuration and the prepared or loaded data.

        Raises:
            ConfigError: if an objective cannot train it.
        """
        model = self.assemble(self.body())
        for phase in self.phases:
            phase.objective.check(model)
        return model

    def view(self, split: str) -> View[Any]:
        """Return a split as in training: the training split is augmented, the others are not."""
        return self.data.view(split, training=split == "train")

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the loss of a batch in the first phase."""
        objective = self.phases[0].objective
        return objective.loss(model, objective.outputs(model, batch), batch)

    def evaluate(self, model: nn.Module, split: str, scoring: Scoring) -> Evaluation:
        """Score a split without augmentation.

        Args:
            model: in evaluation mode.
            split: name of the split.
            scoring: extent of the evaluation.
        """
        return self.evaluator.evaluate(model, self.data.view(split), scoring)

    def predict(self, model: nn.Module, inputs: Iterable[Any]) -> Iterator[Prediction]:
        """Yield predictions in the order of the inputs."""
        return self.predictor.predict(model, inputs)
