"""The display of progress between log lines: the bar, the remaining time, and an announcement after the first steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tformer_cli.console import Console
from tformer_cli.train.budget import Pace
from tformer_cli.train.schedule import LearningRate

if TYPE_CHECKING:
    from tformer_cli.train.loop import Progress


class Display:
    """The display of a run's progress, updated after each step.

    Args:
        console: the console.
        pace: durations of steps and evaluations.
        schedule: schedule of the learning rate.
    """

    def __init__(self, console: Console, pace: Pace, schedule: LearningRate) -> None:
        self.console, self.pace, self.schedule = console, pace, schedule
        self.announced = self.warmup_announced = False

    def show(self, progress: Progress) -> None:
        """Update the progress bar; without a terminal, print a line if the last one is too old."""
        console, pace, step, seconds = self.console, self.pace, progress.step, progress.seconds
        if console.quiet:
            return
        remaining = pace.seconds_left(step, seconds)
        console.advance(step, pace.expected_steps(step, seconds), pace.budget.share(step, seconds), remaining)
        self._announce(step, seconds, remaining)
        if console.stale():
            window = progress.window
            loss = {"loss": float(window["loss"]) / max(float(window["count"]), 1)} if "loss" in window else {}
            console.step(step, {**loss, "lr": self.schedule.state.rate})

    def _announce(self, step: int, seconds: float, remaining: float | None) -> None:
        if self.pace.known and not self.announced and remaining is not None and remaining >= 1:
            self.announced = True
            self.console.say(self.pace.announcement(step, seconds))
        if self.schedule.shortened and not self.warmup_announced:
            self.warmup_announced = True
            steps, configured = self.schedule.state.warmup_steps, self.schedule.config.warmup_steps
            self.console.say(f"the warm-up takes half of trainer.minutes: {steps:,} steps instead of {configured:,}")
