"""What a run says while it runs: to the terminal, to `metrics.jsonl` and to TensorBoard.

`metrics.jsonl` holds only what the seed determines (losses, scores, learning rates), so that a killed and resumed run
ends with the same bytes as one that was left alone; times and rates go to `performance.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.errors import RunError
from tformer_cli.regular import NotRegularError, append_regular
from tformer_cli.train.board import Board
from tformer_cli.train.budget import clock
from tformer_cli.train.run import METRICS, PERFORMANCE
from tformer_cli.writing import sync

if TYPE_CHECKING:
    import numpy as np

SHORTEST_PAUSE, LONGEST_SILENCE = 5, 30
"""Seconds between two lines about progress where there is no terminal."""


TRAIN, VALIDATION = "train", "validation"
"""Folders of TensorBoard's files in the run folder, which calls its curves NAME/train and NAME/validation."""
TRAINING_TAGS = ("training", "augmented", "config")
"""How the tags of texts, pictures and sounds of the training split begin."""

LOSSES = ("nll", "ctc", "attention")
"""Parts of losses that do not have it in their names."""


def board_tag(group: str, name: str) -> str:
    """Name a curve in TensorBoard, which sorts by it: losses come first, then scores, speed and training's own.

    A loss has the same name in training and validation, so that both are lines of one chart.

    Args:
        group: train, val or perf.
        name: of the value in it.
    """
    if "loss" in name or name in LOSSES:
        return f"loss/{name}"
    kind = {"val": "score", "perf": "speed"}.get(group, "training")
    return f"{kind}/{name}"


class JsonLines:
    """A file of one JSON object a line, that can be cut back to where a checkpoint saw it.

    Args:
        path: the file.
        offset: bytes of it that belong to the run so far.
        sha256: of these bytes, as a checkpoint recorded it; "" if none did.

    Attributes:
        note: what the user should know about the lines so far, or "".

    Raises:
        RunError: if something else than a file lies there.
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
        """Bytes so far, which are on the disk when this returns."""
        self.file.flush()
        sync(self.file.fileno())
        return self.file.tell()

    def cut(self, offset: int) -> None:
        """Take back the lines after an offset."""
        self.file.truncate(offset)
        self.file.seek(0)
        self.hash = hashlib.sha256(self.file.read(offset))
        self.file.seek(0, os.SEEK_END)


class Log:
    """Files and TensorBoard of a run.

    Args:
        run: the run folder.
        step: the step that training starts from.
        offsets: byte offsets of the two files at that step, if it comes from a checkpoint; else both start empty.
        sha256: of `metrics.jsonl` up to its offset, if the checkpoint recorded it.
        say: where to tell what happened to the files since.
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
        """What a checkpoint keeps, to cut the files back to; all that was logged before is on the disk then."""
        for board in self.boards.values():
            board.flush()
        return {METRICS: self.metrics.offset(), PERFORMANCE: self.performance.offset()}

    def sha256(self) -> str:
        """SHA-256 of `metrics.jsonl`."""
        return self.metrics.hash.hexdigest()

    def scalars(self, step: int, group: str, values: dict[str, float], *, timing: bool = False) -> None:
        """One line in the file, and one point a value in TensorBoard, see `board_tag`."""
        record = {"step": step, **{f"{group}/{name}": value for name, value in values.items()}}
        (self.performance if timing else self.metrics).write(record)
        board = self.boards[VALIDATION if group == "val" else TRAIN]
        for name, value in values.items():
            board.add("scalar", board_tag(group, name), value, step)

    def text(self, step: int, tag: str, text: str) -> None:
        """Markdown in TensorBoard."""
        self._board_of(tag).add("text", tag, text, step)

    def image(self, step: int, tag: str, image: Any) -> None:
        """A picture, (height, width, 3) uint8, in TensorBoard, which lists it after the losses."""
        named = tag if tag.startswith("training/") else f"pictures/{tag}"
        self._board_of(tag).add("image", named, image, step, dataformats="HWC")

    def sound(self, step: int, tag: str, samples: np.ndarray, rate: int, caption: str = "") -> None:
        """A recording, (N,) float32 from -1 to 1, in TensorBoard, with a caption."""
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
        """How far the run is, for the next line: the steps it will have and the time that is left."""

    def say(self, line: str) -> None:
        """A line to keep."""
        if self.quiet:
            return
        if self.progress is not None:
            self.progress.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

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
        """Move the bar; cheap enough for each step.

        Args:
            step: the last one.
            total: steps that the run is expected to have; 0: unknown.
            share: of the budget that is used.
            left: seconds that the run will still take; None: unknown.
        """
        self.standing = {"total": str(total)} if total else {}
        if left is not None:
            self.standing["eta"] = clock(left)
        if self.progress is not None:
            of = f"/{total:,}" if total else ""
            steps = f"step {step:,}{of}" + (f" eta {clock(left)}" if left is not None else "")
            self.progress.update(self.task, completed=share, steps=steps)

    def stale(self) -> bool:
        """Whether what is shown is so old that it should not wait for the next line of metrics."""
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
