"""The settings of a task with a model family.

A task has a default family. With another family, `model` has the settings of that family, and the family may change
the defaults of other settings. Tasks and families are looked up by name, so that this package imports none of them.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from tformer_cli.config import values
from tformer_cli.config.family import Family, families, family
from tformer_cli.config.schema import REQUIRED, Experiment
from tformer_cli.errors import ConfigError

REGISTRY = f"{__name__.partition('.')[0]}.tasks.registry"
"""The module that lists the tasks."""
PLACEHOLDERS = {"data.path": "FOLDER", "data.source_language": "en", "data.target_language": "de"}
"""Placeholders for the values of required settings in remedies."""


@dataclass(frozen=True)
class TaskEntry:
    """A task in the registry.

    Attributes:
        experiment: dataclass of its settings, with the settings of its default model family.
        implementation: "module:function" or "module:class" that builds it from its settings.
        needs: interfaces of a model's body; the task needs one of them.
    """

    experiment: type[Experiment]
    implementation: str
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.experiment.task

    @property
    def family(self) -> str:
        """The name of the default model family."""
        return get_type_hints(self.experiment)["model"].family

    def accepts(self, family: Family) -> bool:
        """Return whether a model family has an interface that the task needs."""
        return not family.provides.isdisjoint(self.needs)


def tasks() -> Mapping[str, TaskEntry]:
    """Return all tasks by name."""
    return importlib.import_module(REGISTRY).TASKS


def current_name(task: str) -> tuple[str, str]:
    """Return the current name of a task, and the model family that a former name implies; "" if none."""
    return importlib.import_module(REGISTRY).ALIASES.get(task, (task, ""))


def families_for(task: str) -> list[str]:
    """Return the model families that a task can be trained with, its default family first."""
    entry = tasks()[task]
    fitting = [name for name in families() if entry.accepts(family(name))]
    return sorted(fitting, key=lambda name: name != entry.family)


@cache
def experiment(task: str, family_name: str = "") -> type[Experiment]:
    """Return the dataclass of a task's settings with a model family.

    Args:
        task: name of the task.
        family_name: name of the family; empty: the task's default.

    Raises:
        ConfigError: if there is no such family, or it has no interface that the task needs.
    """
    entry = tasks()[task]
    if family_name in ("", entry.family):
        return entry.experiment
    chosen = family(family_name)
    if not entry.accepts(chosen):
        needed, offered = " or ".join(entry.needs), ", ".join(sorted(chosen.provides))
        cause = f"model.family: {family_name} does not go with task {task}, which needs {needed}, not {offered}"
        raise ConfigError(cause, f"one of {', '.join(families_for(task))}")
    return _with_family(entry.experiment, chosen)


def _with_family(base: type[Experiment], chosen: Family) -> type[Experiment]:
    """Return a subclass whose `model` has the settings of a family, with the family's defaults of other settings."""
    settings = values.leaves(base)
    defaults = {key: values.convert(value, settings[key]) for key, value in chosen.defaults.items() if key in settings}
    tree = values.nest(defaults)
    config = values.build(tree, base)
    changed = {"model": chosen.config(), **{name: getattr(config, name) for name in tree}}
    nodes = [
        (name, type(node), dataclasses.field(default_factory=functools.partial(copy.deepcopy, node)))
        for name, node in changed.items()
    ]
    name = f"{base.__name__.removesuffix('Experiment')}With{chosen.name.capitalize()}Experiment"
    namespace = {"__doc__": base.__doc__, "__module__": __name__, "__reduce__": _reduce}
    return dataclasses.make_dataclass(name, nodes, bases=(base,), namespace=namespace)


def _reduce(config: Experiment) -> tuple[Any, ...]:
    """Pickle by the names of task and family, since a generated class cannot be imported."""
    items = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    return _restore, (config.task, config.model.family, items)


def _restore(task: str, family_name: str, items: dict[str, Any]) -> Experiment:
    return experiment(task, family_name)(**items)


def require(config: Experiment) -> None:
    """Refuse a configuration without a value for a required setting.

    Raises:
        ConfigError: if one is missing; the error names all of them.
    """
    flat = values.flatten(config)
    missing = [key for key, value in flat.items() if value == REQUIRED]
    if flat.get("data.path") == "":
        missing.append("data.path")
    if missing:
        listed = ", ".join(missing[:-1]) + " and " + missing[-1] if len(missing) > 1 else missing[0]
        remedy = " ".join(f"{key}={PLACEHOLDERS.get(key, '...')}" for key in missing)
        raise ConfigError(f"{listed} must be given", f"add {remedy}")


def check_together(config: Any, *, training: bool = True) -> None:
    """Refuse invalid combinations of settings: first within each group of settings, then across groups.

    Args:
        config: the settings.
        training: whether to refuse settings that training would not follow, too: those of a run that exists may have
            been accepted by an earlier version.

    Raises:
        ConfigError: naming the setting and a valid value.
    """
    for item in dataclasses.fields(config):
        if is_dataclass(node := getattr(config, item.name)):
            check_together(node, training=training)
    for name in ("check", "check_training") if training else ("check",):
        if hasattr(config, name):
            getattr(config, name)()
