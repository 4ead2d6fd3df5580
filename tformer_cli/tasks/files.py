"""What the tasks share that answer files, pictures or recordings, and not lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic

import numpy as np

from tformer_cli.config.schema import BadSample
from tformer_cli.data.media_sources import Columns, Row, of_table
from tformer_cli.errors import DataError
from tformer_cli.tasks.base import M, Prediction
from tformer_cli.tasks.inputs import Answer, Readable, merged, readable


class AnswersFiles(Generic[M]):
    """The use of a task on files; a subclass gives `files_of`, `read_content`, `read_together` and `answers`."""

    config: Any
    """The task's own `Experiment`."""

    @property
    def endings(self) -> tuple[str, ...]:
        """Of the files that are looked for in a folder."""
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
        """The files that a table names in a column, relative to its folder, or holds there as bytes.

        Raises:
            DataError: if there is no such column, or the table is malformed.
        """
        columns = Columns(column, None, (), "file", "--column")
        return of_table(path, columns).rows()

    def read_content(self, content: Path | bytes, name: str) -> np.ndarray:
        """What is in a file, or would be in one, as `answers` takes it.

        Raises:
            DataError: if it cannot be read; calls it `name`.
        """
        raise NotImplementedError

    def answers(self, model: M, found: Sequence[np.ndarray]) -> list[Prediction]:
        """An answer to each of what `read_content` gave, in order."""
        raise NotImplementedError

    def predict(self, model: M, inputs: Iterable[Any]) -> Iterator[Prediction]:
        """An answer to each file, named by its path, or row of a table, in order.

        Or, if such are skipped, why it could not be read.
        """
        for _, items in readable(inputs, self.read_together, lambda paths: [self._readable(path) for path in paths]):
            found = [item.value for item in items if isinstance(item, Readable)]
            yield from merged(items, self.answers(model, found) if found else [])

    def _readable(self, path: Any) -> Answer[np.ndarray] | DataError:
        try:
            content, name = (path.content, path.name) if isinstance(path, Row) else (Path(path), path)
            return Readable(self.read_content(content, name))
        except DataError as error:
            stop = self.config.trainer.on_bad_sample is BadSample.stop
            return error if stop else Prediction("", {"error": str(error)})
