"""Conversion between text, trees of plain values and dataclasses, with checks of types and ranges.

A *tree* consists of nested dictionaries of plain values, as in YAML; members of enumerations are their names.
The functions work for all dataclasses of `schema`, so that a new setting needs no code here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from tformer_cli.config.schema import REQUIRED, Experiment
from tformer_cli.config.suggest import suggest
from tformer_cli.errors import ConfigError

_LARGEST = 2**63 - 1

SYNONYMS = {
    "learning_rate": ("lr",),
    "batch_size": ("batch_tokens", "batch_images", "batch_seconds"),
    "train_batch_size": ("batch_tokens", "batch_images", "batch_seconds"),
    "eval_steps": ("evaluate_every",),
    "save_steps": ("checkpoint_every",),
    "logging_steps": ("log_every",),
    "gradient_accumulation_steps": ("accumulate",),
    "max_grad_norm": ("clip_norm",),
    "max_steps": ("steps",),
    "num_train_epochs": ("epochs", "steps"),
    "num_epochs": ("epochs", "steps"),
    "lr_scheduler_type": ("schedule",),
    "warmup": ("warmup_steps",),
    "optimizer": ("method",),
    "hidden_size": ("dim",),
    "d_model": ("dim",),
    "embed_dim": ("dim",),
    "intermediate_size": ("ffn_dim",),
    "dim_feedforward": ("ffn_dim",),
    "depth": ("encoder_depth", "decoder_depth", "depths"),
    "num_layers": ("depth", "encoder_depth", "decoder_depth"),
    "num_hidden_layers": ("depth", "encoder_depth", "decoder_depth"),
    "n_layer": ("depth", "encoder_depth", "decoder_depth"),
    "num_heads": ("heads",),
    "num_attention_heads": ("heads",),
    "n_head": ("heads",),
    "beam_size": ("beam",),
    "num_beams": ("beam",),
    "fp16": ("precision",),
    "bf16": ("precision",),
    "early_stopping_patience": ("patience",),
    "num_workers": ("workers",),
    "src": ("source_language",),
    "tgt": ("target_language",),
    "src_lang": ("source_language",),
    "tgt_lang": ("target_language",),
    "source_lang": ("source_language",),
    "target_lang": ("target_language",),
}
"""Names of settings in other toolkits, and the last parts of the corresponding names in tformer."""


@dataclass(frozen=True)
class Leaf:
    """A setting: its dotted key, its type and its field.

    The type is bool, int, float, str, an Enum, a list of one of these, or a union of one and such a list. `only` has
    the conditions of its effect, see `schema.setting`; those of a group of settings apply to each of them.
    """

    key: str
    type: Any
    field: Field
    only: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """The description, one line."""
        return self.field.metadata.get("about", "")

    @property
    def options(self) -> list[str]:
        """The allowed values of an enumeration or a boolean; empty for other types."""
        if isinstance(self.type, type) and issubclass(self.type, Enum):
            return [member.name for member in self.type]
        return ["true", "false"] if self.type is bool else []


@cache
def _hints(schema: type) -> dict[str, Any]:
    return get_type_hints(schema)


@cache
def leaves(schema: type) -> dict[str, Leaf]:
    """Return all settings of a schema by dotted key, in the order of its fields."""
    settings: dict[str, Leaf] = {}
    for item in fields(schema):
        hint, only = _hints(schema)[item.name], item.metadata.get("only", ())
        if is_dataclass(hint):
            for key, leaf in leaves(hint).items():
                settings[f"{item.name}.{key}"] = Leaf(f"{item.name}.{key}", leaf.type, leaf.field, leaf.only or only)
        else:
            settings[item.name] = Leaf(item.name, hint, item, only)
    return settings


@cache
def nodes(schema: type) -> list[str]:
    """Return the dotted keys of all groups of settings."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in leaves(schema) if "." in key))


@cache
def _former_keys(schema: type) -> dict[str, str]:
    """Return the current dotted key of each former key."""
    return {
        f"{key.rpartition('.')[0]}.{name}".removeprefix("."): key
        for key, leaf in leaves(schema).items()
        for name in leaf.field.metadata.get("formerly", ())
    }


def current_key(key: str, schema: type) -> str:
    """Return the current key of a setting that may be given by a former name."""
    return _former_keys(schema).get(key, key)


