"""The progress of a run, which a checkpoint's `state.json` stores for resumption."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor


@dataclass
class Progress:
    """The progress of a run: the entries of a checkpoint's `state.json`, except offsets and hashes."""

    step: int = 0
    seconds: float = 0.0
    score: float | None = None
    """Score of the evaluation at this step, if there was one."""
    loss: float | None = None
    """Loss of this evaluation."""
    best: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    without_better: int = 0
    compared_from: int = 0
    """The first step with a score that can be compared with the last score."""
    window: dict[str, float | Tensor] = field(default_factory=dict)
    """Sums since the last log line."""
    finished: bool = False
    schedule: dict[str, Any] = field(default_factory=dict)
    """A `ScheduleState`."""

    @classmethod
    def resumed(cls, state: Mapping[str, Any]) -> Self:
        """Return the progress in the state of a checkpoint that a run resumes from."""
        names = {item.name for item in dataclasses.fields(cls)} - {"finished"}
        return cls(**{name: value for name, value in state.items() if name in names})

    def record(self, score: float, loss: float, *, better: bool) -> None:
        """Record the scores of an evaluation at this step.

        Args:
            score: value of the metric that selects the best checkpoint.
            loss: loss of the same evaluation.
            better: whether it is the best so far.
        """
        self.score, self.loss = score, loss
        self.without_better = 0 if better else self.without_better + 1
        if better:
            self.best, self.best_loss, self.best_step = score, loss, self.step

    def add_sums(self, sums: Mapping[str, Tensor]) -> None:
        """Add a step's sums to the log window, without reading them from the device."""
        for name, value in sums.items():
            if name not in ("stop", "seconds"):
                number = float(value) if value.device.type == "cpu" else value.double()
                self.window[name] = self.window.get(name, 0.0) + number
        self.window["steps"] = self.window.get("steps", 0.0) + 1

    def read_window(self) -> dict[str, float]:
        """Convert the sums of the log window to plain numbers, which waits for the device."""
        numbers = {name: float(value) for name, value in self.window.items()}
        self.window = {**numbers}
        return numbers

    def take_means(self, repeats: Mapping[str, int]) -> dict[str, float]:
        """Return the means over the log window, and empty it.

        Args:
            repeats: updates per step of each phase, by the prefix of its names.

        Returns:
            The means of each phase's loss and its parts over the counted targets, and of its `gradient_norm` over the
            updates.
        """
        window = self.read_window()
        self.window.clear()
        steps, means = window.pop("steps"), {}
        counts = {prefix: window.pop(f"{prefix}count") for prefix in repeats}
        for name, value in window.items():
            prefix = name[: name.rfind("/") + 1]
            is_norm = name == f"{prefix}gradient_norm"
            means[name] = value / (steps * repeats[prefix] if is_norm else max(counts[prefix], 1))
        return means
