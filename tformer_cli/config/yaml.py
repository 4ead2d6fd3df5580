"""Reading and writing a safe subset of YAML.

Reading checks the document event by event, before anything is built. Anchors and aliases (258 bytes of nested aliases
can take half a minute), tags, deep nesting, huge documents, keys that are not text, and duplicate keys are refused with
a message that names file and line. Plain scalars follow the YAML 1.2 core schema, so that `no` is text (the code of
Norwegian) and `1e-3` is a number.

Writing uses block style, keeps the order of the keys, and quotes every string that a YAML reader could take for a value
of another type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tformer_cli.errors import ConfigError, unreadable
from tformer_cli.regular_files import open_regular

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_NODES = 10_000

_INT = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass
class Document:
    """A YAML mapping with the line of each of its keys.

    Attributes:
        data: the mapping; values are mappings, lists, text, numbers, booleans and None.
        name: name of the document in errors, usually the path.
        lines: line of each key, counted from 1, by dotted path (`optim.lr`).
    """

    data: dict[str, Any]
    name: str
    lines: dict[str, int] = field(default_factory=dict)

    def location(self, key: str) -> str:
        """Return `FILE:LINE` of a key, or of the nearest key that contains it."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return f"{self.name}:{self.lines[key]}" if key else self.name


def read_yaml(path: Path) -> Document:
    """Read a file that contains one YAML mapping.

    Raises:
        ConfigError: if it cannot be read, is over 1 MB, is not UTF-8, or contains anything that is refused.
    """
    try:
        with open_regular(path) as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        wrong = unreadable(path, error)
        raise ConfigError(wrong.cause, wrong.remedy) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB", "that is no configuration file")
    try:
        text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8", "save the file as UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str, *, typed: bool = True) -> Document:
    """Read one YAML mapping from text.

    Args:
        text: the document.
        name: name of the document in errors.
        typed: whether plain scalars are converted to numbers, booleans and None; else every scalar is text.

    Raises:
        ConfigError: if the text is not YAML, or contains anything that is refused.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{name} is larger than {MAX_BYTES // 1_000_000} MB", "that is no configuration file")
    builder = _Builder(name, typed)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        location = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{location} is not YAML ({error.problem or error.context})") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{name}:{line} holds a character that YAML does not allow") from error
    if builder.documents != 1 or not isinstance(builder.root, dict):
        raise ConfigError(f"{name} does not hold settings", "write one KEY: VALUE a line")
    return Document(builder.root, name, builder.lines)


class _Builder:
    """A builder of a document from parser events, with an explicit stack in place of recursion."""

    def __init__(self, name: str, typed: bool) -> None:
        self.typed = typed
        self.name, self.root, self.documents, self.nodes = name, None, 0, 0
        self.lines: dict[str, int] = {}
        # Open collections: the mapping or list, the key whose value comes next, the dotted path of the collection.
        self.stack: list[list[Any]] = []

    def fail(self, event: yaml.Event, problem: str) -> None:
        raise ConfigError(f"{self.name}:{event.start_mark.line + 1} {problem}")

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.fail(event, "starts a second document: one file holds one configuration")
        elif isinstance(event, yaml.AliasEvent):
            self.fail(event, f"uses the alias *{event.anchor}: anchors and aliases are not read")
        elif isinstance(event, yaml.NodeEvent):
            self.node(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.stack.pop()

    def node(self, event: yaml.NodeEvent) -> None:
        self.nodes += 1
        if event.anchor is not None:
            self.fail(event, f"sets the anchor &{event.anchor}: anchors and aliases are not read")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.fail(event, f"has the tag {tag}: tags are not read")
        if self.nodes > MAX_NODES:
            self.fail(event, f"is past {MAX_NODES:,} values: that is no configuration file")
        if isinstance(event, yaml.ScalarEvent):
            literal = event.style is not None or not self.typed
            value = event.value if literal else plain_scalar(event.value)
            self.insert(event, value, None)
            return
        if len(self.stack) >= MAX_DEPTH:
            self.fail(event, f"is nested more than {MAX_DEPTH} levels deep")
        new: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = self.insert(event, new, new)
        self.stack.append([new, None, path])

    def insert(self, event: yaml.NodeEvent, value: Any, collection: Any) -> str:
        """Insert a value into the innermost open collection and return its dotted path."""
        if not self.stack:
            self.root = value
            return ""
        parent, key, path = self.stack[-1]
        if isinstance(parent, list):
            parent.append(value)
            return path
        if key is None:
            if collection is not None or not isinstance(value, str):
                self.fail(event, "has a key that is not text: put it in quotes")
            if value in parent:
                self.fail(event, f"gives {value!r} a second time")
            self.stack[-1][1] = value
            parent[value] = None  # a placeholder, so that a duplicate key is noticed
            dotted = f"{path}.{value}" if path else value
            self.lines.setdefault(dotted, event.start_mark.line + 1)
            return dotted
        parent[key] = value
        self.stack[-1][1] = None
        return f"{path}.{key}" if path else key


def plain_scalar(text: str) -> Any:
    """Return the value of a scalar without quotes: None, a boolean, a number or text (YAML 1.2, section 10.3.2)."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text) and len(text) < 400:  # Python refuses to read integers of thousands of digits
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which also quotes text that is a number in YAML 1.2 but not in YAML 1.1."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True, so that a value that occurs twice is written twice."""
        return True


for _tag, _pattern in (("int", _INT), ("float", _FLOAT)):
    # The resolver matches only at the beginning of a scalar, so the pattern contains the end.
    _anchored = re.compile(rf"(?:{_pattern.pattern})\Z")
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _anchored, list("-+0123456789."))


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    if value != value or value in (float("inf"), float("-inf")):
        return yaml.SafeDumper.represent_float(dumper, value)
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")  # readers of YAML 1.1 take 1e-09 for text
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    # Line breaks, including U+0085, U+2028 and U+2029, are preserved only as escapes in double quotes.
    style = '"' if any(not character.isprintable() for character in value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(str, _represent_text)


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Return a mapping as YAML that `parse_yaml` reads back as the same values; it ends in a line feed."""
    return yaml.dump(
        dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20, default_flow_style=False
    )


def strings(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in a tree, keys included, with its dotted path."""
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            below = f"{path}.{key}" if path else str(key)
            yield below, str(key)
            yield from strings(value, below)
    elif isinstance(data, list):
        for value in data:
            yield from strings(value, path)
