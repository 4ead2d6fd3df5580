"""The length of a run in optimiser steps, epochs or minutes; the first limit that is reached ends the run.

Epochs are converted to steps at the start. Minutes count steps, evaluations and checkpoints, including those before a
`--resume`, but not the preparation before the first step (reading data, training a tokenizer). The step during which
the minutes run out is the last one, and the final evaluation follows it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from tformer_cli.config.schema import TrainerConfig
from tformer_cli.console import spell

ENDLESS = 1e15
"""A number of steps or seconds that no run reaches."""
RECENT = 100
"""Number of recent steps; their mean duration predicts the duration of later steps."""
LONG = 2 * 3600.0
"""Duration in seconds above which the announcement explains how to limit a run."""
ENOUGH_STEPS, ENOUGH_SECONDS = 3, 2.0
"""Numbers of steps and seconds that are measured before the length of a run is announced."""


@dataclass(frozen=True)
class Budget:
    """The limits of a run; 0 means no limit.

    Attributes:
        steps: limit of optimiser steps.
        seconds: limit of seconds of training.
    """

    steps: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, trainer: TrainerConfig, batches: float) -> Budget:
        """Return the limits of a configuration.

        Args:
            trainer: steps, epochs and minutes.
            batches: micro-batches per epoch and update of a step; a step of two phases has two updates or more.
        """
        limits = [trainer.steps] if trainer.steps else []
        if trainer.epochs:
            limits.append(max(1, math.ceil(min(trainer.epochs * batches / trainer.accumulate, ENDLESS))))
        return cls(min(limits, default=0), min(60.0 * trainer.minutes, ENDLESS))

    @property
    def total(self) -> float:
        """The limit in the unit of `used`: steps if they are limited, otherwise seconds."""
        return self.steps or self.seconds

    def used(self, step: int, seconds: float) -> float:
        """Return the used part of the budget, in steps if they are limited and otherwise in seconds.

        With two limits the larger share counts: half of the minutes equals half of the steps.
        """
        if not self.steps:
            return seconds
        return max(step, self.steps * self.time_share(seconds))

    def time_share(self, seconds: float) -> float:
        """Return the used share of the minutes; 0 if they are not limited."""
        return min(1.0, seconds / self.seconds) if self.seconds else 0.0

    def share(self, step: int, seconds: float) -> float:
        """Return the used share of the budget, from 0 to 1."""
        return min(1.0, self.used(step, seconds) / self.total) if self.total else 0.0

    def time_is_up(self, seconds: float) -> bool:
        """Return whether the minutes are used up."""
        return bool(self.seconds) and seconds >= self.seconds

    def describe(self) -> str:
        """Return the limits as text: `1,500 steps or 5 minutes`."""
        parts = [f"{self.steps:,} step{'s' if self.steps > 1 else ''}"] if self.steps else []
        if self.seconds:
            minutes = self.seconds / 60
            parts.append(f"{minutes:g} minute{'' if minutes == 1 else 's'}")
        return " or ".join(parts) + (", whichever is first" if len(parts) > 1 else "")


class Pace:
    """Durations of steps and evaluations, and estimates for the rest of the run.

    Args:
        budget: budget of the run.
        evaluate_every: steps between evaluations; 0: only at the end.
    """

    def __init__(self, budget: Budget, evaluate_every: int) -> None:
        self.budget, self.evaluate_every = budget, evaluate_every
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.evaluation = 0.0
        self.steps, self.seconds = 0, 0.0

    def step(self, seconds: float) -> None:
        """Record the duration of a step; the first is ignored, since it includes measurements and compilation."""
        self.steps += 1
        if self.steps > 1:
            self.recent.append(seconds)
            self.seconds += seconds

    def evaluated(self, seconds: float) -> None:
        """Record the duration of an evaluation."""
        self.evaluation = seconds

    @property
    def step_seconds(self) -> float | None:
        """The mean duration of recent steps; None before the second."""
        return sum(self.recent) / len(self.recent) if self.recent else None

    @property
    def known(self) -> bool:
        """Whether there are enough measurements to estimate the run's length."""
        return len(self.recent) >= ENOUGH_STEPS and self.seconds >= ENOUGH_SECONDS

    def expected_steps(self, step: int, seconds: float) -> int:
        """Return the expected number of steps of the run; 0 if it is not known yet."""
        if not self.budget.seconds:
            return self.budget.steps
        mean_seconds = self.step_seconds
        if mean_seconds is None:
            return 0
        if self.evaluate_every:
            mean_seconds += self.evaluation / self.evaluate_every
        possible = step + max(0, math.ceil((self.budget.seconds - seconds) / max(mean_seconds, 1e-9)))
        return min(self.budget.steps or possible, possible)

    def seconds_left(self, step: int, seconds: float) -> float | None:
        """Return the remaining seconds of the run with its evaluations; None if they are not known yet."""
        mean_seconds, total = self.step_seconds, self.expected_steps(step, seconds)
        if mean_seconds is None or not total:
            return None
        interval = self.evaluate_every
        evaluations = 1 + (max(total - 1, step) // interval - step // interval if interval else 0)
        remaining = (total - step) * mean_seconds + evaluations * self.evaluation
        if self.budget.seconds:
            remaining = min(remaining, max(0.0, self.budget.seconds - seconds) + self.evaluation)
        return max(0.0, remaining)

    def announcement(self, step: int, seconds: float) -> str:
        """Return a message about the length of the run, estimated from the first steps."""
        mean_seconds, remaining, total = (
            self.step_seconds,
            self.seconds_left(step, seconds),
            self.expected_steps(step, seconds),
        )
        if mean_seconds is None or remaining is None:
            return ""
        about = "about " if total != self.budget.steps else ""
        advice = (
            ""
            if self.budget.seconds or remaining < LONG
            else "; trainer.minutes limits that, and the schedule follows it"
        )
        return f"{about}{total:,} steps of {mean_seconds:.2g} s, done in about {spell(remaining)}{advice}"
