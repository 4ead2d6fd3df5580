"""The data of a run: its splits, what is learned from them, and views of them as batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import DividedDataConfig
from tformer_cli.data.core.batch import B
from tformer_cli.data.core.splits import find_split, no_validation
from tformer_cli.data.core.view import View
from tformer_cli.errors import DataError, Library


class Split(Protocol):
    """Training, validation or test data."""

    @property
    def origin(self) -> str:
        """Return a human-readable description of the source."""
        ...

    @property
    def hash(self) -> str:
        """Return the SHA-256 of everything in it, in hex."""
        ...

    def __len__(self) -> int: ...


S = TypeVar("S", bound=Split)
"""The type of a split."""


class Data(Generic[S, B]):
    """The data of a run. Each split is read once, when it is needed.

    A subclass implements `_read` and `_make_view`; most also implement `learn`, `load` and `files`.

    Args:
        config: the task's `Experiment`.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self._splits: dict[str, S] = {}
        self._views: dict[tuple[str, bool], View[B]] = {}

    # --- preparation ---

    def libraries(self) -> list[Library]:
        """Return the libraries of extras that read the data."""
        return []

    def require(self) -> None:
        """Check, before any data is read, that the files exist which the settings name, and a validation split.

        A dataset of the hub is looked for in `prepare`.

        Raises:
            TformerError: if one is missing, or of the wrong kind.
        """
        if self.config.data.source.name != "hub":
            self._require_validation()

    def prepare(self, run: Path) -> None:
        """Read training and validation data, learn from the first, and divide both into batches.

        Args:
            run: the run folder.

        Raises:
            DataError: if the data cannot be read, or is unsuitable.
        """
        self._require_validation()
        train, _ = self.split("train"), self.split("validation")
        self.learn(train)
        for split in ("train", "validation"):
            _ = self.view(split, training=split == "train").num_batches

    def _require_validation(self) -> None:
        """Refuse data without a validation split if no share of the training split is held out for validation.

        Raises:
            DataError: if there is none.
        """
        data = self.config.data
        if isinstance(data, DividedDataConfig) and not data.validation_share and not self._find_split("validation"):
            raise no_validation(data)

    def learn(self, train: S) -> None:
        """Take from the training split what the data must know: vocabulary, labels, statistics."""

    def load(self, folder: Path) -> None:
        """Load the files of a checkpoint folder that `files` returned, such as the tokenizer; no split is read.

        Raises:
            RunError: if the checkpoint is damaged.
        """

    def start_from(self, folder: Path) -> None:
        """Load what this run needs from the checkpoint that training starts from; by default, everything.

        Raises:
            RunError: if the checkpoint is damaged.
        """
        self.load(folder)

    def files(self) -> dict[str, bytes]:
        """Return the files that `load` needs, by name relative to the checkpoint."""
        return {}

    def run_files(self) -> dict[str, bytes]:
        """Return the files that describe the prepared data, by name relative to the run folder."""
        return {}

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of the training and validation data, by name: a run is not resumed on other data."""
        return {f"data.{split}": self.split(split).hash for split in ("train", "validation")}

    def describe(self) -> list[tuple[str, str]]:
        """Return the names and values of the lines about the data in the header that training prints."""
        raise NotImplementedError

    # --- what a model must know ---

    def sizes(self) -> Sizes:
        """Return the sizes of the data that determine the shape of the model, after `prepare` or `load`."""
        return Sizes()

    @property
    def usual_length(self) -> int:
        """Return the usual size of an example, the argument of `ModelConfig.attention_shape`."""
        raise NotImplementedError

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the names of the rows of the model's output layer, after `load` or `prepare`; empty: no names."""
        return ()

    # --- splits and views ---

    def has_split(self, split: str) -> bool:
        """Return whether there is such a split, without reading it."""
        try:
            return self._find_split(split)
        except (DataError, OSError):
            return False

    def split(self, name: str) -> S:
        """Return a split, which is read if necessary."""
        if name not in self._splits:
            self._splits |= self._read(name)
        return self._splits[name]

    def view(self, split: str, *, training: bool = False) -> View[B]:
        """Return the batches of a split, with the augmentation of training or without it."""
        if (split, training) not in self._views:
            self._views[split, training] = self._make_view(split, training=training)
        return self._views[split, training]

    def inputs(self, batch: B, *, training: bool) -> tuple[Any, ...]:
        """Return the arguments of the model for a batch on its device: augmented images, features of recordings.

        Args:
            batch: on the model's device.
            training: whether it is augmented.
        """
        raise NotImplementedError

    def _find_split(self, split: str) -> bool:
        return find_split(self.config.data, split) is not None

    def _read(self, split: str) -> dict[str, S]:
        """Return a split by its name, and any other that results from the same reading."""
        raise NotImplementedError

    def _make_view(self, split: str, *, training: bool) -> View[B]:
        raise NotImplementedError
