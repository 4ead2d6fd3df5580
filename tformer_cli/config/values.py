"""Between text, plain trees and dataclasses: every value is checked against its field's type and range.

A *tree* is nested dictionaries of plain values, as YAML holds them; enumerations are written by name.
Everything here works for any dataclass of `schema`, so a new setting needs no code.
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
    "src_lang": ("source_language",),
    "tgt_lang": ("target_language",),
}
"""Names of settings in other toolkits, and the last parts of tformer's names."""


@dataclass(frozen=True)
class Leaf:
    """A setting: its dotted key, its type and its field.

    The type is bool, int, float, str, an Enum, a list of one of these, or a union of one and such a list.
    """

    key: str
    type: Any
    field: Field

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return self.field.metadata.get("about", "")

    @property
    def options(self) -> list[str]:
        """What may be written, where that is a short list."""
        if isinstance(self.type, type) and issubclass(self.type, Enum):
            return [member.name for member in self.type]
        return ["true", "false"] if self.type is bool else []


@cache
def _hints(schema: type) -> dict[str, Any]:
    return get_type_hints(schema)


@cache
def leaves(schema: type) -> dict[str, Leaf]:
    """Every setting of a schema by dotted key, in the order of its fields."""
    settings: dict[str, Leaf] = {}
    for item in fields(schema):
        hint = _hints(schema)[item.name]
        if is_dataclass(hint):
            for key, leaf in leaves(hint).items():
                settings[f"{item.name}.{key}"] = Leaf(f"{item.name}.{key}", leaf.type, leaf.field)
        else:
            settings[item.name] = Leaf(item.name, hint, item)
    return settings


@cache
def nodes(schema: type) -> list[str]:
    """Dotted keys of everything that holds settings."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in leaves(schema) if "." in key))


@cache
def _former_keys(schema: type) -> dict[str, str]:
    """Return the present dotted key of each former one."""
    return {
        f"{key.rpartition('.')[0]}.{name}".removeprefix("."): key
        for key, leaf in leaves(schema).items()
        for name in leaf.field.metadata.get("formerly", ())
    }


def current_key(key: str, schema: type) -> str:
    """Return the present name of a setting that may be given by a former one."""
    return _former_keys(schema).get(key, key)


STARTS = frozenset({
    "pretrained", "pretrained_model", "pretrained_model_name_or_path", "pretrained_path", "pretrained_weights",
    "model_name", "model_name_or_path", "from", "from_pretrained", "weights", "init_weights", "init_from", "init_model",
    "initial", "initial_checkpoint", "checkpoint", "checkpoint_path", "ckpt", "ckpt_path", "load_from", "finetune_from",
    "restore_file",
})  # fmt: skip
"""Names of initial weights in other toolkits, which are an option here and not a setting."""


def unknown(key: str, schema: type, extra: Iterable[str] = ()) -> ConfigError:
    """The error for a key that is not there, with what may have been meant."""
    if key.rpartition(".")[2].lower() in STARTS:
        remedy = "training starts from other weights by `tformer finetune RECIPE --from RUN`, or --from hf:FOLDER"
        return ConfigError(f"unknown setting {key!r}", remedy)
    known = dict.fromkeys([*leaves(schema), *nodes(schema), *extra])
    last: dict[str, list[str]] = {}
    for name in known:
        last.setdefault(name.rpartition(".")[2], []).append(name)
    # First a key without its group, then the name of another toolkit, then a mistyped key, then a
    # mistyped key without its group.
    group, _, word = key.rpartition(".")
    meant = last.get(word, []) if not group else []
    synonyms = [name for setting in SYNONYMS.get(word, ()) for name in last.get(setting, ())]
    meant = meant or [name for name in synonyms if name.startswith(f"{group}.")] or synonyms
    meant = meant or suggest(key, known)
    meant = meant or [name for word in suggest(key.rpartition(".")[2], last) for name in last[word]]
    if meant:
        return ConfigError(f"unknown setting {key!r}", f"did you mean {_either(meant)}?")
    return ConfigError(f"unknown setting {key!r}", "`tformer settings` lists all of them")


def _either(words: list[str]) -> str:
    quoted = [f"'{word}'" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def convert(value: Any, leaf: Leaf) -> Any:
    """A value, or text that says it, as the setting's own type, within its range.

    Raises:
        ConfigError: naming the key, what was given and what is allowed.
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


