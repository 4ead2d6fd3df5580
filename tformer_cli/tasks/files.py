"""What the tasks share that answer files, pictures or recordings, and not lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic

import numpy as np

from tformer_cli.config.schema import BadSample
from tformer_cli.errors import DataError
from tformer_cli.tasks.base import M, Prediction
from tformer_cli.tasks.splits import windows


class AnswersFiles(Generic[M]):
    """The use of a task on files; a subclass gives `files_of`, `read_file`, `read_together` and `answers`."""

    config: Any
    """The task's own `Experiment`."""

    @property
    def read_together(self) -> int:
        """Files that are read before they are answered together."""
        raise NotImplementedError

    def files_of(self, path: Path) -> list[Path]:
        """The files that a user's path stands for: itself, or those of a folder.

        Raises:
            DataError: if there are none.
        """
        raise NotImplementedError

    def read_file(self, path: str) -> np.ndarray:
        """What is in a file, as `answers` takes it.

        Raises:
            DataError: if it cannot be read.
        """
        raise NotImplementedError

    def answers(self, model: M, found: Sequence[np.ndarray]) -> list[Prediction]:
        """An answer to each of what `read_file` gave, in order."""
        raise NotImplementedError

    def predict(self, model: M, inputs: Iterable[str]) -> Iterator[Prediction]:
        """An answer to each file, named by its path, in order; or, if such are skipped, why it could not be read."""
        for _, paths in windows(inputs, self.read_together):
            found = [self._readable(path) for path in paths]
            answers = iter(self.answers(model, [item for item in found if isinstance(item, np.ndarray)]))
            for item in found:
                yield next(answers) if isinstance(item, np.ndarray) else Prediction("", {"error": str(item)})

    def _readable(self, path: str) -> np.ndarray | DataError:
        try:
            return self.read_file(path)
        except DataError as error:
            if self.config.trainer.on_bad_sample is BadSample.stop:
                raise
            return error
