"""What the tasks share that answer files, pictures or recordings, and not lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic

import numpy as np

from tformer_cli.config.schema import BadSample
from tformer_cli.data.core.media_sources import Columns, Row, of_table
from tformer_cli.errors import DataError
from tformer_cli.predictors.inputs import Answer, Readable, merged, readable
from tformer_cli.tasks.base import M, Prediction


class AnswersFiles(Generic[M]):
    """Predictions for files; a subclass implements `files_of`, `read_content`, `read_together` and `answers`."""

    config: Any
    """The task's own `Experiment`."""

    @property
    def endings(self) -> tuple[str, ...]:
        """Return the endings of the files that are searched in a folder."""
        raise NotImplementedError

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

    def rows_of_table(self, path: Path, column: str) -> Iterator[Row]:
        """Yield the files in a column of a table: paths relative to its folder, or bytes.

        Raises:
            DataError: if the column is missing, or the table is malformed.
        """
        columns = Columns(column, None, (), "file", "--column")
        return of_table(path, columns).rows()

    def read_content(self, content: Path | bytes, name: str) -> np.ndarray:
        """Decode a file, or the content of a file, to the input of `answers`.

        Raises:
            DataError: if it cannot be read; the message contains `name`.
        """
        raise NotImplementedError

    def answers(self, model: M, contents: Sequence[np.ndarray]) -> list[Prediction]:
        """Return a prediction for each output of `read_content`, in order."""
        raise NotImplementedError

    def predict(self, model: M, inputs: Iterable[Any]) -> Iterator[Prediction]:
        """Yield a prediction for each file, named by its path, or row of a table, in order.

        The prediction of a skipped file contains the reason.
        """
        for _, items in readable(inputs, self.read_together, lambda paths: [self._readable(path) for path in paths]):
            contents = [item.value for item in items if isinstance(item, Readable)]
            yield from merged(items, self.answers(model, contents) if contents else [])

    def _readable(self, path: Any) -> Answer[np.ndarray] | DataError:
        try:
            content, name = (path.content, path.name) if isinstance(path, Row) else (Path(path), path)
            return Readable(self.read_content(content, name))
        except DataError as error:
            stop = self.config.trainer.on_bad_sample is BadSample.stop
            return error if stop else Prediction("", {"error": error.cause})  # the remedy, to skip it, is taken
