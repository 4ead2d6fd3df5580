"""What all tasks share that learn from splits of examples: each is read once, and a run is not resumed on others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from tformer_cli.data.core.splits import find_split
from tformer_cli.draw import Picture, Sound
from tformer_cli.errors import DataError
from tformer_cli.tasks.base import B, M
from tformer_cli.tasks.task import Phase, identity


class Split(Protocol):
    """Training, validation or test data, as it was read."""

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 of all, in hex."""
        ...

    def __len__(self) -> int: ...


S = TypeVar("S", bound=Split)
"""What a task reads."""


class _Facet:
    """The data, the objective, the evaluator or the predictor of a task that is not yet composed of them."""

    def __init__(self, task: Any) -> None:
        self.__dict__["task"] = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.task, name, value)


class _Data(_Facet):
    def view(self, split: str, *, training: bool = False) -> Any:
        return _View(self.task, split, training)

    @property
    def usual_length(self) -> int:
        return self.task.shape()["length"]

    def split(self, name: str) -> Any:
        return self.task._split(name)


class _View:
    def __init__(self, task: Any, split: str, training: bool) -> None:
        self.task, self.split, self.training = task, split, training

    @property
    def num_batches(self) -> int:
        return self.task.num_batches(self.split)

    def rows(self, epoch: int, index: int) -> np.ndarray:
        return self.task.rows(self.split, epoch, index)

    def collate(self, epoch: int, rows: np.ndarray) -> Any:
        return self.task.collate(self.split, epoch, rows)

    def batch(self, epoch: int, index: int) -> Any:
        return self.collate(epoch, self.rows(epoch, index))


class _Evaluator(_Facet):
    def evaluate(self, model: Any, view: Any, scoring: Any, share: Any = None) -> Any:
        return self.task.evaluate(model, view.split, scoring)


class _Objective(_Facet):
    def outputs(self, model: Any, batch: Any) -> None:
        return None

    def loss(self, model: Any, outputs: Any, batch: Any) -> Any:
        return self.task.loss(model, batch)


class _Predictor(_Facet):
    @property
    def reads(self) -> str:
        return "files" if hasattr(self.task, "files_of") else "text"

    streams = False


class SplitsTask(Generic[S, M, B]):
    """Splits of a task; a subclass says what is read, and has the model, the loss and the use.

    A subclass gives `_read`, `num_batches`, `rows` and `collate`.
    """

    config: Any
    """The task's own `Experiment`."""
    in_use = False
    options: frozenset[str] = frozenset()
    translates = False
    scores_examples = True
    on_long: Any = None
    use = ""
    top = 0
    companions: Mapping[str, Path] = {}
    averaged = staticmethod(identity)

    def __init__(self, config: Any) -> None:
        self.config = config
        self._splits: dict[str, S] = {}
        self.data: Any = _Data(self)
        self.evaluator: Any = _Evaluator(self)
        self.predictor: Any = _Predictor(self)
        self.phases: Any = (Phase(_Objective(self)),)  # type: ignore[arg-type]

    def view(self, split: str) -> Any:
        """Return a split as a run in training sees it."""
        return self.data.view(split, training=split == "train")

    def prepare(self, run: Path) -> None:
        """Read training and validation data, learn from the first what the task must know, divide both into batches."""
        train, _ = self._split("train"), self._split("validation")
        self._learn(train)
        for split in ("train", "validation"):
            self.num_batches(split)

    def run_files(self) -> dict[str, bytes]:
        """No files of its own in the run folder."""
        return {}

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of the training and validation data."""
        return {f"data.{split}": self._split(split).hash for split in ("train", "validation")}

    def origin(self, split: str) -> str:
        """Return the source of a split, for messages."""
        return self._split(split).origin

    def has_split(self, split: str) -> bool:
        """Return whether there is such a split, without reading it."""
        try:
            return self._find_split(split)
        except (DataError, OSError):
            return False

    def _find_split(self, split: str) -> bool:
        return find_split(self.config.data, split) is not None

    def _split(self, split: str) -> S:
        if split not in self._splits:
            self._splits |= self._read(split)
        return self._splits[split]

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the rows of the model's output layer, after `load` or `prepare`; empty: they have none."""
        return ()

    def first_scorer(self, metric: str) -> str | None:
        """Return the signature of version 0.1's scorer, which its checkpoints lack; None: the same as now."""
        return None

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the columns of the training tables that form an input."""
        return ()

    def unused(self, name: str) -> str:
        """Return why a setting of `decode` in `options` has no effect with the present settings; empty: it has one."""
        return ""

    def _read(self, split: str) -> dict[str, S]:
        """A split by its name, and any other that came of the same reading."""
        raise NotImplementedError

    def _learn(self, train: S) -> None:
        """Take from the training split what the task must know: vocabulary, labels, masks."""

    def num_batches(self, split: str) -> int:
        """Batches in an epoch."""
        raise NotImplementedError

    def rows(self, split: str, epoch: int, index: int) -> np.ndarray:
        """Rows of batch `index` of `epoch`."""
        raise NotImplementedError

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> B:
        """A batch of the given rows."""
        raise NotImplementedError

    def _is_changing(self, split: str) -> bool:
        """Training changes its own examples anew in each epoch; a model in use is shown them as they are."""
        return split == "train" and not self.in_use

    def _smoothing(self, model: M) -> float:
        """Label smoothing is part of training, not of what is reported."""
        return self.config.optim.label_smoothing if model.training else 0.0

    def pictures(self, model: M) -> Mapping[str, Picture | Sound]:
        """None while training."""
        return {}
