"""Overrides `KEY=VALUE` of the command line, and the combinations of a sweep."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import UnionType
from typing import Any, get_origin

from tformer_cli.config.experiments import current_name, families_for
from tformer_cli.config.recipes import family_of, fitting, groups
from tformer_cli.config.schema import Experiment
from tformer_cli.config.suggest import suggest
from tformer_cli.config.values import convert, current_key, holds_settings, leaves, nodes, unknown_setting
from tformer_cli.config.yaml import parse_yaml
from tformer_cli.errors import ConfigError


@dataclass
class Overrides:
    """The overrides of a command line: options by group, and values by dotted key."""

    options: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def split(override: str) -> tuple[str, str]:
    """Split an override into key and value.

    `+` and `++` before a key are accepted and have no effect, since users of Hydra may write them.

    Raises:
        ConfigError: if it is not of the form `KEY=VALUE`, or contains what a configuration may not contain.
    """
    key, equals, value = override.partition("=")
    if key.startswith("-"):
        raise ConfigError("settings are written without dashes", override.lstrip("-"))
    if key.startswith("~"):
        raise ConfigError(f"{key[1:]} cannot be removed", f"give it another value: {key[1:]}=VALUE")
    if not equals:
        raise ConfigError(f"{override!r} is not a setting", "settings are written KEY=VALUE, as optim.lr=0.001")
    key = key.removeprefix("+").removeprefix("+").strip()
    if key == "hydra" or key.startswith("hydra."):
        raise ConfigError(f"{key} cannot be set", "Hydra's own settings are not used")
    if "_target_" in key or "_target_" in value:
        raise ConfigError(f"{key}: _target_ is refused", "a configuration contains names and values, and runs no code")
    refuse_text(key, value)
    return key, value


def keys(overrides: Sequence[str], schema: type[Experiment]) -> set[str]:
    """Return the current keys of the settings, and the groups, that overrides name."""
    return {current_key(split(override)[0], schema) for override in overrides}


def refuse_text(key: str, text: str) -> None:
    """Refuse text that no setting may contain.

    Raises:
        ConfigError: on an interpolation (it would copy the environment into a run's folder), on bytes that are not
            UTF-8, and on NUL.
    """
    if "${" in text:
        raise ConfigError(f"{key}: ${{...}} is refused", "write the value itself")
    if "\0" in text:
        raise ConfigError(f"{key}: the value holds a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(f"{key}: the value is not UTF-8") from None


def chosen_family(overrides: Sequence[str], schema: type[Experiment]) -> str:
    """Return the model family that a command line selects; "" if none.

    It is given by `model.family=FAMILY`, by `model=OPTION`, or by a former name of the task.

    Args:
        overrides: as in `parse`.
        schema: settings of the task, with any family.

    Raises:
        ConfigError: if the task cannot be trained with it, or if two overrides select different families.
    """
    texts = dict(map(split, overrides))
    name = texts.get("model.family") or current_name(texts.get("task", ""))[1]
    of_option = ""
    if "model" in texts:
        of_option = family_of("model", texts["model"])
        if of_option and of_option not in families_for(schema.task):
            raise unsuited("model", texts["model"], schema)
    if name and of_option and name != of_option:
        cause = f"model={texts['model']} is of the family {of_option}, and model.family is {name}"
        raise ConfigError(cause, f"model.family={of_option}, or leave it out")
    return name or of_option


def unsuited(group: str, name: str, schema: type[Experiment]) -> ConfigError:
    """Return the error for an option of another task; the error lists the options of this task."""
    cause = f"{group}={name} does not go with task {schema.task}"
    return ConfigError(cause, f"one of {', '.join(fitting(group, schema))}")


def parse(overrides: Sequence[str], schema: type[Experiment]) -> Overrides:
    """Check overrides against a schema; of several overrides of one key the last counts.

    Raises:
        ConfigError: at the first override that is unknown or not allowed.
    """
    parsed, available = Overrides(), groups()
    for override in overrides:
        key, text = split(override)
        key = current_key(key, schema)
        leaf = leaves(schema).get(key)
        if leaf is not None:
            parsed.values[key] = convert(_value(key, text, leaf.type), leaf)
        elif key in available and key in nodes(schema):
            parsed.options[key] = option(key, text, schema)
        elif key in nodes(schema):
            raise holds_settings(key, text, schema)
        else:
            raise unknown_setting(key, schema)
    return parsed


def repeated(overrides: Sequence[str]) -> list[str]:
    """Return a line for each setting that is given more than once; the last value counts."""
    values_by_key: dict[str, list[str]] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals:
            values_by_key.setdefault(key.lstrip("+").strip(), []).append(value)
    return [
        f"{key} is given {'twice' if len(values) == 2 else f'{len(values)} times'}: {key}={values[-1]} counts"
        for key, values in values_by_key.items()
        if len(values) > 1
    ]


def option(group: str, name: str, schema: type[Experiment]) -> str:
    """Return the name of an option after checking that its group has it.

    Raises:
        ConfigError: if there is no such option; the error lists the options for the schema.
    """
    if name in groups()[group]:
        return name  # the error for an option of another task names the setting that this task lacks
    suited = fitting(group, schema)
    similar = suggest(name, suited)
    hint = f"did you mean '{similar[0]}'?" if similar else ""
    raise ConfigError(f"{group}: {name!r} is not one of {', '.join(suited)}", hint)


def _value(key: str, text: str, field_type: Any) -> Any:
    """Return the value of an override: its text, unless the type is a list.

    Text is not parsed, so that `data.path=/my corpus, v2 (x).txt` needs quotes only for the shell.
    """
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace(f"\\{text[0]}", text[0])
    if get_origin(field_type) is list or (isinstance(field_type, UnionType) and text.lstrip().startswith("[")):
        try:
            value = parse_yaml(f"value: {text}", key, typed=False).data["value"]
        except ConfigError:
            value = None
        if not isinstance(value, list):
            raise ConfigError(f"{key}: {text!r} is not a list", f"{key}=[a,b]")
        return value
    several = "," in text or "choice(" in text or "range(" in text
    if several and field_type is not str and getattr(_parse(f"{key}={text}"), "is_sweep_override", bool)():
        raise ConfigError(f"{key}: {text!r} is several values", "-m trains one run for each")
    return text


def _parse(override: str) -> Any:
    """Parse an override with Hydra's grammar; return None if the grammar does not accept it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Return all combinations of a sweep's values, in Hydra's grammar: `a,b`, `range(1,4)`, `glob(*)` and others.

    An override that Hydra's grammar does not accept is one value, as without a sweep. A value that contains a comma
    must be quoted.

    Returns:
        Overrides without sweeps, a list for each run; the last override varies fastest.

    Raises:
        ConfigError: if an override is malformed or has more values than can be listed.
    """
    choices = []
    for override in overrides:
        key, text = split(override)
        parsed = _parse(f"{key}={text}")
        if parsed is None or not parsed.is_sweep_override():
            choices.append([f"{key}={text}"])
        elif parsed.is_discrete_sweep() and not _is_glob(parsed):
            choices.append([f"{key}={value}" for value in parsed.sweep_string_iterator()])
        elif _is_glob(parsed):
            choices.append([f"{key}={name}" for name in _matching(key, parsed.value())])
        else:
            raise ConfigError(
                f"{key}: {text!r} is an infinite set of values", f"list them: {key}=a,b,c or {key}=range(1,4)"
            )
    combinations = [list(chosen) for chosen in itertools.product(*choices)]
    if len(combinations) > 10_000:
        raise ConfigError(f"the sweep has {len(combinations):,} runs", "give fewer values")
    return combinations


def _is_glob(parsed: Any) -> bool:
    from hydra.core.override_parser.types import Glob

    return isinstance(parsed.value(), Glob)


def _matching(group: str, glob: Any) -> list[str]:
    options = [
        name
        for name in groups().get(group, [])
        if any(fnmatchcase(name, pattern) for pattern in glob.include)
        and not any(fnmatchcase(name, pattern) for pattern in glob.exclude)
    ]
    if not options:
        raise ConfigError(f"{group}: no option matches {', '.join(glob.include)}")
    return options