INITIAL_WEIGHTS = frozenset({
    "pretrained", "pretrained_model", "pretrained_model_name_or_path", "pretrained_path", "pretrained_weights",
    "model_name", "model_name_or_path", "from", "from_pretrained", "weights", "init_weights", "init_from", "init_model",
    "initial", "initial_checkpoint", "checkpoint", "checkpoint_path", "ckpt", "ckpt_path", "load_from", "finetune_from",
    "restore_file",
})  # fmt: skip
"""Names of the setting for initial weights in other toolkits; in tformer this is an option of the command line."""


def unknown_setting(key: str, schema: type, extra: Iterable[str] = ()) -> ConfigError:
    """Return the error for an unknown key, with a suggestion.

    Args:
        key: the unknown key.
        schema: dataclass whose settings are suggested.
        extra: names to suggest in addition.
    """
    if key.rpartition(".")[2].lower() in INITIAL_WEIGHTS:
        remedy = "training starts from other weights by `tformer finetune RECIPE --from RUN`, or --from hf:FOLDER"
        return ConfigError(f"unknown setting {key!r}", remedy)
    candidates = dict.fromkeys([*leaves(schema), *nodes(schema), *extra])
    by_name: dict[str, list[str]] = {}
    for candidate in candidates:
        by_name.setdefault(candidate.rpartition(".")[2], []).append(candidate)
    # In this order: a key without its group, a name of another toolkit, a mistyped key, a mistyped key without its
    # group.
    group, _, name = key.rpartition(".")
    suggestions = by_name.get(name, []) if not group else []
    synonyms = [synonym for setting in SYNONYMS.get(name, ()) for synonym in by_name.get(setting, ())]
    suggestions = suggestions or [synonym for synonym in synonyms if synonym.startswith(f"{group}.")] or synonyms
    suggestions = suggestions or suggest(key, candidates)
    suggestions = suggestions or [candidate for similar in suggest(name, by_name) for candidate in by_name[similar]]
    if suggestions:
        units = [name.partition(".batch_")[2] for name in suggestions]
        counts = f", which counts {' or '.join(units)}" if all(units) else ""
        return ConfigError(f"unknown setting {key!r}", f"did you mean {_either(suggestions)}{counts}?")
    return ConfigError(f"unknown setting {key!r}", "`tformer settings` lists all of them")


