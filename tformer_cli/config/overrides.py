"""`KEY=VALUE` on the command line: what it sets, and what a sweep makes of it."""

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
from tformer_cli.config.values import convert, current_key, holds_settings, leaves, nodes, unknown
from tformer_cli.config.yaml import parse_yaml
from tformer_cli.errors import ConfigError


@dataclass
class Overrides:
    """What a command line asks for: options of groups by group, and values by dotted key."""

    options: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def split(override: str) -> tuple[str, str]:
    """Key and value of `KEY=VALUE`.

    `+` and `++` before a key are accepted, as habit of Hydra's users: they still cannot add what is not in
    the schema.

    Raises:
        ConfigError: if it is something else, or asks for what a configuration may not hold.
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
        raise ConfigError(f"{key} cannot be set", "Hydra's own settings have no meaning here")
    if "_target_" in key or "_target_" in value:
        raise ConfigError(f"{key}: _target_ is refused", "a configuration names what it wants and runs no code")
    refuse_text(key, value)
    return key, value


def refuse_text(key: str, text: str) -> None:
    """Refuse text that no setting may hold.

    Raises:
        ConfigError: on an interpolation (it would copy the environment into a run's folder), on bytes that
            are no UTF-8,
            on NUL.
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
    """Return the model family that a command line asks for; "" if none.

    It is given by `model.family=FAMILY`, by `model=OPTION`, or by a former name of the task.

    Args:
        overrides: as in `parse`.
        schema: settings of the task, with any family.

    Raises:
        ConfigError: if the task cannot be trained with it, or if both ask for different ones.
    """
    asked = dict(map(split, overrides))
    name = asked.get("model.family") or current_name(asked.get("task", ""))[1]
    of_option = ""
    if "model" in asked:
        of_option = family_of("model", asked["model"])
        if of_option and of_option not in families_for(schema.task):
            raise unsuited("model", asked["model"], schema)
    if name and of_option and name != of_option:
        cause = f"model={asked['model']} is of the family {of_option}, and model.family is {name}"
        raise ConfigError(cause, f"model.family={of_option}, or leave it out")
    return name or of_option


def unsuited(group: str, name: str, schema: type[Experiment]) -> ConfigError:
    """Return the error for an option of another task, with those that would go."""
    cause = f"{group}={name} does not go with task {schema.task}"
    return ConfigError(cause, f"one of {', '.join(fitting(group, schema))}")


def parse(overrides: Sequence[str], schema: type[Experiment]) -> Overrides:
    """Overrides checked against a schema; of several for one key the last counts.

    Raises:
        ConfigError: at the first that is unknown or not allowed.
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
            raise unknown(key, schema)
    return parsed


def repeated(overrides: Sequence[str]) -> list[str]:
    """Return a line for each setting that is given more than once; the last value counts."""
    given: dict[str, list[str]] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals:
            given.setdefault(key.lstrip("+").strip(), []).append(value)
    return [
        f"{key} is given {'twice' if len(values) == 2 else f'{len(values)} times'}: {key}={values[-1]} counts"
        for key, values in given.items()
        if len(values) > 1
    ]


def option(group: str, name: str, schema: type[Experiment]) -> str:
    """The name of an option, if its group has it.

    Raises:
        ConfigError: if not, with those that suit the schema.
    """
    if name in groups()[group]:
        return name  # one of another task is answered better by the setting that this one lacks
    suited = fitting(group, schema)
    meant = suggest(name, suited)
    hint = f"did you mean '{meant[0]}'?" if meant else ""
    raise ConfigError(f"{group}: {name!r} is not one of {', '.join(suited)}", hint)


def _value(key: str, text: str, kind: Any) -> Any:
    """Text as it stands, so that `data.path=/my corpus, v2 (x).txt` needs no quotes but the shell's."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace(f"\\{text[0]}", text[0])
    if get_origin(kind) is list or (isinstance(kind, UnionType) and text.lstrip().startswith("[")):
        try:
            value = parse_yaml(f"value: {text}", key, typed=False).data["value"]
        except ConfigError:
            value = None
        if not isinstance(value, list):
            raise ConfigError(f"{key}: {text!r} is not a list", f"{key}=[a,b]")
        return value
    several = "," in text or "choice(" in text or "range(" in text
    if several and kind is not str and getattr(_parse(f"{key}={text}"), "is_sweep_override", bool)():
        raise ConfigError(f"{key}: {text!r} is several values", "-m trains one run for each")
    return text


def _parse(override: str) -> Any:
    """Hydra's reading of an override, or None if it has none."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination of a sweep's values, in Hydra's grammar: `a,b`, `range(1,4)`, `glob(*)` and others.

    An override that Hydra's grammar cannot read is one value, as it is without a sweep; a value with a comma
    of its own stands in quotes.

    Returns:
        Overrides without sweeps, one list a run; the last override varies fastest.

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
            raise ConfigError(f"{key}: {text!r} has no end of values", f"list them: {key}=a,b,c or {key}=range(1,4)")
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