def _typed(value: Any, kind: Any, key: str) -> Any:
    if isinstance(kind, UnionType):  # one value, or a list of them
        one, several = get_args(kind)
        kind = several if isinstance(value, list) else one
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise ConfigError(f"{key}: {_show(value)} is not a list", f"{key}=[a,b]")
        return [_typed(item, get_args(kind)[0], key) for item in value]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enumerated(value, kind, key)
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise ConfigError(f"{key}: {_show(value)} is not true or false")
        return value
    if kind is int:
        return _whole(value, key)
    if kind is float:
        return _number(value, key, "a number")
    if not isinstance(value, str):
        remedy = f'write {key}: ""' if value is None else f'put it in quotes: "{_show(value)}"'
        raise ConfigError(f"{key}: {_show(value)} is not text", remedy)
    return value


def _enumerated(value: Any, kind: type[Enum], key: str) -> Enum:
    if isinstance(value, kind):
        return value
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if text in kind.__members__:
        return kind[text]
    raise ConfigError(f"{key}: {_show(value)} is not one of {', '.join(kind.__members__)}")


def _whole(value: Any, key: str) -> int:
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


def _number(value: Any, key: str, what: str) -> float:
    try:
        number = float(value) if not isinstance(value, (bool, type(None), list, dict)) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not math.isfinite(number):
        raise ConfigError(f"{key}: {_show(value)} is not {what}")
    return number


def _show(value: Any) -> str:
    """A value as an error shows it: quoted text, at most 60 characters, on one line."""
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
    """A tree with every value given turned into its setting's type; settings that are not given stay away.

    Raises:
        ConfigError: at the first key that is unknown, or value that is not allowed.
    """
    known, values = leaves(schema), {}
    for key, value in walk(tree, schema):
        if key not in known:
            raise unknown(key, schema)
        values[key] = convert(value, known[key])
    return nest(values)


def walk(tree: Mapping[str, Any], schema: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything in a tree, below what the schema says holds settings.

    Raises:
        ConfigError: if something that holds settings is given a single value.
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
    """The error for a single value given where settings are expected."""
    example = next(name for name in leaves(schema) if name.startswith(f"{key}."))
    return ConfigError(f"{key}: {_show(value)} is given, but {key} holds settings", f"set one of them, as {example}")


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as a tree."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, name = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[name] = value
    return tree


def build(tree: Mapping[str, Any], schema: type) -> Any:
    """Return a dataclass from a checked tree; what is not given has its default."""
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
    """A dataclass, or anything in it, as a tree of plain values in the order of its fields."""
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Enum):
        return value.name
    return list(value) if isinstance(value, list) else value


def flatten(config: Experiment) -> dict[str, Any]:
    """Every setting by dotted key, as plain values in the order of the fields."""
    tree, flat = plain(config), {}
    for key in leaves(type(config)):
        value = tree
        for part in key.split("."):
            value = value[part]
        flat[key] = value
    return flat


def differences(before: Experiment, after: Experiment) -> list[str]:
    """What differs between two configurations, one line a key: `optim.lr: 0.001 -> 0.003`."""
    old, new = flatten(before), flatten(after)
    lines = []
    for key in dict.fromkeys([*old, *new]):
        if key not in old or key not in new or old[key] != new[key]:
            left, right = (_show_side(side, key) for side in (old, new))
            lines.append(f"{key}: {left} -> {right}")
    return lines


def _show_side(flat: Mapping[str, Any], key: str) -> str:
    if key not in flat:
        return "(not there)"
    value = flat[key]
    return '""' if value == "" else str(value).lower() if isinstance(value, bool) else str(value)