def _either(names: list[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def convert(value: Any, leaf: Leaf) -> Any:
    """Convert a value, or its text, to the type of a setting, and check its range.

    Raises:
        ConfigError: if the value is not allowed; the error names the key, the value and the allowed values.
    """
    if isinstance(value, str) and value == REQUIRED:
        return value
    typed = _typed(value, leaf.type, leaf.key)
    low, high = leaf.field.metadata.get("low"), leaf.field.metadata.get("high")
    for number in typed if isinstance(typed, list) else [typed]:
        _check_range(number, low, high, leaf.key)
    return typed


def _check_range(typed: Any, low: float | None, high: float | None, key: str) -> None:
    if isinstance(typed, (int, float)) and not isinstance(typed, bool):
        if low is not None and high is not None and not low <= typed <= high:
            raise ConfigError(f"{key}: {_show(typed)} is not between {_show(low)} and {_show(high)}")
        if low is not None and typed < low:
            raise ConfigError(f"{key}: {_show(typed)} is too small", f"it must be {_show(low)} or more")
        if high is not None and typed > high:
            raise ConfigError(f"{key}: {_show(typed)} is too large", f"it must be {_show(high)} or less")


def _typed(value: Any, field_type: Any, key: str) -> Any:
    if isinstance(field_type, UnionType):  # a value, or a list of values
        scalar_type, list_type = get_args(field_type)
        field_type = list_type if isinstance(value, list) else scalar_type
    if get_origin(field_type) is list:
        if not isinstance(value, list):
            raise ConfigError(f"{key}: {_show(value)} is not a list", f"{key}=[a,b]")
        return [_typed(item, get_args(field_type)[0], key) for item in value]
    if isinstance(field_type, type) and issubclass(field_type, Enum):
        return _enumerated(value, field_type, key)
    if field_type is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise ConfigError(f"{key}: {_show(value)} is not true or false")
        return value
    if field_type is int:
        return _integer(value, key)
    if field_type is float:
        return _number(value, key, "a number")
    if not isinstance(value, str):
        remedy = f'write {key}: ""' if value is None else f'put it in quotes: "{_show(value)}"'
        raise ConfigError(f"{key}: {_show(value)} is not text", remedy)
    return value


def _enumerated(value: Any, enumeration: type[Enum], key: str) -> Enum:
    if isinstance(value, enumeration):
        return value
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if text in enumeration.__members__:
        return enumeration[text]
    raise ConfigError(f"{key}: {_show(value)} is not one of {', '.join(enumeration.__members__)}")


def _integer(value: Any, key: str) -> int:
    if isinstance(value, str) and value.strip().lstrip("+-").replace("_", "").isdecimal() and len(value) < 400:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        number = _number(value, key, "a whole number")
        if not number.is_integer():
            raise ConfigError(f"{key}: {_show(value)} is not a whole number")
        value = int(number)
    if abs(value) > _LARGEST:
        raise ConfigError(f"{key}: {_show(value)} is too large", "it must fit in 64 bits")
    return value


def _number(value: Any, key: str, description: str) -> float:
    try:
        number = float(value) if not isinstance(value, (bool, type(None), list, dict)) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not math.isfinite(number):
        raise ConfigError(f"{key}: {_show(value)} is not {description}")
    return number


def _show(value: Any) -> str:
    """Return a value as errors show it: quoted text of at most 60 characters, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a group of settings"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        text = f"{value:g}" if isinstance(value, float) else str(value) if abs(value) < 10**50 else "a huge number"
    else:
        text = repr(value.name if isinstance(value, Enum) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check(tree: Mapping[str, Any], schema: type) -> dict[str, Any]:
    """Return a tree whose values are converted to the types of their settings; missing settings stay missing.

    Raises:
        ConfigError: at the first unknown key, or value that is not allowed.
    """
    settings, values = leaves(schema), {}
    for key, value in walk(tree, schema):
        if key not in settings:
            raise unknown_setting(key, schema)
        values[key] = convert(value, settings[key])
    return nest(values)


def walk(tree: Mapping[str, Any], schema: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and value of each setting in a tree.

    Raises:
        ConfigError: if a group of settings has a single value.
    """
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key not in nodes(schema):
            yield key, value
        elif isinstance(value, Mapping):
            yield from walk(value, schema, f"{key}.")
        elif value is not None:  # `optim:` with nothing below it changes nothing
            raise holds_settings(key, value, schema)


def holds_settings(key: str, value: Any, schema: type) -> ConfigError:
    """Return the error for a single value in place of a group of settings."""
    example = next(name for name in leaves(schema) if name.startswith(f"{key}."))
    cause = f"{key}: {_show(value)} is given, but {key} is a group of settings, not a single value"
    return ConfigError(cause, f"set one of them, as {example}")


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree of values that are given by dotted key."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, name = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[name] = value
    return tree


def build(tree: Mapping[str, Any], schema: type) -> Any:
    """Return a dataclass with the values of a checked tree; missing settings have their defaults."""
    return _filled(schema(), tree)


def _filled(node: Any, tree: Mapping[str, Any]) -> Any:
    """Return a dataclass with the values of a checked tree in place of its own."""
    values = {
        item.name: _filled(default, tree.get(item.name, {})) if is_dataclass(default) else tree.get(item.name, default)
        for item in fields(node)
        for default in (getattr(node, item.name),)
    }
    return type(node)(**values)


def plain(value: Any) -> Any:
    """Return a dataclass, or a value in one, as a tree of plain values in the order of its fields."""
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Enum):
        return value.name
    return list(value) if isinstance(value, list) else value


def flatten(config: Experiment) -> dict[str, Any]:
    """Return all settings by dotted key, as plain values in the order of the fields."""
    tree, flat = plain(config), {}
    for key in leaves(type(config)):
        value = tree
        for part in key.split("."):
            value = value[part]
        flat[key] = value
    return flat


def differences(before: Experiment, after: Experiment) -> list[str]:
    """Return the differences between two configurations, a line for each key: `optim.lr: 0.001 -> 0.003`."""
    old, new = flatten(before), flatten(after)
    lines = []
    for key in dict.fromkeys([*old, *new]):
        if key not in old or key not in new or old[key] != new[key]:
            lines.append(f"{key}: {_show_setting(old, key)} -> {_show_setting(new, key)}")
    return lines


def _show_setting(flat: Mapping[str, Any], key: str) -> str:
    return written(flat[key]) if key in flat else "(not there)"


def written(value: Any) -> str:
    """Return a plain value as it is written in a setting."""
    return '""' if value == "" else str(value).lower() if isinstance(value, bool) else str(value)
