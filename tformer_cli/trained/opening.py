"""Opening a trained run for use, from its checkpoint alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tformer_cli.config.schema import Experiment
from tformer_cli.config.values import differences
from tformer_cli.console import Console
from tformer_cli.data.core.dataset import Data
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.errors import ConfigError, DataError, RunError
from tformer_cli.evaluators.base import Evaluation, Scoring
from tformer_cli.machine import Machine
from tformer_cli.predictors.base import Companion, Prediction
from tformer_cli.tasks.task import Task

DIVIDING = {"seed", "data.validation_share", "data.stratified"}
"""Settings that decide which examples of the training data are held out for validation."""
NAMING = {f"data.{name}" for name in ("source", "path", "name", "train", "validation", "only")}
"""Settings with which a run reads other data than in training."""
Overrides = Sequence[str] | Callable[[Experiment], Sequence[str]]
"""Settings that differ from a run's, or a function that returns them for the configuration of the checkpoint."""


@dataclass
class Opened:
    """A trained model with its task and settings, ready for use."""

    config: Experiment
    task: Task
    model: nn.Module
    checkpoint: Path
    run: Path
    saved: Experiment
    """The configuration of the checkpoint, before `overrides`."""
    sha256: str
    """SHA-256 of the checkpoint's manifest."""
    is_best: bool
    """Whether the checkpoint was the run's best one when it was opened."""
    machine: Machine
    """Device and precision."""
    used: Mapping[str, str]
    """SHA-256 of other runs and files that the predictions or scores depend on, by the setting that names them."""
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the data of training, see `Data.fingerprint`."""

    def predict(self, inputs: Iterable[Any]) -> Iterator[Prediction]:
        """Yield predictions in the order of the inputs, in the precision of the run's scores."""
        predictions = self.task.predictor.predict(self.model, inputs)
        while True:
            with torch.inference_mode(), self.machine.autocast():
                try:
                    prediction = next(predictions)
                except StopIteration:
                    return
            yield prediction

    def evaluate(self, split: str, scoring: Scoring, share: Share = unshared) -> Evaluation:
        """Score a split in the precision of the run's validation, so that its scores can be compared.

        Raises:
            ConfigError: if settings draw other examples for validation than those of training.
        """
        self.check_division(split)
        with torch.inference_mode(), self.machine.autocast():
            return self.task.evaluator.evaluate(self.model, self.task.data.view(split), scoring, share)

    def check_division(self, split: str) -> None:
        """Refuse settings with which validation holds examples that the run was trained on.

        Raises:
            ConfigError: if the data are those of training, and are divided in another way.
        """
        changed = {line.partition(":")[0] for line in differences(self.saved, self.config)}
        recorded, dividing = self.fingerprint.get(f"data.{split}"), changed & DIVIDING
        if not recorded or not dividing or changed & NAMING or self.task.data.split(split).hash == recorded:
            return
        cause = f"{min(dividing)}: with another value, the {split} split has other examples than in training"
        raise ConfigError(cause, "leave this setting out, or evaluate the test split")


def open_run(
    path: Path,
    *,
    checkpoint: str = "",
    device: str = "auto",
    overrides: Overrides = (),
    check: Callable[[Task], None] | None = None,
) -> Opened:
    """Load a run's model for evaluation.

    Args:
        path: run folder or checkpoint.
        checkpoint: name of the checkpoint; empty: the averaged or best.
        device: auto, cpu, cuda or mps.
        overrides: settings that differ from the run's (`decode.beam=1`, `data.test=...`), or a function that returns
            them for the configuration of the checkpoint.
        check: called with the task of the checkpoint, before overrides; its errors are raised.

    Raises:
        RunError: if there is no complete checkpoint.
        ConfigError: if an override is wrong.
    """
    from tformer_cli.machine import tune_process

    tune_process()
    for last in (False, False, False, True):
        before = _checkpoints(path)
        try:
            return _open(path, checkpoint, device, overrides, check)
        except (RunError, DataError, ConfigError, OSError):
            # A run in progress removes old checkpoints; this one may be removed while it is read.
            if last or _checkpoints(path) == before:
                raise
    raise AssertionError("unreachable")


