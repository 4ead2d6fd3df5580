"""Composing a checked configuration from a recipe and overrides.

A recipe is a complete experiment: a YAML file with a list `defaults`, which names the schema and the options of `conf/`
to compose, or a file that `--dry-run` printed, which needs no list. Hydra composes the groups. tformer reads what the
user wrote, checks it against the dataclasses of `schema` and reports errors in one line. A configuration contains names
and values: it cannot run code (`_target_` is refused) or read the environment (`${...}` is refused).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tformer_cli.config import values
from tformer_cli.config.effect import check_effect
from tformer_cli.config.experiments import check_together, current_name, experiment, require, tasks
from tformer_cli.config.family import family as family_named
from tformer_cli.config.hydra_groups import compose_groups
from tformer_cli.config.overrides import Overrides, chosen_family, keys, option, parse, refuse_text
from tformer_cli.config.recipes import RecipeInfo, default_name, family_of, find, groups, recipes
from tformer_cli.config.schema import Experiment
from tformer_cli.config.values import differences, flatten
from tformer_cli.config.yaml import Document, dump_yaml, read_yaml, strings
from tformer_cli.errors import ConfigError

__all__ = [
    "RecipeInfo",
    "compose",
    "differences",
    "flatten",
    "from_yaml",
    "override",
    "recipes",
    "to_yaml",
]


def compose(
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    complete: bool = True,
    required: bool = True,
    resumed: bool = False,
) -> Experiment:
    """Compose the configuration of a recipe and overrides of the command line.

    Args:
        recipe: name of a recipe that comes with tformer, or path of a YAML file.
        overrides: `KEY=VALUE`, or `GROUP=OPTION`; the last one for a key counts.
        complete: whether the configuration is complete, so that its settings must be compatible.
        required: whether settings without a default must be given.
        resumed: whether a run has been started with it, so that settings that training does not follow are accepted: an
            earlier version may have accepted them.

    Raises:
        ConfigError: if a setting is unknown, malformed, missing, out of range or incompatible with others.
    """
    path = find(recipe)
    document = read_yaml(path)
    _refuse(document)
    schema, selected, file_values = _plan(document, overrides)
    requested = parse(overrides, schema)
    _refuse_other_task(requested, schema)
    config = _assemble(schema, selected, file_values, requested)
    config.recipe = config.recipe or default_name(recipe)
    if required:
        require(config)
    if complete:
        check_together(config, training=not resumed)
    if complete and not resumed:
        recipe_alone = functools.partial(_assemble, schema, selected, file_values, Overrides())
        check_effect(document, config, requested.values, recipe_alone)
    return config


def schema_of(recipe: str, overrides: Sequence[str] = ()) -> type[Experiment]:
    """Return the dataclass of the settings that a recipe has with overrides, without composing them.

    Args:
        recipe: as in `compose`; or the configuration of a run.
        overrides: as in `compose`; only those that choose a model family count.

    Raises:
        ConfigError: if the recipe cannot be read, or a setting is wrong.
    """
    return _plan(read_yaml(find(recipe)), overrides)[0]


def override(config: Experiment, overrides: Sequence[str], *, trained: bool = False) -> Experiment:
    """Return a copy of a configuration with some settings changed.

    Args:
        config: the configuration.
        overrides: as in `compose`.
        trained: whether weights have been trained with it, so that settings of the model and its inputs must stay.

    Raises:
        ConfigError: as `compose`.
    """
    settings, schema = values.plain(config), type(config)
    if (family := chosen_family(overrides, schema)) not in ("", config.model.family):
        settings, schema = _without_family(settings, schema, family), experiment(config.task, family)
    requested = parse(overrides, schema)
    _refuse_other_task(requested, schema)
    changed = _assemble(schema, {}, values.check(settings, schema), requested)
    if trained:
        _refuse_retraining(flatten(config), flatten(changed))
    require(changed)
    check_together(changed, training=not trained)
    return changed


_TRAINED = re.compile(
    r"(model|decoder|tokenizer|features|objective)\..*|head\.(pooling|hidden)|data\.(sample_rate|channels|mean|std)"
)
"""Settings that the weights of a run depend on: with other values, predictions would be wrong without an error."""
_FREE = ("model.max_length", "decoder.max_length", "tokenizer.sampling", "tokenizer.lines")
"""Exceptions: usually no weight depends on these settings, and if one does, its shape differs, which is an error."""


def _refuse_retraining(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Refuse changes of settings that the weights of a trained run depend on.

    Raises:
        ConfigError: if one is changed; the error names the first.
    """
    for key, value in before.items():
        if _TRAINED.fullmatch(key) and key not in _FREE and after.get(key) != value:
            cause = f"{key}: this run was trained with {value}, and its weights do not fit {after.get(key)}"
            raise ConfigError(cause, "leave this setting out, or train another run with it")


