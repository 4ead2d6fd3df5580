"""The training loop, which is the same for all tasks, families and ranks.

    for each step: for each phase (one, in most tasks):
                       sum losses and counts over micro-batches and ranks (for several means, counts first)
                       -> gradient of the sum, divided once by the count
                       -> clip -> optimiser (AdamW or Muon)
                   -> moving average; now and then: log, evaluate, checkpoint.

A step depends only on its number, the weights and the state of the optimiser: the number determines the batches, and
dropout is seeded from (seed, step, rank). A checkpoint therefore stores the number of the step and no state of random
number generators, and a run can be resumed at no cost.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tformer_cli.config.compose import to_yaml
from tformer_cli.console import Console
from tformer_cli.data.core.batch import Batch
from tformer_cli.draw import Picture, Sound
from tformer_cli.evaluators.base import Evaluation
from tformer_cli.machine import Machine
from tformer_cli.nn.recurrent import full_precision
from tformer_cli.runs.checkpoint import Checkpoints
from tformer_cli.signals import Stopper, StopRequested
from tformer_cli.tasks.task import Task
from tformer_cli.train.budget import Budget, Pace
from tformer_cli.train.data import batches
from tformer_cli.train.display import Display
from tformer_cli.train.finite import NotFiniteError, not_finite
from tformer_cli.train.learner import Learner, PhaseLearner, seed_step
from tformer_cli.train.log import Log
from tformer_cli.train.parallel import Ranks, ballot, elected
from tformer_cli.train.progress import Progress
from tformer_cli.train.saving import save
from tformer_cli.train.strategy import PeerError, Strategy
from tformer_cli.train.throughput import Throughput
from tformer_cli.train.validation import Validation


class Trainer:
    """The training of a run on one rank.

    Args:
        task: the prepared task.
        model: model on the machine's device.
        run: the run folder.
        machine: device, precision and backends.
        ranks: rank of this process, and number of ranks.
        console: the console.
    """

    def __init__(
        self, task: Task, model: nn.Module, run: Path, machine: Machine, ranks: Ranks, console: Console
    ) -> None:
        self.strategy = Strategy(ranks)
        self.task, self.model, self.run = task, self.strategy.shard(model), run
        self.machine, self.ranks, self.console = machine, ranks, console
        self.config = task.config
        self.trainer = task.config.trainer
        self.progress = Progress()
        self.view = task.view("train")
        updates = sum(phase.repeats for phase in task.phases)  # each reads micro-batches of its own
        self.budget = Budget.of(self.trainer, self.view.num_batches / updates if self.trainer.epochs else 0)
        self.phases = [
            PhaseLearner(phase, model, getattr(self.config, phase.optim), self.budget, self.strategy)
            for phase in task.phases
        ]
        self.updates = [phase for phase in self.phases for _ in range(phase.phase.repeats)]
        """The phase of each update in a step, in order."""
        self.schedule = self.phases[0].schedule
        """The learning rate that the display shows."""
        self.pace = Pace(self.budget, self.trainer.evaluate_every)
        self.budget_note = ""
        """The effect of a changed budget on a resumed run."""
        self.clock = time.perf_counter
        self.started = self.clock()
        self.validation = Validation(task, model, machine, console)
        self.learner = Learner(model, self.phases, task.averaged(model), self.trainer.ema)
        higher = self.validation.higher_is_better
        self.checkpoints = Checkpoints(run / "checkpoints", self.trainer.keep, self.trainer.keep_best, higher)
        self.offsets: dict[str, int] = {}
        self.metrics_sha256 = ""
        self.log: Log | None = None
        self.stopper = Stopper(moment=0.25 if ranks.world == 1 else 2.0)
        """The signals that this process has received."""
        self.stop_signal = 0
        """The signal that stopped all ranks; 0: none."""
        self.stop = False
        """Whether all ranks have agreed to stop."""
        self.time_is_up = False
        """Whether the minutes are used up."""

    # --- one step ---

    def train_step(self, micro_batches: list[Batch]) -> dict[str, Tensor]:
        """Take one step over this rank's micro-batches, which the updates of the phases share.

        Returns:
            The sums over all ranks by name, still on the device; the names of a named phase begin with its name.
        """
        totals: dict[str, Tensor] = {}
        size = len(micro_batches) // len(self.updates)
        for number, phase in enumerate(self.updates):
            sums = self._update(phase, number, micro_batches[number * size : (number + 1) * size])
            for name, value in sums.items():
                key = name if name in ("stop", "seconds") else f"{phase.prefix}{name}"
                totals[key] = totals[key] + value if key in totals else value
        self.learner.finish_step(self.progress.step)
        return totals

    def _update(self, phase: PhaseLearner, number: int, micro_batches: list[Batch]) -> dict[str, Tensor]:
        """Take one update of a phase, which is update `number` of the step, and return the sums over all ranks."""
        ranks = self.ranks
        seed_step(self.config.seed, self.progress.step, ranks.rank, number)
        phase.phase.objective.begin_step(self.progress.step)
        sums: dict[str, Tensor] = {}
        counts = phase.counts(micro_batches)
        if counts:
            counts = dict(zip(counts, ranks.sum(torch.stack(list(counts.values())).double()), strict=True))
        with phase.training():
            phase.phase.before(phase.part)
            step_module = phase.step_module()
            # One autocast region around all micro-batches, so that its cache casts each weight once per step.
            with self.machine.autocast():
                for index, batch in enumerate(micro_batches):
                    with self.strategy.accumulating(step_module, last=index == len(micro_batches) - 1):
                        loss = step_module(batch, counts)
                        with full_precision(loss.total):  # layers in float32 have gradients in float32
                            loss.total.backward()
                    for name, value in {"loss": loss.total, "count": loss.count, **loss.parts}.items():
                        sums[name] = sums.get(name, 0) + value.detach().double()
        seconds = self.seconds()
        for name, value in {"stop": ballot(self.stopper.number), "seconds": seconds if ranks.first else 0.0}.items():
            sums[name] = torch.full((), value, dtype=torch.float64, device=self.machine.device)
        totals = ranks.sum(torch.stack(list(sums.values())))
        sums = dict(zip(sums, totals, strict=True))
        if ranks.world > 1 and self.budget.seconds:  # all ranks use the clock of the first
            seconds = float(sums["seconds"])
        self.time_is_up = self.budget.time_is_up(seconds)
        rate = phase.schedule.advance(self.progress.step, seconds)
        norm = phase.update(rate, sums["count"], ranks.world)
        return {**sums, "gradient_norm": norm}

    def check_finite(self, sums: dict[str, Tensor], micro_batches: list[Batch]) -> None:
        """Stop at a loss or gradient that is not finite, in this step or since the last log line.

        The examples are recorded if they are those of this step.

        Raises:
            NotFiniteError: if it is not finite.
        """
        if _losses_are_finite(self.progress.window):
            return
        if _losses_are_finite(sums):
            raise self._not_finite("loss or gradient was not finite in an earlier step, after the last log line", [])
        before = self.checkpoints.path(self.progress.step - 1)
        cause = before if before.is_dir() else None
        raise self._not_finite("loss or gradient is not finite", micro_batches, cause)

    def check_weights(self, micro_batches: list[Batch]) -> None:
        """Stop before weights or optimiser state that are not finite are evaluated or saved.

        Raises:
            NotFiniteError: if one is not finite.
        """
        if not self.learner.all_finite():
            raise self._not_finite("weights or the optimiser's state are not finite", micro_batches)

    def _not_finite(self, value: str, micro_batches: list[Batch], cause: Path | None = None) -> NotFiniteError:
        return not_finite(self.run, self.ranks.rank, self.progress.step, value, micro_batches, cause)

    # --- the run ---

    def fit(self) -> Progress:
        """Train until the budget is used up, a signal asks to stop, or the patience is over."""
        if self.ranks.first:
            self.log = Log(self.run, self.progress.step, self.offsets, self.metrics_sha256, self.console.say)
        if self.log is not None and not self.progress.step:
            self.log.text(0, "config", f"```yaml\n{to_yaml(self.config)}\n```")
        self.console.start()
        try:
            with self.stopper.listening():
                self._print_resumption_notes()
                self._fit()
        finally:
            self.console.stop()
            if self.log is not None:
                self.log.close()
        return self.progress

    def _print_resumption_notes(self) -> None:
        """Print the effect of a changed budget on a resumed run, and the reason if it takes no further step."""
        progress, budget = self.progress, self.budget
        if self.budget_note:
            self.console.say(f"note: {self.budget_note}")
        if not progress.step or not self.done():
            return
        reason = f"{progress.step:,} steps, {progress.seconds / 60:.3g} minutes of {budget.describe()}"
        remedy = "trainer.steps, trainer.epochs or trainer.minutes"
        if self.is_patience_over() and not self.time_is_up and not (budget.steps and progress.step >= budget.steps):
            reason = f"trainer.patience={self.trainer.patience} ended the run at step {progress.step:,}"
            remedy = "a larger trainer.patience, or 0"
        self.console.say(f"nothing is left to train: {reason}; more: {remedy}")

    def _fit(self) -> None:
        config, progress, device = self.trainer, self.progress, self.machine.device
        self.model.train()
        per_step = config.accumulate * len(self.updates)
        workers = self.config.data.workers
        stream = batches(
            self.view,
            start=progress.step,
            accumulate=per_step,
            ranks=self.ranks,
            device=device,
            workers=workers,
        )
        throughput = Throughput(self.machine, self.ranks.world)
        display = Display(self.console, self.pace, self.schedule)
        self.started = self.clock() - progress.seconds
        if self.evaluation_is_due():  # the run stopped or failed before it
            self.evaluate()
            self.model.train()
            progress.finished = self.over() and not self.stop
            progress.seconds = self.seconds()
            save(self)
            self.ranks.wait()
        while not self.done():
            micro_batches, waited = throughput.timed(lambda: [next(stream) for _ in range(per_step)])
            progress.step += 1
            progress.score = progress.loss = None
            with throughput.counting(micro_batches):
                sums = self.train_step(micro_batches)
            progress.add_sums(sums)
            log_now = progress.step % config.log_every == 0
            must_stop = self.ranks.world == 1 and self.stopper.number
            if not self.machine.is_asynchronous or log_now or must_stop or self.saves():
                self.check_finite(sums, micro_batches)
                self.stop_signal = elected(float(sums["stop"]))
                self.stop = bool(self.stop_signal)
            throughput.add(micro_batches, waited, [sums[f"{phase.prefix}count"] for phase in self.phases])
            self.pace.step(self.seconds() - progress.seconds)
            progress.seconds = self.seconds()
            if log_now:
                self.write_metrics(throughput)
            display.show(progress)
            evaluate = self.evaluation_is_due() and not self.stop
            if self.saves() or self.stop:
                self.check_weights(micro_batches)
            if evaluate:
                self.evaluate()
                self.model.train()
                throughput.skip()
                self.pace.evaluated(self.seconds() - progress.seconds)
                progress.seconds = self.seconds()
            if self.saves() or self.stop:
                progress.finished = self.done() and not self.stop
                save(self)
                throughput.skip()
                progress.seconds = self.seconds()
            if evaluate:
                self.ranks.wait()

    def due(self, interval: int) -> bool:
        """Return whether an action with this interval of steps is due at the current step; 0: never."""
        return bool(interval) and self.progress.step % interval == 0

    def evaluation_is_due(self) -> bool:
        """Return whether this step has no score yet, and is one to evaluate by its number or as the last step."""
        progress = self.progress
        return bool(progress.step) and progress.score is None and (self.due(self.trainer.evaluate_every) or self.over())

    def saves(self) -> bool:
        """Return whether this step is saved even if no signal arrives."""
        return self.due(self.trainer.checkpoint_every) or self.due(self.trainer.evaluate_every) or self.over()

    def done(self) -> bool:
        """Return whether the loop ends: the run is over, or the ranks have agreed to stop."""
        return self.stop or self.over()

    def over(self) -> bool:
        """Return whether the run is over, by steps, minutes or patience."""
        progress = self.progress
        return (
            self.time_is_up or bool(self.budget.steps and progress.step >= self.budget.steps) or self.is_patience_over()
        )

    def is_patience_over(self) -> bool:
        """Return whether the last `trainer.patience` evaluations brought no improvement."""
        return bool(self.trainer.patience) and self.progress.without_better >= self.trainer.patience

    def seconds(self) -> float:
        """Return the seconds of training, including those before a `--resume`."""
        return self.clock() - self.started

    def write_metrics(self, throughput: Throughput) -> None:
        """Write the means over the steps since the last log line, and the throughput."""
        values = self.progress.take_means({phase.prefix: phase.phase.repeats for phase in self.phases})
        for phase in self.phases:
            norm = values.pop(f"{phase.prefix}gradient_norm")
            values |= {
                f"{phase.prefix}learning_rate": phase.schedule.state.rate,
                f"{phase.prefix}gradient_norm": norm,
            }
        rates = throughput.read()
        if self.log is not None:
            self.log.scalars(self.progress.step, "train", values)
            self.log.scalars(self.progress.step, "perf", rates, timing=True)
        speed = rates[f"{throughput.unit}_per_second"]
        losses = {f"{phase.prefix}loss": values[f"{phase.prefix}loss"] for phase in self.phases}
        line = {**losses, "lr": self.schedule.state.rate, f"{throughput.unit}/s": speed}
        self.console.step(self.progress.step, {**line, "wait%": rates["data_wait_percent"]})

    def evaluate(self) -> None:
        """Evaluate the validation split with the averaged weights, on all ranks; rank 0 records the result.

        If this fails, the step is saved without a score, and the error is raised again.
        """
        progress, log = self.progress, self.log  # only rank 0 has a log
        before, offset = dataclasses.replace(progress), log.metrics.offset() if log is not None else 0
        try:
            with self.stopper.giving_up():
                self._evaluate(log)
        except (NotFiniteError, PeerError):
            raise
        except StopRequested:
            self._undo_evaluation(before, offset)
            if log is not None:
                self.console.say("the evaluation was stopped; --resume starts with it")
        except Exception:
            self._undo_evaluation(before, offset)
            if log is not None:
                self._save_unscored()
            raise
        values = [progress.without_better, self.seconds(), ballot(self.stopper.number), progress.score is not None]
        values = torch.tensor([float(value) if self.ranks.first else 0.0 for value in values])
        without_better, seconds, stop, scored = self.ranks.sum(values.to(self.machine.device)).tolist()
        progress.without_better = int(without_better)
        self.time_is_up = self.time_is_up or self.budget.time_is_up(seconds)
        if stop and not (scored and self.over()):  # a signal no longer stops a run that is over and scored
            self.stop, self.stop_signal = True, elected(stop)

    def _evaluate(self, log: Log | None) -> None:
        """Evaluate on all ranks; rank 0, which has a log, records the result."""
        with self.learner.averaged(), self.strategy.full_model(self.model):
            with self.strategy.synchronized():
                evaluation = self.validation.measure(self.strategy.share)
            if log is None:
                return
            pictures = self.validation.pictures()
        self._record(log, evaluation, pictures)

    def _undo_evaluation(self, before: Progress, offset: int) -> None:
        """Remove the records of an evaluation that was not completed."""
        self.progress.__dict__.update(before.__dict__)  # `_fit` refers to the same object
        if self.log is not None:
            self.log.metrics.cut(offset)

    def _record(self, log: Log, evaluation: Evaluation, pictures: Mapping[str, Picture | Sound]) -> None:
        """Compare an evaluation with the best score so far, record and print it."""
        progress, before = self.progress, self.validation.scored
        score, loss = self.validation.score(evaluation), evaluation.scores.get("loss", 0.0)
        if not math.isfinite(loss) or math.isnan(score):
            saved = self.checkpoints.path(progress.step)
            value = f"the loss of the evaluation is {loss}, its {self.validation.metric} {score}"
            raise self._not_finite(value, [], saved if saved.is_dir() else None)
        changed = self.validation.changed(before)
        if changed and progress.best is not None:
            progress.best = progress.best_loss = None
            progress.compared_from = progress.step
            note = f"note: scores are computed in another way than before: {changed}"
            self.console.say(f"{note}; the best checkpoint is selected from here on")
        better = self.validation.better(score, loss, progress.best, progress.best_loss)
        self.checkpoints.higher_is_better = self.validation.higher_is_better
        progress.record(score, loss, better=better)
        self.validation.show(log, progress.step, evaluation, pictures, better=better)

    def _save_unscored(self) -> None:
        """Save a step whose evaluation failed, if possible; a failure to save does not hide the first error."""
        try:
            save(self)
            self.console.say(f"the evaluation failed; step {self.progress.step:,} is saved, --resume continues from it")
        except Exception as error:
            self.console.say(f"the evaluation failed, and step {self.progress.step:,} cannot be saved: {error}")


def _losses_are_finite(sums: Mapping[str, float | Tensor]) -> bool:
    """Return whether the losses and norms of gradients among sums are finite; the call waits for the device."""
    checked = [value for name, value in sums.items() if name.endswith(("gradient_norm", "loss"))]
    return all(math.isfinite(float(value)) for value in checked)
