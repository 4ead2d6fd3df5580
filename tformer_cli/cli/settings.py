"""The command `tformer settings`, which prints a reference of all settings."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from dataclasses import MISSING, asdict, dataclass
from enum import Enum
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from tformer_cli.errors import ConfigError

if TYPE_CHECKING:
    from tformer_cli.config.values import Leaf


LONGEST_DEFAULT = 20
"""Maximum length of a default in the list of a terminal."""


@dataclass(frozen=True)
class Setting:
    """A setting in the reference.

    Attributes:
        key: dotted key in command line syntax.
        default: default in command line syntax; empty: the setting is required.
        values: the type, or the allowed names or range.
        about: description of the setting.
        tasks: tasks, or tasks with a model family, that have it with this default; empty: all.
    """

    key: str
    default: str
    values: str
    about: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A setting as it is listed, once for all tasks in which its values and description are the same.

    Attributes:
        line: the setting with its usual default.
        tasks: tasks that have it, or "not" and tasks that do not; empty: all have it.
        others: other defaults, each with the tasks that have it.
    """

    line: Setting
    tasks: str = ""
    others: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The description, followed by tasks and other defaults in parentheses."""
        notes = "; ".join(filter(None, (self.tasks, *self.others)))
        return f"{self.line.about} ({notes})" if notes else self.line.about


def settings(
    prefix: Annotated[
        str, typer.Argument(metavar="[PREFIX]", help="Only settings with this prefix, such as optim or data.path.")
    ] = "",
    task: Annotated[str, typer.Option("--task", help="Only settings of this task.", show_default=False)] = "",
    family: Annotated[
        str, typer.Option("--family", help="With --task: settings with this model family.", show_default=False)
    ] = "",
    recipe: Annotated[
        str, typer.Option("--recipe", help="Settings of a recipe, with its values.", show_default=False)
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each setting.")] = False,
) -> None:
    """Print all settings with their defaults, allowed values and descriptions.

    On a terminal, a list of settings is short, and the name of one setting shows everything about it.
    """
    from tformer_cli.cli.output import note, result, table

    if family and not task:
        raise ConfigError("--family: needs --task", "add --task TASK")
    lines = _of_recipe(recipe) if recipe else reference(task, family)
    chosen = [line for line in lines if _begins(line.key, prefix)]
    if not chosen and (chosen := [line for line in lines if _mentions(line, prefix)]):
        note(f"no setting begins with {prefix!r}; the names or descriptions of these contain it:")
    if not chosen:
        from tformer_cli.config.suggest import suggest

        parts = {part for line in lines for part in (line.key, line.key.partition(".")[0])}
        near = suggest(prefix, parts)
        raise ConfigError(
            f"no setting begins with {prefix!r}",
            f"did you mean '{near[0]}'?" if near else "`tformer settings` prints all of them",
        )
    if as_json:
        for line in chosen:
            result(json.dumps(asdict(line), ensure_ascii=False) + "\n")
        return
    value = "value" if recipe else "default"
    entries = [Entry(line) for line in chosen] if recipe else _one_for_each(chosen, _pairs(task, family))
    if not sys.stdout.isatty():
        rows = [(entry.line.key, _shown(entry.line), entry.line.values, entry.description) for entry in entries]
        table(("setting", value, "values", "description"), rows)
    elif any(line.key == prefix for line in chosen):
        width = shutil.get_terminal_size().columns
        result("\n".join(_in_full(entry, value, width) for entry in entries))
    else:
        rows = [(entry.line.key, _cut(_shown(entry.line)), entry.line.about) for entry in entries]
        table(("setting", value, "description"), rows, unwrapped=("setting",))
        note("`tformer settings NAME` shows a setting in full: its values, the tasks that have it, other defaults")


def reference(task: str = "", family: str = "") -> list[Setting]:
    """Return every setting of all tasks with all model families, or of one task, in the order of the schema.

    If the default of a key differs between tasks or families, there is a line for each default.

    Args:
        task: name of a task; empty: all.
        family: name of a model family for that task; empty: its default.

    Raises:
        ConfigError: if there is no such task, or it cannot be trained with that family.
    """
    from tformer_cli.config.experiments import current_name, experiment, tasks
    from tformer_cli.config.suggest import suggest
    from tformer_cli.config.values import leaves

    name, _ = current_name(task)
    if task and name not in tasks():
        near = suggest(task, tasks())
        raise ConfigError(
            f"--task: no task {task!r}", f"did you mean '{near[0]}'?" if near else f"one of {', '.join(tasks())}"
        )
    pairs = _pairs(task, family)
    by_line: dict[tuple[str, str, str, str], list[str]] = {}
    for name, chosen in pairs:
        schema = experiment(name, chosen)
        owner = _owner(name, chosen)
        for key, leaf in leaves(schema).items():
            default = "" if key == "task" and not task else _default(schema, key)  # one line, not one for each task
            by_line.setdefault((key, default, _values(key, leaf), leaf.about), []).append(owner)
    order = {key: index for index, key in enumerate(dict.fromkeys(key for key, *_ in by_line))}
    return [
        Setting(*line, tasks=() if len(owners) == len(pairs) else tuple(owners))
        for line, owners in sorted(by_line.items(), key=lambda item: order[item[0][0]])
    ]


def _in_full(entry: Entry, value: str, width: int) -> str:
    """Return the lines of everything known of a setting, none longer than `width` if words allow it."""
    line = entry.line
    facts = [(value, _shown(line)), ("other defaults", "; ".join(entry.others))]
    facts += [("values", line.values), ("tasks", entry.tasks)]
    lines = [line.key, textwrap.indent(textwrap.fill(line.about, width - 2, break_on_hyphens=False), "  ")]
    for name, text in facts:
        if text:
            indented = textwrap.fill(f"{name}: {text}", width - 4, break_on_hyphens=False, break_long_words=False)
            lines.append("  " + indented.replace("\n", "\n    "))
    return "\n".join(lines) + "\n"


def _of_recipe(recipe: str) -> list[Setting]:
    """Return the settings of a recipe, with its values as defaults."""
    from tformer_cli.config.compose import compose
    from tformer_cli.config.values import leaves

    config = compose(recipe, complete=False, required=False)
    return [
        Setting(key, _as_text(_get(config, key)), _values(key, leaf), leaf.about, ())
        for key, leaf in leaves(type(config)).items()
    ]


def _begins(key: str, prefix: str) -> bool:
    """Return whether a key equals the prefix, is below it, or continues its last word."""
    return not prefix or key.startswith(prefix)


def _mentions(line: Setting, word: str) -> bool:
    """Return whether a word of the key or the description begins with a text, in any case."""
    return re.search(rf"(\b|_){re.escape(word)}", f"{line.key} {line.about}", re.IGNORECASE) is not None


def _shown(line: Setting) -> str:
    return line.default or "(required)"


def _cut(text: str) -> str:
    """Return a text of at most `LONGEST_DEFAULT` characters."""
    return text if len(text) <= LONGEST_DEFAULT else f"{text[: LONGEST_DEFAULT - 1]}…"


def _pairs(task: str, family: str) -> list[tuple[str, str]]:
    """Return the tasks, each with the model families, that the reference is about."""
    from tformer_cli.config.experiments import current_name, families_for, tasks

    if task:
        name, implied = current_name(task)
        return [(name, family or implied)]
    return [(name, chosen) for name in tasks() for chosen in families_for(name)]


def _owner(task: str, family: str) -> str:
    """Return the name of a task, with the model family unless it is the default."""
    from tformer_cli.config.experiments import experiment

    return task if experiment(task, family) is experiment(task) else f"{task} with model.family={family}"


def _one_for_each(lines: list[Setting], pairs: list[tuple[str, str]]) -> list[Entry]:
    """Return one entry for each setting.

    A setting has several entries only if its values or descriptions differ between tasks.
    """
    grouped: dict[tuple[str, str, str], list[Setting]] = {}
    for line in lines:
        grouped.setdefault((line.key, line.values, line.about), []).append(line)
    merged = []
    for same in grouped.values():
        usual = max(same, key=lambda line: len(line.tasks or pairs))
        owners = {owner for line in same for owner in line.tasks} if usual.tasks else set()
        others = [f"{_shown(line)}: {_restricted(set(line.tasks), pairs)}" for line in same if line is not usual]
        merged.append(Entry(usual, _restricted(owners, pairs) if owners else "", tuple(others)))
    return merged


def _restricted(owners: set[str], pairs: list[tuple[str, str]]) -> str:
    """Return the tasks among `owners`, or those that are not if there are fewer; empty for all of them."""
    families: dict[str, list[str]] = {}
    for task, family in pairs:
        families.setdefault(task, []).append(_owner(task, family))
    complete = [task for task, names in families.items() if owners.issuperset(names)]
    partial = [
        name for task, names in families.items() if task not in complete for name in names if name in owners
    ]  # fmt: skip
    absent = [task for task, names in families.items() if owners.isdisjoint(names)]
    if not partial and len(absent) < len(complete):
        return f"not {', '.join(absent)}" if absent else ""
    return ", ".join([*complete, *partial])


def _default(schema: type, key: str) -> str:
    """Return the default of a dotted key in command line syntax; empty if there is none."""
    from dataclasses import fields

    value: object = schema
    for name in key.split("."):
        if not isinstance(value, type):
            value = getattr(value, name)
            continue
        item = next(item for item in fields(value) if item.name == name)
        value = item.default if item.default is not MISSING else item.default_factory()  # pyright: ignore[reportCallIssue]
    return _as_text(value)


def _get(config: object, key: str) -> object:
    for name in key.split("."):
        config = getattr(config, name)
    return config


def _as_text(value: object) -> str:
    """Return a value in command line syntax."""
    from tformer_cli.config.schema import REQUIRED

    if value == REQUIRED:
        return ""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_as_text(item) for item in value)}]"
    return str(value) if value != "" else "''"


def _values(key: str, leaf: Leaf) -> str:
    """Return the allowed values of a setting."""
    from tformer_cli.config.experiments import tasks

    if key == "task":
        return " ".join(tasks())
    if leaf.options:
        return " ".join(leaf.options)
    low, high = leaf.field.metadata.get("low"), leaf.field.metadata.get("high")
    name = _type_name(leaf.type)
    if low is not None and high is not None:
        return f"{name} {low:g} to {high:g}"
    if low is not None:
        return f"{name} >= {low:g}"
    return f"{name} <= {high:g}" if high is not None else name


def _type_name(value_type: Any) -> str:
    """Return the readable name of a type."""
    if get_origin(value_type) is list:
        return f"list [a,b,...] of {_type_name(get_args(value_type)[0])}s"
    if isinstance(value_type, UnionType):
        return " or ".join(_type_name(part) for part in get_args(value_type))
    return {int: "whole number", float: "number", str: "text"}.get(
        value_type, getattr(value_type, "__name__", str(value_type))
    )