VOCABULARY_SIZE = "tokenizer.vocab_size"
"""Key of the vocabulary size. A run reduces it if the text has fewer pieces, unless the user gave it."""


def as_resumed(config: Experiment, saved: Path, overrides: Sequence[str]) -> Experiment:
    """Return the configuration to resume a run; it keeps some settings with which the run was started.

    These are settings whose present default differs from the behaviour of older versions, and a vocabulary size that
    was reduced because the text has fewer pieces.

    Args:
        config: newly composed configuration.
        saved: configuration of the run, a YAML file. If it is missing or damaged, nothing changes, since training
            compares the settings with those of the newest checkpoint.
        overrides: overrides of the command line, which take precedence.
    """
    if not saved.is_file():
        return config
    try:
        settings_before = flatten(from_yaml(saved))
    except ConfigError:
        return config
    overridden = keys(overrides, type(config))
    retained = [key for key, leaf in values.leaves(type(config)).items() if leaf.field.metadata["before"] is not None]
    if settings_before.get(VOCABULARY_SIZE, 0) < flatten(config).get(VOCABULARY_SIZE, 0):
        retained.append(VOCABULARY_SIZE)
    unchanged = {key: settings_before[key] for key in retained if key in settings_before and key not in overridden}
    return values.build(values.check(_merge(values.plain(config), values.nest(unchanged)), type(config)), type(config))


def to_yaml(config: Experiment) -> str:
    """Return the complete configuration as YAML, in the order of the schema; `compose` reads it back."""
    return dump_yaml(values.plain(config))


def from_yaml(path: Path) -> Experiment:
    """Read the configuration of a run or a checkpoint.

    Settings that are missing in the file of an older version get their defaults, or values that preserve the behaviour
    of that version.

    Raises:
        ConfigError: if it cannot be read, or contains a setting that is unknown in this version.
    """
    document = read_yaml(path)
    _refuse(document)
    if "defaults" in document.data:
        raise ConfigError(f"{path} is a recipe, not a run's configuration", f"tformer pretrain {path}")
    schema, _, file_values = _plan(document, saved=True)
    before = {key: leaf.field.metadata.get("before") for key, leaf in values.leaves(schema).items()}
    tree = _merge(values.nest({key: value for key, value in before.items() if value is not None}), file_values)
    config = values.build(tree, schema)
    require(config)
    check_together(config, training=False)
    return config


def _refuse(document: Document) -> None:
    """Refuse interpolations and `_target_` anywhere in a document."""
    for key, text in strings(document.data):
        try:
            refuse_text(key, text)
        except ConfigError as error:
            raise ConfigError(f"{document.location(key)}: {error.cause}", error.remedy) from None
        if "_target_" in key:
            remedy = "a configuration contains names and values, and runs no code"
            raise ConfigError(f"{document.location(key)}: _target_ is refused", remedy)


def _plan(
    document: Document, overrides: Sequence[str] = (), *, saved: bool = False
) -> tuple[type[Experiment], dict[str, str], dict[str, Any]]:
    """Return the schema of a file, its options by group in order, and the values it sets, checked.

    The schema has the settings of one model family. The command line selects the family, or else the file by an option
    or by the value of `model.family`, or else the task by its default. If the command line selects another family than
    the file, the file's option and values of the group `model` are left out.

    Args:
        document: a recipe, or the configuration of a run.
        overrides: overrides of the command line.
        saved: whether it is the configuration of a run.
    """
    file_values = dict(document.data)
    try:
        listed = _defaults(file_values.pop("defaults", []))
        by_schema, by_task = listed.pop("schema", None), listed.pop("task", None)
        task = file_values.get("task") or by_schema or by_task
        if not isinstance(task, str):
            raise ConfigError(f"{document.name} does not say its task", f"write task: {next(iter(tasks()))}")
        task, implied = current_name(task)
        if task not in tasks():
            raise ConfigError(f"{document.location('task')}: task {task!r} is not one of {', '.join(tasks())}")
        family_in_file = _family_in_file(document, listed) or implied
        schema, available = experiment(task, family_in_file), groups()
        for group, name in listed.items():
            if group not in available or group not in values.nodes(schema):
                raise values.unknown_setting(group, schema)
            option(group, name, schema)
        file_values["task"] = task
    except ConfigError as error:
        cause = (
            error.cause if error.cause.startswith(document.name) else f"{document.location('defaults')}: {error.cause}"
        )
        raise ConfigError(cause, error.remedy) from None
    if (family := chosen_family(overrides, schema)) and experiment(task, family) is not schema:
        file_values, schema = _without_family(file_values, schema, family), experiment(task, family)
        listed = {group: name for group, name in listed.items() if group != "model"}
    return schema, listed, _check(document, file_values, schema, saved)