def _is_best(run: Path, chosen: Path) -> bool:
    """Return whether a checkpoint is the best one of its run; a checkpoint outside of a run counts as the best."""
    from tformer_cli.runs.folder import locate

    try:
        return chosen == run or chosen.resolve() == locate(run)[1].resolve()
    except RunError:  # for example, the best one is damaged
        return False


def _checkpoints(path: Path) -> list[str]:
    return sorted(entry.name for entry in (path / "checkpoints").glob("step-*"))


def _open(
    path: Path, checkpoint: str, device: str, overrides: Overrides, check: Callable[[Task], None] | None
) -> Opened:
    """Open a run: read everything from the checkpoint first, and then set it up."""
    from tformer_cli import tasks
    from tformer_cli.config.compose import from_yaml, override
    from tformer_cli.config.paths import with_absolute_paths
    from tformer_cli.machine import prepare
    from tformer_cli.runs.checkpoint import MANIFEST, load_model_tensors, read_state, read_tensors
    from tformer_cli.runs.folder import locate

    run, chosen = locate(path, checkpoint)
    is_best = _is_best(run, chosen)
    sha256 = hashlib.sha256((chosen / MANIFEST).read_bytes()).hexdigest()
    saved = with_absolute_paths(from_yaml(chosen / "config.yaml"), read_state(chosen).get("folder", ""))
    if check is not None:
        check(tasks.build(saved))
    overrides = overrides(saved) if callable(overrides) else overrides
    config = override(saved, [f"trainer.device={device}", *overrides], trained=True)
    state = read_state(chosen)
    recorded_choices = _choices(state, config, overrides)
    task = tasks.build(config)
    task.data.load(chosen)
    weights = read_tensors(chosen / "model.safetensors")
    companions = open_companions(task)
    task.predictor.prepare(run, lambda: _trained_data(saved, chosen), Console().say)
    attention = config.model.attention_shape(task.data.usual_length)
    machine = prepare(config.trainer, **attention, chosen=recorded_choices)
    used = {name: other.sha256 for name, other in companions.items()} | dict(task.predictor.used())
    model = task.model()
    load_model_tensors(model, weights, str(chosen))
    model = model.to(machine.device).eval()
    fingerprint = state.get("fingerprint", {})
    return Opened(config, task, model, chosen, run, saved, sha256, is_best, machine, used, fingerprint)


def _trained_data(saved: Experiment, checkpoint: Path) -> Data[Any, Any]:
    """Return the data that a run was trained on, even if it is used on other data."""
    from tformer_cli import tasks

    data = tasks.build(saved).data
    data.load(checkpoint)
    return data


def _choices(state: Mapping[str, Any], config: Experiment, overrides: Sequence[str]) -> dict[str, str]:
    """Return the precision and the attention backend of a run's scores, unless the user selects others.

    They are returned only for the device type of the run: what is fast on a GPU can be very slow on a CPU. Older
    versions did not record the precision and scored in float32.
    """
    from tformer_cli.config.schema import Attention, Precision
    from tformer_cli.machine import pick_device

    overridden = {override.partition("=")[0] for override in overrides}
    recorded = state.get("machine", {})
    same_device = recorded.get("device") == pick_device(config.trainer.device).type
    has_precision = same_device or "scoring_precision" not in state
    choices: dict[str, str] = {}
    if has_precision and ("trainer.precision" not in overridden or config.trainer.precision is Precision.auto):
        choices["precision"] = state.get("scoring_precision", "fp32")
    if same_device and ("trainer.attention" not in overridden or config.trainer.attention is Attention.auto):
        choices["attention"] = recorded["attention"]
    return choices


def open_companions(task: Task) -> dict[str, Companion]:
    """Open the other runs that a task uses, such as a run of a language model, and pass them to the task.

    Returns:
        The runs by the setting that names each.

    Raises:
        RunError: if one has no complete checkpoint.
        ConfigError: if the task cannot use one.
    """
    task.check_companions()
    companions: dict[str, Companion] = {}
    for name, path in task.companions.items():
        opened = open_run(path, device=task.config.trainer.device.name)
        tokenizer = getattr(opened.task.data, "tokenizer", None)
        companions[name] = Companion(
            opened.run, opened.config.task, opened.model, tokenizer, opened.task.data, opened.sha256
        )
    if companions:
        task.accept(companions)
    return companions
