"""The tasks; each composes data, model, objective, evaluator and predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment
    from tformer_cli.tasks.task import Task


def build(config: Experiment) -> Task:
    """Return the task that a configuration names.

    Raises:
        ConfigError: if there is no task of that name.
    """
    from tformer_cli.config.family import load
    from tformer_cli.errors import ConfigError
    from tformer_cli.tasks.registry import TASKS

    if config.task not in TASKS:
        raise ConfigError(f"task: no task {config.task!r}", f"there are: {', '.join(TASKS)}")
    return load(TASKS[config.task].implementation)(config)
