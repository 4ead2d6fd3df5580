"""Predictors of files: images, recordings, and the columns of tables that name or contain them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tformer_cli.config.schema import BadSample
from tformer_cli.data.core.media_sources import Columns, Row, split_of_table
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.errors import DataError
from tformer_cli.objectives.base import M
from tformer_cli.predictors.base import Prediction, Predictor
from tformer_cli.predictors.inputs import Answer, Readable, merged, readable


class MediaFiles(Protocol):
    """An interface to find and read files of one kind, images or recordings."""

    @property
    def contents(self) -> str:
        """Return the name of what the files contain, in the plural."""
        ...

    @property
    def endings(self) -> tuple[str, ...]:
        """Return the endings of the files that are looked for in a folder."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of the training tables that may contain such files."""
        ...

    @property
    def read_together(self) -> int:
        """Return the number of files that are read before the model computes their predictions together."""
        ...

    def files_of(self, path: Path) -> list[Path]:
        """Return the files that a user's path stands for: itself, or those in a folder.

        Raises:
            DataError: if there are none.
        """
        ...

    def read(self, content: Path | bytes, name: str) -> np.ndarray:
        """Return the decoded content of a file.

        Args:
            content: path of the file, or its bytes.
            name: its name in messages.

        Raises:
            DataError: if it cannot be read; the message contains `name`.
        """
        ...


class FilePredictor(Predictor[M]):
    """Predictions for files; a subclass implements `answers`.

    Args:
        data: the data.
        files: how the files are found and read.
    """

    reads = "files"

    def __init__(self, data: Any, files: MediaFiles) -> None:
        super().__init__(data)
        self.files = files

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the columns of the training tables that may contain the files."""
        return self.files.columns

    def rows_of_table(self, path: Path, column: str) -> Iterator[Row]:
        """Yield the files in a column of a table: paths relative to its folder, or bytes.

        Raises:
            DataError: if the column is missing, or the table is malformed.
        """
        columns = Columns(column, None, (), "file", "--column")
        return split_of_table(path, columns).rows()

    def answers(self, model: M, contents: Sequence[np.ndarray], numbers: Sequence[int] = ()) -> list[Prediction]:
        """Return the predictions for decoded files, in order.

        Args:
            model: in evaluation mode.
            contents: decoded contents of at least one file.
            numbers: index of each file among all inputs, on which the random numbers of sampling depend; empty: 0, 1,
                ...
        """
        raise NotImplementedError

    def predict(self, model: M, inputs: Iterable[Any], share: Share = unshared) -> Iterator[Prediction]:
        """Yield a prediction for each file, named by its path, or row of a table, in order.

        The prediction for a skipped file contains the reason.
        """
        for before, items in readable(
            inputs, self.files.read_together, lambda files: [self._readable(file) for file in files]
        ):
            contents = {number: item.value for number, item in enumerate(items, before) if isinstance(item, Readable)}
            yield from merged(items, self.answers(model, list(contents.values()), list(contents)) if contents else [])

    def _readable(self, file: Any) -> Answer[np.ndarray] | DataError:
        try:
            content, name = (file.content, file.name) if isinstance(file, Row) else (Path(file), file)
            return Readable(self.files.read(content, name))
        except DataError as error:
            stop = self.config.trainer.on_bad_sample is BadSample.stop
            return error if stop else Prediction("", {"error": error.cause})  # the remedy is to skip it
