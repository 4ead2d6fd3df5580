"""Open a trained run for use: everything comes from its checkpoint, nothing else is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import nn

from tformer_cli.config.schema import Experiment
from tformer_cli.errors import ConfigError
from tformer_cli.tasks.base import Task


@dataclass
class Opened:
    """A trained model, ready to use."""

    config: Experiment
    task: Task
    model: nn.Module
    checkpoint: Path
    run: Path


def open_run(path: Path, *, checkpoint: str = "", device: str = "auto", overrides: Sequence[str] = ()) -> Opened:
    """Load a run's model for evaluation.

    Args:
        path: run folder or checkpoint.
        checkpoint: which one; empty: the averaged or best.
        device: auto, cpu, cuda or mps.
        overrides: settings that differ from the run's (`decode.beam=1`, `data.test=...`).

    Raises:
        RunError: if there is no whole checkpoint.
        ConfigError: if an override is wrong.
    """
    from tformer_cli import tasks
    from tformer_cli.config.compose import from_yaml, override
    from tformer_cli.train.checkpoint import load_model_tensors, read_tensors
    from tformer_cli.train.machine import prepare, tune_heap
    from tformer_cli.train.run import locate

    tune_heap()
    run, chosen = locate(path, checkpoint)
    config = override(from_yaml(chosen / "config.yaml"), [f"trainer.device={device}", *overrides])
    task = tasks.build(config)
    task.in_use = True
    task.load(chosen)
    add_language_model(task)
    machine = prepare(config.trainer, **task.shape())
    model = task.model()
    load_model_tensors(model, read_tensors(chosen / "model.safetensors"), str(chosen))
    return Opened(config, task, model.to(machine.device).eval(), chosen, run)


def add_language_model(task: Task) -> None:
    """Open the run of a language model that `decode.language_model` of a task names, if it names one.

    Raises:
        RunError: if there is no whole checkpoint.
        ConfigError: if it is a run of another task.
    """
    from tformer_cli.models.gpt import GPT
    from tformer_cli.tasks.language_model import LanguageModel
    from tformer_cli.tasks.speech_recognition import SpeechRecognition

    if not isinstance(task, SpeechRecognition):
        return
    name = task.config.decode.language_model
    if not name or not Path(name).is_dir():
        return  # none, or a file of n-grams
    found = open_run(Path(name), device=task.config.trainer.device.name)
    if not isinstance(found.task, LanguageModel):
        cause = f"decode.language_model: {found.run} is a run of {found.config.task}"
        raise ConfigError(cause, "name one of `tformer pretrain gpt/...`, or a file of n-grams")
    task.language_model = (cast(GPT, found.model), found.task.tokenizer)
