"""The length of a run follows its limits of steps, epochs and minutes, and so does the learning rate."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import pytest

from tformer_cli.config.schema import OptimConfig, Schedule, TrainerConfig
from tformer_cli.console import clock, spell
from tformer_cli.train.budget import Budget, Pace
from tformer_cli.train.schedule import ENDLESS, LearningRate

WARMUP = 10
BUDGETS = {
    "steps": Budget(200, 0),
    "minutes": Budget(0, 200.0),
    "steps, then minutes": Budget(200, 1000.0),
    "minutes before steps": Budget(1000, 200.0),
}
PACES = {
    "steady": lambda step: 1.0,
    "slower and slower": lambda step: 0.3 + 0.01 * step,
    "a long evaluation": lambda step: 15.0 if step % 50 == 0 else 0.7,
}


def config(schedule: Schedule, **settings) -> OptimConfig:
    return OptimConfig(**{"lr": 1.0, "warmup_steps": WARMUP, "schedule": schedule, **settings})


def expected(settings: OptimConfig, budget: Budget, step: int, seconds: float, warm_share: float) -> float:
    """Return the expected rate after the warm-up, by a formula of the used share of the budget."""
    share = budget.share(step, seconds)
    if settings.schedule is Schedule.constant:
        return settings.lr
    if settings.schedule is Schedule.inverse_square_root:
        return settings.lr * math.sqrt(WARMUP / step)
    if settings.schedule is Schedule.warmup_stable_decay:
        part = min(1.0, max(0.0, (share - 0.8) / 0.2))
    else:
        part = min(1.0, max(0.0, (share - warm_share) / (1 - warm_share)))
    if settings.schedule is Schedule.cosine:
        part = (1 - math.cos(math.pi * part)) / 2
    return settings.lr * (1 - (1 - settings.final_lr_ratio) * part)


def run(schedule: LearningRate, pace, step: int = 0, seconds: float = 0.0, until: int = 10**6):
    """Return (step, seconds, rate) of each step until the budget is used up, as in the training loop."""
    budget = schedule.budget
    while step < until and not (budget.steps and step >= budget.steps) and not budget.time_is_up(seconds):
        step += 1
        seconds += pace(step)
        yield step, seconds, schedule.advance(step, seconds)


@pytest.mark.parametrize("pace", PACES.values(), ids=PACES)
@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize("kind", list(Schedule))
def test_the_rate_is_the_schedule_at_the_share_of_the_budget(kind, budget, pace):
    settings = config(kind, final_lr_ratio=0.05)
    warm_share = 0.0
    taken = list(run(LearningRate(settings, budget), pace))
    for step, seconds, rate in taken:
        if step <= WARMUP:
            assert rate == pytest.approx(step / WARMUP)
            warm_share = budget.share(step, seconds)
        else:
            assert rate == pytest.approx(expected(settings, budget, step, seconds, warm_share), abs=1e-9)
    assert len(taken) > 50
    if kind not in ENDLESS:
        assert taken[-1][2] == pytest.approx(0.05)
    rates = [rate for *_, rate in taken]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates[WARMUP - 1 :]))


@pytest.mark.parametrize("kind", list(Schedule))
def test_minutes_that_never_bind_change_no_bit(kind):
    settings = config(kind, decay_steps=37)
    alone = [rate for *_, rate in run(LearningRate(settings, Budget(200)), PACES["steady"])]
    both = [rate for *_, rate in run(LearningRate(settings, Budget(200, 300.0)), PACES["steady"])]
    assert alone == both


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_the_final_decay_has_the_steps_that_were_asked_for(budget):
    settings = config(Schedule.warmup_stable_decay, decay_steps=30)
    taken = list(run(LearningRate(settings, budget), PACES["steady"]))
    assert sum(rate < 1.0 for _, _, rate in taken[WARMUP:]) == pytest.approx(30, abs=1)
    assert taken[-1][2] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("kind", list(Schedule))
def test_minutes_end_a_warm_up_at_half_of_them(kind):
    """Forty steps fit into the minutes, and the warm-up has a thousand; a resumed run does not warm up again."""
    settings = config(kind, warmup_steps=1000)
    schedule = LearningRate(settings, Budget(0, 40.0))
    rates = [rate for *_, rate in run(schedule, PACES["steady"])]
    assert len(rates) == 40 and schedule.shortened and schedule.state.warmup_steps == 20
    assert rates[:20] == pytest.approx([step / 20 for step in range(1, 21)])
    assert max(rates) == 1.0
    if kind in (Schedule.cosine, Schedule.linear):
        assert rates[29] == pytest.approx(0.5) and rates[-1] == pytest.approx(0.0)
    if kind is Schedule.inverse_square_root:
        assert rates[-1] == pytest.approx(math.sqrt(20 / 40))
    for stop in (10, 30):
        first = LearningRate(settings, Budget(0, 40.0))
        list(run(first, PACES["steady"], until=stop))
        second, _ = restored(first, settings, Budget(0, 40.0), stop, float(stop))
        assert [rate for *_, rate in run(second, PACES["steady"], stop, float(stop))] == rates[stop:]


def test_steps_leave_a_long_warm_up_as_it_is():
    schedule = LearningRate(config(Schedule.cosine, warmup_steps=100), Budget(50, 3600.0))
    assert [rate for *_, rate in run(schedule, PACES["steady"])] == [step / 100 for step in range(1, 51)]
    assert not schedule.shortened


def restored(schedule: LearningRate, settings: OptimConfig, budget: Budget, step: int, seconds: float):
    """Return the schedule of a run that is resumed with a budget, and its message."""
    again = LearningRate(settings, budget)
    saved = json.loads(json.dumps(dataclasses.asdict(schedule.state)))
    return again, again.restore(saved, Budget(), step, seconds)


@pytest.mark.parametrize("stop", [4, 10, 11, 77, 170])
@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize("kind", list(Schedule))
def test_resuming_with_the_same_budget_changes_nothing(kind, budget, stop):
    pace = PACES["slower and slower"]
    settings = config(kind)
    complete = list(run(LearningRate(settings, budget), pace))
    first = LearningRate(settings, budget)
    parts = list(run(first, pace, until=stop))
    step, seconds, _ = parts[-1]
    second, message = restored(first, settings, budget, step, seconds)
    assert message == ""
    assert parts + list(run(second, pace, step, seconds)) == complete


CHANGES = [
    (Budget(200), Budget(400)),
    (Budget(200), Budget(160)),
    (Budget(200), Budget(0, 300.0)),
    (Budget(200), Budget(200, 170.0)),
    (Budget(0, 200.0), Budget(0, 900.0)),
    (Budget(0, 200.0), Budget(0, 150.0)),
    (Budget(0, 200.0), Budget(500)),
    (Budget(1000, 200.0), Budget(1000, 400.0)),
]


@pytest.mark.parametrize("stop", [5, 10, 40, 110, 149, 185, 200])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change[0].describe()} to {change[1].describe()}")
@pytest.mark.parametrize("kind", list(Schedule))
def test_another_budget_is_continued_smoothly_and_said(kind, change, stop):
    before, after = change
    settings, pace = config(kind, final_lr_ratio=0.01), PACES["steady"]
    first = LearningRate(settings, before)
    parts = list(run(first, pace, until=stop))
    step, seconds, rate = parts[-1]
    second, message = restored(first, settings, after, step, seconds)
    assert before.describe() in message and after.describe() in message
    continued = list(run(second, pace, step, seconds))
    if not continued:
        assert after.share(step, seconds) == 1
        return
    assert "learning rate" in message
    rates = [rate, *(rate for *_, rate in continued)]
    # No part of a schedule is steeper than the warm-up, unless little of the budget is left for the decay.
    steepest = max(1 / WARMUP, 2.5 / len(continued))
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) <= steepest + 1e-9
    if kind not in ENDLESS:
        assert rates[-1] == pytest.approx(0.01)
    if before.total and kind is Schedule.cosine and stop == 200 and len(continued) > 100:
        assert max(rates) > 0.3  # a run that was complete learns again
    # it can be resumed again in the middle of the climb
    middle = len(continued) // 2
    third = LearningRate(settings, after)
    third.restore(dataclasses.asdict(first.state), Budget(), step, seconds)
    taken = list(run(third, pace, step, seconds, until=step + middle))
    if taken:
        fourth, silent = restored(third, settings, after, taken[-1][0], taken[-1][1])
        assert silent == ""
        assert taken + list(run(fourth, pace, taken[-1][0], taken[-1][1])) == continued


def test_checkpoints_without_a_schedule_are_continued():
    settings = config(Schedule.cosine)
    complete = [rate for *_, rate in run(LearningRate(settings, Budget(100)), PACES["steady"])]
    again = LearningRate(settings, Budget(100))
    assert again.restore({}, Budget(100), 60, 60.0) == ""
    assert [rate for *_, rate in run(again, PACES["steady"], 60, 60.0)] == complete[60:]
    limited = LearningRate(settings, Budget(0, 100.0))  # was at the lowest rate, as the number of steps was unknown
    assert "rises again" in limited.restore({}, Budget(0, 100.0), 40, 40.0)
    rates = [rate for *_, rate in run(limited, PACES["steady"], 40, 40.0)]
    assert max(rates) > 0.4 and rates[-1] == 0


def test_epochs_are_steps():
    trainer = TrainerConfig(steps=0, epochs=2.5, accumulate=4)
    assert Budget.of(trainer, 10) == Budget(7, 0)
    assert Budget.of(TrainerConfig(steps=5, epochs=3, minutes=2), 10) == Budget(5, 120)
    assert Budget.of(TrainerConfig(steps=500, epochs=3), 10) == Budget(30, 0)
    assert Budget.of(TrainerConfig(steps=0, epochs=0.001), 10) == Budget(1, 0)
    assert Budget.of(TrainerConfig(steps=0, epochs=0, minutes=0.5), 10) == Budget(0, 30)
    huge = Budget.of(TrainerConfig(steps=2**62, epochs=1e308, minutes=1e308), 10**9)
    pace = Pace(huge, evaluate_every=0)
    for _ in range(3):
        pace.step(1.0)
    assert huge.share(10, 10.0) < 1e-9 and pace.seconds_left(10, 10.0) is not None
    assert LearningRate(config(Schedule.cosine), huge).advance(20, 20.0) == pytest.approx(1.0)


def test_pace_tells_steps_and_time():
    pace = Pace(Budget(0, 100.0), evaluate_every=10)
    assert pace.expected_steps(0, 0.0) == 0 and pace.seconds_left(0, 0.0) is None and not pace.known
    pace.step(20.0)  # compiles
    assert pace.seconds_left(1, 20.0) is None
    for _ in range(4):
        pace.step(0.5)
    assert pace.known and pace.expected_steps(5, 22.0) == 5 + 156
    pace.evaluated(5.0)
    assert pace.expected_steps(10, 30.0) == 10 + 70
    assert pace.seconds_left(10, 30.0) == pytest.approx(70 * 0.5 + 7 * 5.0)
    steps = Pace(Budget(100), evaluate_every=40)
    assert steps.expected_steps(0, 0.0) == 100 and steps.seconds_left(0, 0.0) is None
    for _ in range(6):
        steps.step(2.0)
    steps.evaluated(7.0)
    assert steps.expected_steps(60, 0.0) == 100
    assert steps.seconds_left(60, 0.0) == pytest.approx(40 * 2.0 + 2 * 7.0)
    assert steps.announcement(60, 0.0) == "100 steps of 2 s, done in about 94 seconds"


def test_a_budget_is_described():
    budgets = [Budget(1), Budget(1500), Budget(0, 60.0), Budget(0, 90.0), Budget(2, 300.0), Budget()]
    assert [budget.describe() for budget in budgets] == [
        "1 step",
        "1,500 steps",
        "1 minute",
        "1.5 minutes",
        "2 steps or 5 minutes, whichever is first",
        "",
    ]


def test_durations_for_readers():
    assert [spell(s) for s in (1, 3, 99, 150, 6000, 400_000)] == [
        "1 second",
        "3 seconds",
        "99 seconds",
        "2.5 minutes",
        "1.7 hours",
        "4.6 days",
    ]
    assert [clock(s) for s in (0, 42, 725, 11250)] == ["0:00", "0:42", "12:05", "3:07:30"]
