"""The tasks; each composes data, model, objective, evaluator and predictor."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment
    from tformer_cli.tasks.task import Task


def build(config: Experiment) -> Task:
    """Return the task that a configuration names, with the regularisers of its settings.

    Raises:
        ConfigError: if there is no task of that name, or a regulariser has no meaning for it.
    """
    from tformer_cli.config.family import load
    from tformer_cli.errors import ConfigError
    from tformer_cli.objectives.regularisers import regularised
    from tformer_cli.tasks.registry import TASKS

    if config.task not in TASKS:
        raise ConfigError(f"task: no task {config.task!r}", f"there are: {', '.join(TASKS)}")
    task: Task = load(TASKS[config.task].implementation)(config)
    task.phases = [replace(phase, objective=regularised(phase.objective, config.regularise)) for phase in task.phases]
    return task
