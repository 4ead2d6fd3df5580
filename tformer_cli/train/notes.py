"""Notes at the start of a run: its length, and settings with an unexpected effect."""

from __future__ import annotations

from torch import nn

from tformer_cli.config.schema import Experiment, Schedule, TrainerConfig
from tformer_cli.nn.convolution import FrameBatchNorm
from tformer_cli.train.budget import Budget


def length(budget: Budget, batches: int, accumulate: int, step: int, seconds: float) -> str:
    """Return the expected number of steps for the header.

    Args:
        budget: budget of the run.
        batches: micro-batches per epoch.
        accumulate: micro-batches per step.
        step: number of steps of a resumed run so far.
        seconds: duration of these steps.
    """
    if not budget.seconds:
        return f"{budget.describe()}, {_epochs(budget.steps * accumulate / batches)}"
    if not step or not seconds:
        if budget.steps:
            return f"{budget.describe()}: at most {_epochs(budget.steps * accumulate / batches)}"
        return f"{budget.describe()}; the number of steps is estimated from the first ones"
    possible = step + max(0, round((budget.seconds - seconds) * step / seconds))
    steps = min(budget.steps or possible, possible)
    return f"{budget.describe()}: about {steps:,} steps, {_epochs(steps * accumulate / batches)}"


def _epochs(number: float) -> str:
    return f"{number:.3g} epoch{'' if number == 1 else 's'} of the training data"


def notes(config: Experiment, budget: Budget, model: nn.Module, processes: int) -> list[str]:
    """Return a line for each setting with an unexpected effect."""
    lines = [
        _epochs_limit(config.trainer, budget),
        _warmup(config, budget),
        _decay(config, budget),
        _patience(config.trainer, budget),
        _statistics(config, model, processes),
    ]
    return [line for line in lines if line]


def _epochs_limit(trainer: TrainerConfig, budget: Budget) -> str:
    """Return a note if the steps of the recipe end the run before the requested epochs."""
    if not (trainer.epochs and trainer.steps) or budget.steps < trainer.steps:
        return ""
    cause = f"trainer.steps={trainer.steps} ends the run before trainer.epochs={trainer.epochs:g} are over"
    return f"{cause}; to train for all of them: trainer.steps=0"


def _warmup(config: Experiment, budget: Budget) -> str:
    warmup = config.optim.warmup_steps
    if not budget.steps or warmup < budget.steps:
        return ""
    cause = f"optim.warmup_steps={warmup} is not shorter than the run of {budget.steps:,} steps"
    shorter = min(max(1, budget.steps // 10), budget.steps - 1)
    return f"{cause}: all of it is warm-up; shorter: optim.warmup_steps={shorter}"


def _decay(config: Experiment, budget: Budget) -> str:
    """Return a note if `decay_steps` leaves no step at the peak, or if the schedule does not use it."""
    optim = config.optim
    if not optim.decay_steps:
        return ""
    cause = f"optim.decay_steps={optim.decay_steps}"
    if optim.schedule is not Schedule.warmup_stable_decay:
        return (
            f"{cause} has no effect with optim.schedule={optim.schedule.value}: only warmup_stable_decay has such steps"
        )
    after = budget.steps - optim.warmup_steps
    if not budget.steps or after <= 0 or optim.decay_steps < after:
        return ""
    cause = (
        f"{cause} is not shorter than the {after:,} step{'s' if after > 1 else ''} after the warm-up: all of them decay"
    )
    return f"{cause}; a fifth of the run: optim.decay_steps=0"


def _patience(trainer: TrainerConfig, budget: Budget) -> str:
    interval, patience = trainer.evaluate_every, trainer.patience
    if not patience:
        return ""
    earliest = (patience + 1) * interval
    if interval and (not budget.steps or earliest < budget.steps):
        return ""
    remedy = "set trainer.evaluate_every"
    if budget.steps:
        possible = (budget.steps - 1) // (patience + 1)
        remedy = f"trainer.evaluate_every={min(possible, max(1, budget.steps // 10))}" if possible else "a smaller one"
    if not interval:
        return f"trainer.patience={patience} has no effect, as there is no evaluation before the end: {remedy}"
    cause = f"trainer.patience={patience} has no effect: with trainer.evaluate_every={interval} it could end the run"
    return f"{cause} at step {earliest:,} at the earliest, and the run has {budget.steps:,}: {remedy}"


def _statistics(config: Experiment, model: nn.Module, processes: int) -> str:
    """Return a note if batch normalisation computes its statistics over only a part of each batch."""
    has_statistics = any(name.endswith("running_mean") for name, _ in model.named_buffers())
    if not has_statistics and not any(isinstance(module, FrameBatchNorm) for module in model.modules()):
        return ""
    parts = [f"{processes} processes"] if processes > 1 else []
    if config.trainer.accumulate > 1:
        parts.append(f"trainer.accumulate={config.trainer.accumulate}")
    if not parts:
        return ""
    cause = "the model has batch normalisation, which computes its statistics over each process's micro-batch alone"
    return f"{cause}: with {' and '.join(parts)} the result is not that of one process with the whole batch"
