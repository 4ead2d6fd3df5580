"""The learning rate as a function of the used share of the budget.

After the warm-up, the *phase* of cosine, linear and warmup_stable_decay rises from 0 to 1 over the remaining budget,
which is counted in steps, minutes or both. With a budget of steps alone, the rate is a pure function of the step.
Minutes make it depend on the clock, and `--resume` may change the budget. Checkpoints therefore store a small state on
which the rate depends.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tformer_cli.config.schema import OptimConfig, Schedule
from tformer_cli.train.budget import Budget

LONGEST_WARMUP = 0.5
"""Share of a budget of minutes at which the warm-up ends at the latest."""
ALL_BUT_OVER = 0.9
"""Phase from which on a longer budget makes the learning rate rise again."""
ENDLESS = (Schedule.inverse_square_root, Schedule.constant)
"""Schedules that do not depend on the budget."""


@dataclass
class ScheduleState:
    """The state of a schedule; used parts of a budget are in the unit of `Budget.used`.

    Attributes:
        steps: limit of steps of the budget to which this state refers.
        seconds: limit of seconds of this budget.
        rate: learning rate of the last step.
        phase: phase of the decay at the last step, from 0 to 1.
        warmup_steps: length of the warm-up; less than the setting if the minutes shortened it.
        warm: share of the warm-up that is complete according to the minutes.
        warm_end: used budget at the end of the warm-up; None if the warm-up has not begun.
        begin: used budget at the beginning of the decay, or at its continuation under another budget; None before.
        begin_phase: phase at that point.
        not_before: earliest beginning of the decay of warmup_stable_decay.
        climb: used budget at the beginning and at the end of a rise of the rate, and the phase at its beginning.
    """

    steps: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    phase: float = 0.0
    warmup_steps: int = 0
    warm: float = 0.0
    warm_end: float | None = None
    begin: float | None = None
    begin_phase: float = 0.0
    not_before: float = 0.0
    climb: list[float] | None = None


class LearningRate:
    """The learning rate of the steps of a run.

    After a linear warm-up to `config.lr` there are five schedules. inverse_square_root is lr * sqrt(warmup / step)
    (Vaswani et al. 2017, eq. 3). cosine (Loshchilov and Hutter 2017, eq. 5) and linear decay to `final_lr_ratio` at the
    end of the budget. constant does not decay. warmup_stable_decay is constant, and then linear over the last
    `decay_steps` (Hu et al. 2024), by default over the last fifth of the budget.

    A budget of minutes ends the warm-up after half of the minutes at the latest. Until then the rate follows time or
    steps, whichever is faster.

    Args:
        config: peak, schedule and warm-up.
        budget: budget of the run.
    """

    def __init__(self, config: OptimConfig, budget: Budget) -> None:
        self.config, self.budget = config, budget
        self.state = ScheduleState(budget.steps, budget.seconds, warmup_steps=config.warmup_steps)

    def advance(self, step: int, seconds: float) -> float:
        """Return the learning rate of a step; steps must be given in order.

        Args:
            step: 1, 2, ...
            seconds: seconds of training until this step.
        """
        used = self.budget.used(step, seconds)
        if step <= self.state.warmup_steps:
            self.state.rate = self._warm_up(step, used, seconds)
        elif self.config.schedule is Schedule.inverse_square_root:
            self.state.rate = self.config.lr * math.sqrt(max(self.state.warmup_steps, 1) / step)
        elif self.config.schedule is Schedule.constant:
            self.state.rate = self.config.lr
        else:
            self.state.phase = self._climbing(self._phase(step, used), used)
            self.state.rate = self._shape(self.state.phase)
        return self.state.rate

    @property
    def shortened(self) -> bool:
        """Whether the minutes ended the warm-up before all of its steps."""
        return self.state.warmup_steps < self.config.warmup_steps

    def _warm_up(self, step: int, used: float, seconds: float) -> float:
        config, state = self.config, self.state
        state.warm = max(state.warm, self.budget.time_share(seconds) / LONGEST_WARMUP)
        state.warm_end = used
        if state.warm >= 1:
            state.warmup_steps = step
        if step / config.warmup_steps >= state.warm:
            return config.lr * step / config.warmup_steps
        return config.lr * min(1.0, state.warm)

    def _phase(self, step: int, used: float) -> float:
        """Return the phase of the decay, from 0 to 1."""
        state, total = self.state, self.budget.total
        if used >= total:
            return 1.0
        begin = state.begin
        if begin is None:
            begin = state.warm_end if state.warm_end is not None else self._warm_end(step, used)
            if self.config.schedule is Schedule.warmup_stable_decay:
                begin = max(total - self._decay_length(step, used), begin, state.not_before)
                if used < begin:
                    return 0.0
                state.begin = begin
        done = min(1.0, max(0.0, 1 - (total - used) / (total - begin)))
        return state.begin_phase + (1 - state.begin_phase) * done

    def _warm_end(self, step: int, used: float) -> float:
        """Return the used budget at the end of the warm-up, estimated from the used budget per step."""
        return self.state.warmup_steps * used / step

    def _decay_length(self, step: int, used: float) -> float:
        """Return the length of the decay of warmup_stable_decay, in the unit of the budget."""
        if self.config.decay_steps:
            return self.config.decay_steps * used / step
        return max(1, self.budget.steps // 5) if self.budget.steps else self.budget.seconds / 5

    def _climbing(self, phase: float, used: float) -> float:
        """Return the phase, interpolated while the rate rises after a shorter budget."""
        if self.state.climb is None:
            return phase
        start, end, from_phase = self.state.climb
        done = min(1.0, (used - start) / (end - start))
        if done == 1.0:
            self.state.climb = None
        return from_phase + (phase - from_phase) * done

    def _shape(self, phase: float) -> float:
        """Return the learning rate at a phase of the decay."""
        if self.config.schedule is Schedule.cosine:
            phase = (1 - math.cos(math.pi * phase)) / 2
        return self.config.lr * (1 - (1 - self.config.final_lr_ratio) * phase)

    # --- resuming ---

    def restore(self, saved: Mapping[str, Any], before: Budget, step: int, seconds: float) -> str:
        """Continue from a checkpoint, which may have another budget.

        The learning rate decays from its current value to its final value over the rest of the new budget. If the old
        budget was almost used up and the new one is longer, the rate rises to that of the new schedule and follows it.

        Args:
            saved: a `ScheduleState` as a dictionary; empty in checkpoints of version 0.1.
            before: the budget that such a checkpoint was trained with; the schedule depended only on its steps.
            step: step of the checkpoint.
            seconds: seconds of training until then.

        Returns:
            A message about the change; empty if nothing changed.
        """
        names = {item.name for item in dataclasses.fields(ScheduleState)}
        if saved:
            self.state = ScheduleState(**{name: value for name, value in saved.items() if name in names})
        else:
            self.state = _without_state(self.config, before.steps, step)
        if self.state.warm < 1:  # minutes did not end the warm-up, whose number of steps may be new
            self.state.warmup_steps = self.config.warmup_steps
        state, budget = self.state, self.budget
        old = Budget(state.steps, state.seconds)
        if old == budget:
            return ""
        state.steps, state.seconds = budget.steps, budget.seconds
        message = f"the budget was {old.describe() or 'not a number of steps'} and is now {budget.describe()}"
        used = budget.used(step, seconds)
        if not step or used >= budget.total:
            return message
        if self.config.schedule in ENDLESS:
            return f"{message}; the learning rate does not depend on it"
        if step < state.warmup_steps:
            return f"{message}; the warm-up of the learning rate continues"
        state.warm_end = self._warm_end(step, used)
        return f"{message}; the learning rate {self._go_on(step, used)}"

    def _go_on(self, step: int, used: float) -> str:
        """Continue the schedule from the current phase, and return a message."""
        state, total = self.state, self.budget.total
        phase, rate = state.phase, state.rate
        state.begin, state.begin_phase, state.not_before, state.climb = None, 0.0, used, None
        goal = self._phase(step, used)
        state.begin = None
        if phase >= ALL_BUT_OVER and goal < phase:
            warmup = self.config.warmup_steps * used / step
            end = used + min(max(warmup, (total - used) / 10), (total - used) / 2)
            state.not_before = 0.0
            state.climb = [used, end, phase]
            goal_rate = self._shape(goal)
            return f"was {rate:.3g}: it rises again to {goal_rate:.3g} and follows the new schedule"
        if phase > 0 or self.config.schedule is not Schedule.warmup_stable_decay:
            state.begin, state.begin_phase = used, phase
        return f"continues from {rate:.3g} to {self._shape(1.0):.3g} at the end"


def _without_state(config: OptimConfig, steps: int, step: int) -> ScheduleState:
    """Return the state of a schedule of version 0.1, which depended only on steps."""
    schedule = LearningRate(config, Budget(steps))
    if step:
        schedule.advance(step, 0.0)
    return schedule.state
