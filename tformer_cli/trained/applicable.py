"""Checks that settings have an effect on a trained run, for the command line and the Python interface."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tformer_cli.config.schema import DecodeConfig
from tformer_cli.errors import ConfigError

if TYPE_CHECKING:
    from tformer_cli.tasks.task import Task

TRAINING = re.compile(
    r"(\w+_)?optim\.|augment\.|regularise\.|data\.balance"
    r"|trainer\.(steps|epochs|minutes|accumulate|patience|ema|average|keep|evaluate_\w+|checkpoint_every|log_every)"
)
"""Beginnings of the settings that only training uses; a second phase has an optimiser such as `generator_optim`."""


def check_settings(
    task: Task,
    settings: Sequence[str],
    options: Mapping[str, str] | None = None,
    all_options: Mapping[str, str] | None = None,
) -> None:
    """Refuse settings that have no effect on a trained run of a task.

    Args:
        task: task of the run.
        settings: the settings KEY=VALUE, including those given as options.
        options: options that the user gave, by the names of search settings; None: none was given.
        all_options: all options of the command by these names; None: it has none for the search.

    Raises:
        ConfigError: if there is such a setting; the error names the first.
    """
    check_trained(settings)
    named = decode_settings(settings) | dict(options or {})
    _check_decode(task, named, all_options)
    if named:
        _check_used(task, settings, named)


def _check_used(task: Task, settings: Sequence[str], options: Mapping[str, str]) -> None:
    """Refuse search settings that have no effect with the other settings, such as a temperature without sampling.

    Args:
        task: task of the run.
        settings: see `check_settings`.
        options: options or keys by the names of settings.

    Raises:
        ConfigError: if there is such a setting; the error names the first.
    """
    from tformer_cli import tasks
    from tformer_cli.config.compose import override

    predictor = tasks.build(override(task.config, settings, trained=True)).predictor
    for name, option in options.items():
        if reason := predictor.unused(name):
            raise ConfigError(f"{option} has no effect", reason)


def check_trained(settings: Sequence[str]) -> None:
    """Refuse settings that only training uses, since they would have no effect.

    Raises:
        ConfigError: if there is such a setting; the error names the first.
    """
    for setting in settings:
        key = setting.split("=", 1)[0]
        if TRAINING.match(key):
            raise ConfigError(f"{key} has no effect on a trained model", "leave it out, or set it for training")


def decode_settings(settings: Sequence[str]) -> dict[str, str]:
    """Return the keys of the settings of `decode`, by their names without this group."""
    keys = [setting.split("=", 1)[0] for setting in settings]
    return {key.removeprefix("decode."): key for key in keys if key.startswith("decode.")}


def _check_decode(task: Task, options: Mapping[str, str], all_options: Mapping[str, str] | None) -> None:
    """Refuse search settings that do not apply to a task.

    Args:
        task: task of the run.
        options: options or keys by the names of settings.
        all_options: see `check_settings`.

    Raises:
        ConfigError: if one does not apply; the error names the first.
    """
    search = getattr(task.config, "decode", DecodeConfig)
    names = all_options or {field.name: f"decode.{field.name}" for field in dataclasses.fields(search)}
    for name, option in options.items():
        if name not in task.predictor.options and (name in names or hasattr(DecodeConfig, name)):
            others = sorted(task.predictor.options - names.keys())
            valid = [text for name, text in names.items() if name in task.predictor.options]
            valid += [f"decode.{name}" for name in others if hasattr(search, name)]
            cause = f"{option} has no effect on a run of {task.config.task} ({task.config.model.family})"
            raise ConfigError(cause, f"valid options: {', '.join(valid) or 'none'}")
