"""Settings that have no effect with others, by conditions in the metadata of the schema and the reasons of tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from tformer_cli.config import values
from tformer_cli.config.schema import Experiment
from tformer_cli.config.yaml import Document
from tformer_cli.errors import ConfigError


def check_effect(
    document: Document, config: Experiment, requested: Mapping[str, Any], recipe: Callable[[], Experiment]
) -> None:
    """Refuse settings that have no effect with the others, where the user wrote them.

    A value of the file counts if it has no effect with the other values of the file. A value of the command line counts
    if it is not the file's.

    Args:
        document: the file.
        config: the settings of the file and the command line.
        requested: values of the command line by dotted key.
        recipe: function that returns the settings of the file alone; called only if a setting has no effect.

    Raises:
        ConfigError: naming the first such setting; for a value of the file, with its line.
    """
    of_command_line = without_effect(config, requested)
    # A file without `defaults` was printed by `--dry-run`, where a value may be left without effect by others.
    in_file = [key for key in values.leaves(type(config)) if "defaults" in document.data and key in document.lines]
    of_file = without_effect(config, in_file)
    if not of_command_line and not of_file:
        return
    alone = recipe()
    before = values.flatten(alone)
    for key, error in of_command_line.items():
        if values.plain(requested[key]) != before[key]:
            raise error
    for key, error in without_effect(alone, of_file).items():
        raise ConfigError(f"{document.location(key)}: {error.cause}", error.remedy)


def without_effect(config: Experiment, keys: Collection[str]) -> dict[str, ConfigError]:
    """Return an error for each setting that has no effect with the others.

    The conditions of `schema.setting` say so, or `Experiment.unused`.

    Nobody is misled by a default, by a value that turns something off (0, false or empty), or by a detail of what a
    setting in `keys` turns off.

    Args:
        config: the settings.
        keys: dotted keys of the settings that the user gave, among which such settings are found.

    Returns:
        The errors by key.
    """
    schema, errors = type(config), {}
    settings, flat, default = values.leaves(schema), values.flatten(config), values.flatten(schema())
    for key in keys:
        conditions = list(_conditions(settings[key]))
        if not flat[key] or flat[key] == default[key]:
            continue
        if reason := config.unused(key):
            cause, _, remedy = reason.partition(": ")
            errors[key] = ConfigError(f"{key}: it has no effect, as {cause}", remedy or "leave it out")
            continue
        if not _is_idle(flat, conditions):
            continue
        if any(not allowed and name in keys for name, allowed in conditions):
            continue
        others = " and ".join(f"{name}={values.written(flat[name])}" for name, _ in conditions)
        name, allowed = conditions[0]
        remedy = f"set {name}={allowed[0]}" if allowed else f"change {name}"
        errors[key] = ConfigError(f"{key}: it has no effect with {others}", f"leave it out, or {remedy}")
    return errors


def is_idle(config: Experiment, key: str) -> bool:
    """Return whether a setting, whatever its value is, has no effect with the others, by the conditions of `setting`.

    Args:
        config: the settings.
        key: dotted key of the setting.
    """
    return _is_idle(values.flatten(config), list(_conditions(values.leaves(type(config))[key])))


def _is_idle(flat: Mapping[str, Any], conditions: Sequence[tuple[str, list[str]]]) -> bool:
    """Return whether a setting has conditions and none of them is met."""
    return bool(conditions) and not any(_is_met(flat, *condition) for condition in conditions)


def _conditions(leaf: values.Leaf) -> Iterator[tuple[str, list[str]]]:
    """Yield the dotted key and the allowed values of each condition of a setting; no values: any but 0, false, ""."""
    for condition in leaf.only:
        name, equals, allowed = condition.partition("=")
        key = name if "." in name else f"{leaf.key.rpartition('.')[0]}.{name}"
        yield key, allowed.split("|") if equals else []


def _is_met(flat: Mapping[str, Any], key: str, allowed: Sequence[str]) -> bool:
    """Return whether a setting has one of the allowed values; a task without this setting meets each condition."""
    return key not in flat or (values.written(flat[key]) in allowed if allowed else bool(flat[key]))
