"""The console, on standard error: messages, the progress bar, and durations in words."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

MIN_LINE_SECONDS, MAX_LINE_SECONDS = 5, 30
"""Minimum and maximum time between progress lines without a terminal, in seconds."""
SLOW_SECONDS = 4.0
"""Seconds after which preparations before training are announced."""


def spell(seconds: float) -> str:
    """Return a duration in words: `40 seconds`, `7.5 minutes`, `3.2 hours`, `4.1 days`."""
    for unit, size, limit in (("seconds", 1, 100), ("minutes", 60, 100), ("hours", 3600, 48)):
        if seconds < size * limit:
            if unit == "seconds":
                return "1 second" if round(seconds) == 1 else f"{seconds:.0f} seconds"
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


def clock(seconds: float) -> str:
    """Return a duration in clock format: `0:42`, `12:05`, `3:07:30`."""
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds_left:02}" if hours else f"{minutes}:{seconds_left:02}"


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
