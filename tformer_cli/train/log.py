"""The logs of a run: the console, `metrics.jsonl`, `performance.jsonl` and TensorBoard.

`metrics.jsonl` contains only what the seed determines (losses, scores, learning rates), so that a killed and resumed
run ends with the same bytes as an uninterrupted one. Durations and rates are in `performance.jsonl`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.errors import RunError
from tformer_cli.regular import NotRegularError, append_regular
from tformer_cli.runs.folder import METRICS, PERFORMANCE
from tformer_cli.runs.writing import sync
from tformer_cli.train.board import Board
from tformer_cli.train.budget import clock

if TYPE_CHECKING:
    import numpy as np

MIN_LINE_SECONDS, MAX_LINE_SECONDS = 5, 30
"""Minimum and maximum time between progress lines without a terminal, in seconds."""
SLOW_SECONDS = 4.0
"""Seconds after which preparations before training are announced."""


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


def shown(value: float) -> str:
    """Return a number as text with about four digits."""
    if value == 0 or not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2e}" if abs(value) < 1e-3 else f"{value:.4g}"


class Console:
    """The console, on standard error: a progress bar on a terminal, otherwise `key=value` lines.

    Args:
        quiet: whether to print nothing.
        unit: name of the unit that is counted, such as `step`.
    """

    def __init__(self, *, quiet: bool = False, unit: str = "step") -> None:
        self.quiet, self.unit = quiet, unit
        self.live = not quiet and sys.stderr.isatty()
        self.progress: Any = None
        self.last_line = self.started = 0.0
        self.progress_fields: dict[str, str] = {}
        """Fields of the next line: expected number of steps and remaining time."""

    def say(self, line: str) -> None:
        """Print a line."""
        if self.quiet:
            return
        if self.progress is not None:
            self.progress.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def if_slow(self, line: str) -> Iterator[None]:
        """Print a line if the work inside the context takes longer than `SLOW_SECONDS`."""
        timer = threading.Timer(SLOW_SECONDS, self.say, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def start(self) -> None:
        """Begin to show progress."""
        self.started = time.monotonic()
        if not self.live:
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.fields[steps]}"), BarColumn(bar_width=20), TextColumn("{task.fields[line]}"))
        self.progress = Progress(*columns, console=RichConsole(stderr=True), transient=True)
        self.task = self.progress.add_task("train", total=1.0, steps=f"{self.unit} 0", line="")
        self.progress.start()

    def advance(self, step: int, total: int, share: float, remaining: float | None) -> None:
        """Update the bar; this is cheap enough for each step.

        Args:
            step: last step.
            total: expected number of steps of the run; 0: unknown.
            share: used share of the budget.
            remaining: remaining seconds of the run; None: unknown.
        """
        self.progress_fields = {"total": str(total)} if total else {}
        if remaining is not None:
            self.progress_fields["eta"] = clock(remaining)
        if self.progress is not None:
            of_total = f"/{total:,}" if total else ""
            steps = f"{self.unit} {step:,}{of_total}" + (f" eta {clock(remaining)}" if remaining is not None else "")
            self.progress.update(self.task, completed=share, steps=steps)

    def stale(self) -> bool:
        """Return whether the display must be updated before the next line of metrics."""
        limit = 1 if self.progress is not None else MAX_LINE_SECONDS
        return time.monotonic() - max(self.last_line, self.started) > limit

    def step(self, step: int, values: dict[str, float]) -> None:
        """Show the values of a step; without a terminal at most one line in `MIN_LINE_SECONDS`."""
        if self.quiet:
            return
        pairs = [f"{name}={shown(value)}" for name, value in values.items()]
        now = time.monotonic()
        if self.progress is not None:
            self.last_line = now
            self.progress.update(self.task, line=" ".join(pairs))
        elif now - self.last_line > MIN_LINE_SECONDS:
            self.last_line = now
            pairs = [*(f"{name}={text}" for name, text in self.progress_fields.items()), *pairs]
            self.say(f"{self.unit}={step} " + " ".join(pair.replace(",", "") for pair in pairs))

    def evaluation(self, step: int, scores: dict[str, float], best: bool) -> None:
        """Print a line with the scores of an evaluation."""
        values = "  ".join(f"{name} {shown(value)}" for name, value in scores.items())
        self.say(f"evaluation at step {step:,}: {values}{'  (best so far)' if best else ''}")

    def stop(self) -> None:
        """Remove the progress bar."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
