"""Checkpoints of a run in training: writing the state of a trainer, and restoring it on resumption."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.config.compose import from_yaml
from tformer_cli.errors import RunError
from tformer_cli.runs.checkpoint import read_state, read_tensors, usable_files
from tformer_cli.runs.folder import RESULT
from tformer_cli.train.budget import Budget
from tformer_cli.train.finite import remove_records
from tformer_cli.train.progress import Progress

if TYPE_CHECKING:
    from tformer_cli.train.loop import Trainer


def restore(trainer: Trainer, folder: Path) -> None:
    """Continue from a checkpoint.

    Args:
        trainer: new trainer of the same run.
        folder: folder of the checkpoint.

    Raises:
        RunError: if the checkpoint is damaged, or the data has changed.
    """
    state = read_state(folder, resumable=True)
    if trainer.checkpoints.path(state["step"]).name != folder.name:
        cause = f"{folder}: state.json records step {state['step']}, not the step in the folder's name"
        raise RunError(cause, "remove the folder, then --resume")
    fingerprint = trainer.task.data.fingerprint()
    changed = [name for name, digest in state["fingerprint"].items() if fingerprint.get(name) != digest]
    if changed:
        cause = f"{folder}: {', '.join(changed)} changed since this checkpoint was saved"
        raise RunError(cause, "restore the data, or start a new run")
    weights, optimizer = read_tensors(folder / "model.safetensors"), read_tensors(folder / "optimizer.safetensors")
    trainer.learner.load(weights, optimizer, str(folder))
    trainer.offsets, trainer.metrics_sha256 = state["offsets"], state.get("metrics_sha256", "")
    trainer.progress = Progress.resumed(state)
    trainer.validation.restore(state)
    trainer.checkpoints.higher_is_better = trainer.validation.higher_is_better
    if trainer.ranks.first:
        trainer.checkpoints.settle(folder)
    _restore_schedules(trainer, folder)


def _restore_schedules(trainer: Trainer, folder: Path) -> None:
    """Continue the schedules of a checkpoint; its budget may differ from that of the trainer."""
    progress, saved = trainer.progress, from_yaml(folder / "config.yaml").trainer
    before = Budget.of(saved, trainer.view.num_batches / len(trainer.updates) if saved.epochs else 0)
    for phase in reversed(trainer.phases):  # the note of the first phase is kept
        name, saved_state = phase.phase.name, progress.schedule
        state = saved_state.get(name, {}) if name else saved_state
        trainer.budget_note = phase.schedule.restore(state, before, progress.step, progress.seconds)
    trainer.time_is_up = trainer.budget.time_is_up(progress.seconds)


def save(trainer: Trainer) -> None:
    """Write a checkpoint of the current step; only rank 0, which has a log, writes it.

    Args:
        trainer: trainer during `fit`.
    """
    log, progress = trainer.log, trainer.progress
    if log is None:
        return
    weights, optimizer = trainer.learner.to_bytes()
    progress.read_window()
    for phase in trainer.phases:
        state = dataclasses.asdict(phase.schedule.state)
        progress.schedule |= {phase.phase.name: state} if phase.phase.name else state
    state = {**dataclasses.asdict(progress), "offsets": log.offsets(), "metric": trainer.validation.metric}
    state |= {"signature": trainer.validation.scored[1]} if trainer.validation.scored else {}
    state["metrics_sha256"] = log.sha256()
    state["extra"] = not trainer.saves()
    state["folder"] = str(Path.cwd())  # base of relative paths in the settings
    state["fingerprint"] = trainer.task.data.fingerprint()
    state |= trainer.machine.record()
    files = usable_files(weights, state, trainer.config, trainer.task.data.files())
    (trainer.run / RESULT).unlink(missing_ok=True)  # it is outdated
    trainer.checkpoints.save(progress.step, files | {"optimizer.safetensors": optimizer})
    remove_records(trainer.run)
