"""What a run says while it runs: to the terminal, to `metrics.jsonl` and to TensorBoard.

`metrics.jsonl` holds only what the seed determines (losses, scores, learning rates), so that a killed and resumed run
ends with the same bytes as one that was left alone; times and rates go to `performance.jsonl`.
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

SHORTEST_PAUSE, LONGEST_SILENCE = 5, 30
"""Seconds between two progress lines without a terminal."""
SLOW_SECONDS = 4.0
"""Work before training that takes longer than this is announced."""


TRAIN, VALIDATION = "train", "validation"
"""Folders of TensorBoard's files in the run folder; their curves are called NAME/train and NAME/validation."""
TRAINING_TAGS = ("training", "augmented", "config")
"""Prefixes of the tags of texts, images and recordings of the training split."""

LOSSES = ("nll", "ctc", "attention")
"""Components of losses without `loss` in their names."""


def board_tag(group: str, name: str) -> str:
    """Return the tag of a curve in TensorBoard, which sorts by tags: losses, scores, speed, training.

    A loss has the same tag in training and validation, so that both curves are in one chart.

    Args:
        group: train, val or perf.
        name: name of the value in the group.
    """
    if "loss" in name or name in LOSSES:
        return f"loss/{name}"
    kind = {"val": "score", "perf": "speed"}.get(group, "training")
    return f"{kind}/{name}"


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
        kept = self.file.read(offset)
        if len(kept) < offset:
            self.note = f"{path}: {len(kept):,} of {offset:,} bytes are left: the lines of some steps are lost"
            kept = kept[: kept.rfind(b"\n") + 1]
        elif sha256 and hashlib.sha256(kept).hexdigest() != sha256:
            self.note = f"{path}: changed since the checkpoint was saved: do not rely on its earlier lines"
        self.hash = hashlib.sha256(kept)
        self.file.truncate(len(kept))
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
    """Writes the metrics files and TensorBoard files of a run.

    Args:
        run: the run folder.
        step: first step of training.
        offsets: byte offsets of the two files at that step in a checkpoint; without them both start empty.
        sha256: hash of `metrics.jsonl` up to its offset, if the checkpoint recorded it.
        say: receives messages about changes to the files.
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
        """Markdown in TensorBoard."""
        self._board_of(tag).add("text", tag, text, step)

    def image(self, step: int, tag: str, image: Any) -> None:
        """Write an image, (height, width, 3) uint8, to TensorBoard, which lists it after the losses."""
        named = tag if tag.startswith("training/") else f"pictures/{tag}"
        self._board_of(tag).add("image", named, image, step, dataformats="HWC")

    def sound(self, step: int, tag: str, samples: np.ndarray, rate: int, caption: str = "") -> None:
        """Write a recording, (N,) float32 from -1 to 1, to TensorBoard with a caption."""
        self._board_of(tag).add_sound(tag, samples, step, rate, caption)

    def _board_of(self, tag: str) -> Board:
        return self.boards[TRAIN if tag.startswith(TRAINING_TAGS) else VALIDATION]

    def close(self) -> None:
        """Write out what is buffered."""
        for board in self.boards.values():
            board.close()
        self.metrics.file.close()
        self.performance.file.close()


def shown(value: float) -> str:
    """A number as people read it: four digits."""
    if value == 0 or not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2e}" if abs(value) < 1e-3 else f"{value:.4g}"


class Console:
    """The terminal: a progress bar where there is one, `key=value` lines where there is none. All on standard error."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = not quiet and sys.stderr.isatty()
        self.progress: Any = None
        self.last_line = self.begun = 0.0
        self.standing: dict[str, str] = {}
        """Progress for the next line: the expected number of steps and the time left."""

    def say(self, line: str) -> None:
        """A line to keep."""
        if self.quiet:
            return
        if self.progress is not None:
            self.progress.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def if_slow(self, line: str) -> Iterator[None]:
        """Say a line while the block runs, if it takes longer than a user waits without wondering."""
        timer = threading.Timer(SLOW_SECONDS, self.say, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def start(self) -> None:
        """Begin to show progress."""
        self.begun = time.monotonic()
        if not self.live:
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.fields[steps]}"), BarColumn(bar_width=20), TextColumn("{task.fields[line]}"))
        self.progress = Progress(*columns, console=RichConsole(stderr=True), transient=True)
        self.task = self.progress.add_task("train", total=1.0, steps="step 0", line="")
        self.progress.start()

    def advance(self, step: int, total: int, share: float, left: float | None) -> None:
        """Update the bar; this is cheap enough for each step.

        Args:
            step: last step.
            total: expected number of steps of the run; 0: unknown.
            share: used share of the budget.
            left: remaining seconds of the run; None: unknown.
        """
        self.standing = {"total": str(total)} if total else {}
        if left is not None:
            self.standing["eta"] = clock(left)
        if self.progress is not None:
            of = f"/{total:,}" if total else ""
            steps = f"step {step:,}{of}" + (f" eta {clock(left)}" if left is not None else "")
            self.progress.update(self.task, completed=share, steps=steps)

    def stale(self) -> bool:
        """Return whether the display is too old to wait for the next line of metrics."""
        longest = 1 if self.progress is not None else LONGEST_SILENCE
        return time.monotonic() - max(self.last_line, self.begun) > longest

    def step(self, step: int, values: dict[str, float]) -> None:
        """Show where training is; off a terminal at most a line every few seconds."""
        if self.quiet:
            return
        pairs = [f"{name}={shown(value)}" for name, value in values.items()]
        now = time.monotonic()
        if self.progress is not None:
            self.last_line = now
            self.progress.update(self.task, line=" ".join(pairs))
        elif now - self.last_line > SHORTEST_PAUSE:
            self.last_line = now
            pairs = [*(f"{name}={text}" for name, text in self.standing.items()), *pairs]
            self.say(f"step={step} " + " ".join(pair.replace(",", "") for pair in pairs))

    def evaluation(self, step: int, scores: dict[str, float], best: bool) -> None:
        """One line for an evaluation."""
        values = "  ".join(f"{name} {shown(value)}" for name, value in scores.items())
        self.say(f"evaluation at step {step:,}: {values}{'  (best so far)' if best else ''}")

    def stop(self) -> None:
        """Take the progress bar away."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