def _without_family(settings: Mapping[str, Any], schema: type[Experiment], family: str) -> dict[str, Any]:
    """Return values without those that belong to their model family, for use with another family.

    Settings of the model are left out, and so are settings whose default depends on the family, if they have the
    default of the former family.

    Args:
        settings: values of a recipe or run.
        schema: settings with the former family.
        family: the new family.
    """
    before = values.flatten(schema())
    remaining = {name: value for name, value in settings.items() if name != "model"}
    for key in {**family_named(before["model.family"]).defaults, **family_named(family).defaults}:
        group, _, name = key.partition(".")
        node = remaining.get(group)
        if isinstance(node, Mapping) and node.get(name) == before.get(key):
            remaining[group] = {setting: value for setting, value in node.items() if setting != name}
    return remaining


def _family_in_file(document: Document, listed: Mapping[str, str]) -> str:
    """Return the model family that a file selects by an option or by the value of `model.family`; "" if none.

    Raises:
        ConfigError: if the two differ.
    """
    node = document.data.get("model")
    value = node.get("family") if isinstance(node, Mapping) else None
    by_option, by_value = family_of("model", listed.get("model", "")), value if isinstance(value, str) else ""
    if by_option and by_value and by_option != by_value:
        location, option = document.location("model.family"), listed["model"]
        raise ConfigError(f"{location}: model.family: the option {option} is of {by_option}, not {by_value}")
    return by_option or by_value


def _check(document: Document, tree: Mapping[str, Any], schema: type[Experiment], saved: bool) -> dict[str, Any]:
    """Check the values of a file one by one, so that an error names the line."""
    settings, checked = values.leaves(schema), {}
    for key_in_file, value in values.walk(tree, schema):
        key = values.current_key(key_in_file, schema)
        try:
            if key in checked:
                raise ConfigError(f"{key} is given twice, once by a former name", "remove one of them")
            if key not in settings and saved:
                raise ConfigError(f"unknown setting {key!r}", "a newer version of tformer wrote this: use that version")
            if key not in settings:
                raise values.unknown_setting(key, schema)
            checked[key] = values.convert(value, settings[key])
        except ConfigError as error:
            raise ConfigError(f"{document.location(key_in_file)}: {error.cause}", error.remedy) from None
    return values.nest(checked)


def _defaults(entries: Any) -> dict[str, str]:
    """Return the options of a defaults list by group; `_self_` must be last: a file's values override its groups."""
    listed: dict[str, str] = {}
    if not isinstance(entries, list):
        raise ConfigError("defaults is not a list", "write one `- GROUP: OPTION` a line")
    for position, entry in enumerate(entries):
        if entry == "_self_":
            if position != len(entries) - 1:
                raise ConfigError("_self_ is not the last of the defaults", "move it to the end of the list")
        elif isinstance(entry, dict) and len(entry) == 1 and all(isinstance(name, str) for name in entry.values()):
            listed.update(entry)
        else:
            raise ConfigError("the defaults may contain only `- GROUP: OPTION`", "write one a line, as - model: ...")
    return listed


def _refuse_other_task(requested: Overrides, schema: type[Experiment]) -> None:
    """Refuse another task than the recipe's; replace a former name of the task by the current one.

    Raises:
        ConfigError: if it is another task.
    """
    if "task" not in requested.values:
        return
    if current_name(requested.values["task"])[0] != schema.task:
        raise ConfigError("task cannot be changed", "choose a recipe of that task")
    requested.values["task"] = schema.task


def _assemble(
    schema: type[Experiment], selected: Mapping[str, str], file_values: Mapping[str, Any], requested: Overrides
) -> Any:
    """Merge option groups, values of the recipe and values of the command line, in this order, into a dataclass.

    An option of the command line replaces the recipe's option of that group, and values of the recipe take precedence
    over it, as in Hydra. If the recipe names no option of the group, the option takes precedence over the recipe's
    values.
    """
    below = {group: requested.options.get(group, name) for group, name in selected.items()}
    above = {group: name for group, name in requested.options.items() if group not in selected}
    tree = compose_groups(below, schema)
    for layer in (file_values, compose_groups(above, schema), values.nest(requested.values)):
        tree = _merge(tree, layer)
    return values.build(tree, schema)


def _merge(tree: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree with the values of an overlay in place of its own."""
    merged = dict(tree)
    for key, value in overlay.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged
