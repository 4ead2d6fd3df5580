"""The tasks, by name: one line a family."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment
    from tformer_cli.tasks.base import Task


def build(config: Experiment) -> Task:
    """The task that a configuration names.

    Raises:
        ConfigError: if there is none of that name.
    """
    from tformer_cli.errors import ConfigError
    from tformer_cli.tasks.translation import Translation

    tasks = {"translation": Translation}
    if config.task not in tasks:
        raise ConfigError(f"task: no task {config.task!r}", f"there are: {', '.join(tasks)}")
    return tasks[config.task](config)
