"""The logs of a run: `metrics.jsonl`, `performance.jsonl` and TensorBoard.

`metrics.jsonl` contains only what the seed determines (losses, scores, learning rates), so that a killed and resumed
run ends with the same bytes as an uninterrupted one. Durations and rates are in `performance.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.errors import RunError
from tformer_cli.regular_files import NotRegularError, append_regular
from tformer_cli.runs.folder import METRICS, PERFORMANCE
from tformer_cli.runs.writing import sync
from tformer_cli.train.board import Board

if TYPE_CHECKING:
    import numpy as np

TRAIN, VALIDATION = "train", "validation"
"""Folders of TensorBoard's files in the run folder, which are the names of their runs in TensorBoard."""
TRAINING_TAGS = ("training", "augmented", "config")
"""Prefixes of the tags of texts, images and recordings of the training split."""

LOSSES = ("nll", "ctc", "attention")
"""Names of components of losses that do not contain `loss`."""


def board_tag(group: str, name: str) -> str:
    """Return the tag of a curve in TensorBoard, which sorts by tags: losses, scores, speed, training.

    A loss has the same tag in training and validation, so that both curves are in one chart.

    Args:
        group: train, val or perf.
        name: name of the value in the group.
    """
    if "loss" in name or name in LOSSES:
        return f"loss/{name}"
    section = {"val": "score", "perf": "speed"}.get(group, "training")
    return f"{section}/{name}"


class JsonLines:
    """A file of JSON lines that can be truncated to the length recorded in a checkpoint.

    Args:
        path: the file.
        offset: number of its bytes that belong to the run so far.
        sha256: hash of these bytes recorded in a checkpoint; "" if there is none.

    Attributes:
        note: a note for the user about the lines so far, or "".

    Raises:
        RunError: if the path is not a file.
    """

    def __init__(self, path: Path, offset: int, sha256: str = "") -> None:
        self.path, self.note = path, ""
        try:
            self.file = append_regular(path)
        except NotRegularError as error:
            raise RunError(f"{path}: {error.strerror}", "move it away, then --resume") from error
        self.file.seek(0)
        content = self.file.read(offset)
        if len(content) < offset:
            self.note = f"{path}: only {len(content):,} of {offset:,} bytes are left: the lines of some steps are lost"
            content = content[: content.rfind(b"\n") + 1]
        elif sha256 and hashlib.sha256(content).hexdigest() != sha256:
            self.note = f"{path}: changed after the checkpoint was saved: do not rely on its earlier lines"
        self.hash = hashlib.sha256(content)
        self.file.truncate(len(content))
        self.file.seek(0, os.SEEK_END)

    def write(self, record: dict[str, Any]) -> None:
        """Append a line."""
        line = (json.dumps(record) + "\n").encode()
        self.file.write(line)
        self.file.flush()
        self.hash.update(line)

    def offset(self) -> int:
        """Return the number of bytes so far, after syncing them to disk."""
        self.file.flush()
        sync(self.file.fileno())
        return self.file.tell()

    def cut(self, offset: int) -> None:
        """Remove the lines after an offset."""
        self.file.truncate(offset)
        self.file.seek(0)
        self.hash = hashlib.sha256(self.file.read(offset))
        self.file.seek(0, os.SEEK_END)


class Log:
    """The metrics files and TensorBoard files of a run.

    Args:
        run: the run folder.
        step: first step of training.
        offsets: byte offsets of the two files at that step in a checkpoint; without them both start empty.
        sha256: hash of `metrics.jsonl` up to its offset, if the checkpoint recorded it.
        say: function that receives messages about changes to the files.
    """

    def __init__(
        self, run: Path, step: int, offsets: dict[str, int], sha256: str = "", say: Callable[[str], None] = print
    ) -> None:
        self.metrics = JsonLines(run / METRICS, offsets.get(METRICS, 0), sha256)
        self.performance = JsonLines(run / PERFORMANCE, offsets.get(PERFORMANCE, 0))
        for note in filter(None, (self.metrics.note, self.performance.note)):
            say(note)
        self.boards = {part: Board(run / part, step, say) for part in (TRAIN, VALIDATION)}

    def offsets(self) -> dict[str, int]:
        """Return the lengths of the files for a checkpoint, after syncing them to disk."""
        for board in self.boards.values():
            board.flush()
        return {METRICS: self.metrics.offset(), PERFORMANCE: self.performance.offset()}

    def sha256(self) -> str:
        """Return the SHA-256 of `metrics.jsonl`."""
        return self.metrics.hash.hexdigest()

    def scalars(self, step: int, group: str, values: dict[str, float], *, timing: bool = False) -> None:
        """Write a line to the file, and a point per value to TensorBoard, see `board_tag`."""
        record = {"step": step, **{f"{group}/{name}": value for name, value in values.items()}}
        (self.performance if timing else self.metrics).write(record)
        board = self.boards[VALIDATION if group == "val" else TRAIN]
        for name, value in values.items():
            board.add("scalar", board_tag(group, name), value, step)

    def text(self, step: int, tag: str, text: str) -> None:
        """Write a text in Markdown to TensorBoard."""
        self._board_of(tag).add("text", tag, text, step)

    def image(self, step: int, tag: str, image: Any) -> None:
        """Write an image, (height, width, 3) uint8, to TensorBoard, which lists it after the losses."""
        full_tag = tag if tag.startswith("training/") else f"pictures/{tag}"
        self._board_of(tag).add("image", full_tag, image, step, dataformats="HWC")

    def sound(self, step: int, tag: str, samples: np.ndarray, rate: int, caption: str = "") -> None:
        """Write a recording, (N,) float32 from -1 to 1, to TensorBoard with a caption."""
        self._board_of(tag).add_sound(tag, samples, step, rate, caption)

    def _board_of(self, tag: str) -> Board:
        return self.boards[TRAIN if tag.startswith(TRAINING_TAGS) else VALIDATION]

    def close(self) -> None:
        """Write buffered records, and close the files."""
        for board in self.boards.values():
            board.close()
        self.metrics.file.close()
        self.performance.file.close()
