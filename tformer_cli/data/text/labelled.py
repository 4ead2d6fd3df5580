"""Texts with labels, from tables or a Hugging Face dataset."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from tformer_cli.config.schema import Target
from tformer_cli.data.core import files
from tformer_cli.data.core.cells import Gate, MissingValue, Places, read_list
from tformer_cli.data.core.division import Labels
from tformer_cli.data.core.hub import hub_origin, hub_rows
from tformer_cli.data.core.splits import draw, read_split
from tformer_cli.data.core.store import text_digest
from tformer_cli.errors import ConfigError, DataError, checkpoint_content
from tformer_cli.regular import read_regular

if TYPE_CHECKING:
    from tformer_cli.config.schema import LabelledTextDataConfig

SETTINGS = "data.text, data.second, data.label"
INTEGER, WHOLE = re.compile(r"[+-]?\d+"), re.compile(r"([+-]?\d+)\.0+")
LABELS = "labels.json"
"""In a checkpoint: its label set."""


@dataclass(frozen=True)
class LabelledTexts:
    """The rows of a split.

    Attributes:
        texts: the first text of each row.
        seconds: the second, or None for single texts.
        labels: labels as in the data; several labels are a JSON list, or text separated by `data.separator`.
        origin: source of the rows, for messages.
        hash: SHA-256 of texts and labels, in hex.
        places: location of each row; None: errors name its index in the split.
        notes: notes about skipped rows, one line each.
    """

    texts: list[str]
    seconds: list[str] | None
    labels: list[str]
    origin: str
    hash: str = field(default="")
    places: Places | None = None
    notes: tuple[str, ...] = ()
    label_settings: ClassVar[str] = "data.label=..., data.columns=[...]"

    def __post_init__(self) -> None:
        """Compute the hash."""
        digests = [text_digest([part], self.origin) for part in (self.texts, self.seconds or [], self.labels)]
        object.__setattr__(self, "hash", hashlib.sha256("".join(digests).encode()).hexdigest())

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.texts)

    def select(self, rows: np.ndarray, origin: str) -> LabelledTexts:
        """Some of the rows."""
        texts, labels = ([column[row] for row in rows] for column in (self.texts, self.labels))
        seconds = None if self.seconds is None else [self.seconds[row] for row in rows]
        places = None if self.places is None else self.places.select(rows)
        return LabelledTexts(texts, seconds, labels, origin, places=places, notes=self.notes)

    def place(self, row: int) -> str:
        """What an error calls a row."""
        return f"{self.origin}: row {row + 1}" if self.places is None else str(self.places[row])


def read_labelled(
    config: LabelledTextDataConfig, split: str, *, seed: int, skip: bool = False
) -> dict[str, LabelledTexts]:
    """Read a split; without a validation split, training rows drawn by the seed are used.

    Args:
        config: location of the data.
        split: train, validation or test.
        seed: seed of the draw.
        skip: skip rows without text or label, which are an error otherwise.

    Raises:
        ConfigError: if the data's location or columns are impossible.
        DataError: if the split is missing or malformed; names file and line.
    """

    def labels(data: LabelledTexts) -> Labels | None:
        by_label = config.stratified and config.target is not Target.number
        return row_labels(data, config.target, config.separator) if by_label else None

    divide = functools.partial(draw, seed=seed, labels=labels)
    return read_split(config, split, functools.partial(_read, config, skip), divide)


def _read(config: LabelledTextDataConfig, skip: bool, location: str | list[Path]) -> LabelledTexts:
    wanted = [config.text, *([config.second] if config.second else []), config.label]
    if len(set(wanted)) < len(wanted):
        raise ConfigError("data.text, data.second and data.label must name different columns")
    gate, places = Gate(frozenset(config.missing), skip), Places()
    options: dict[str, Any] = {"setting": SETTINGS, "values": [config.label], "gate": gate, "places": places}
    options["blank"] = [config.label] if config.target is Target.labels else []
    if isinstance(location, str):
        rows, origin = hub_rows(config, location, wanted, **options), hub_origin(config, location)
    else:
        tables = (files.table_rows(p, wanted, names=config.columns, kind=_kind(p), **options) for p in location)
        rows, origin = chain.from_iterable(tables), str(location[0])
    if config.target is Target.labels:
        rows = _with_labels(rows, config, gate, places)
    columns = files.transpose(rows, len(wanted))
    second = columns[1] if config.second else None
    notes = gate.notes(len(places))
    return LabelledTexts(columns[0], second, columns[-1], origin, places=places, notes=notes)


def _with_labels(
    rows: Iterable[list[str]], config: LabelledTextDataConfig, gate: Gate, places: Places
) -> Iterator[list[str]]:
    """Yield the rows whose several labels hold no missing value; `places` has the place of each row that was read."""
    for row in rows:
        with contextlib.suppress(ValueError):  # a malformed list is named when labels are counted
            labels = read_list(row[-1])
            labels = row[-1].split(config.separator) if labels is None else labels
            lacking = next((label for label in labels if label.strip() and gate.lacks(label)), None)
            if lacking is not None:
                gate.refuse(MissingValue(places.pop(), f"a label in {config.label}", lacking))
                continue
        yield row


def _kind(path: Path) -> str:
    """How to read a file: by its ending; any other is taken for tab-separated values."""
    return files.table_kind(path) or ".tsv"


class Labelled(Protocol):
    """A split of which each row has a label.

    Attributes:
        label_settings: those that decide what the labels are.
    """

    label_settings: ClassVar[str]

    @property
    def labels(self) -> list[str] | None:
        """As they stand in the data; None: it was read without them."""
        ...

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        ...

    def place(self, row: int) -> str:
        """What an error calls a row, counted from 0."""
        ...


@dataclass(frozen=True)
class LabelSet:
    """What the labels of the training split are, and how they become numbers.

    Attributes:
        target: one label, a number, or several labels.
        names: the labels in order; empty for numbers.
        separator: between several labels.
        weights: of the labels in the loss; empty: all count alike.
    """

    target: Target
    names: tuple[str, ...]
    separator: str = ","
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, data: Labelled, target: Target, separator: str) -> LabelSet:
        """Found in the training split: numbers in their order, else by the alphabet.

        Raises:
            DataError: if there are fewer than two.
        """
        if target is Target.number:
            return cls(target, ())
        labels = set().union(*row_labels(data, target, separator))
        names = label_names(labels)
        if len(names) < 2:
            cause = f"every row has the label {names[0]!r}" if names else "no row has a label"
            remedy = f"a classifier needs two or more: add examples of others, or see {data.label_settings}"
            raise DataError(f"{data.origin}: {cause}", remedy)
        return cls(target, names, separator)

    @property
    def outputs(self) -> int:
        """Numbers that the model gives a row."""
        return max(1, len(self.names))

    def numbers(self, data: Labelled) -> np.ndarray:
        """(N,) int64 of labels, (N,) float32 of numbers, (N, labels) float32 of several labels.

        Raises:
            DataError: at a label that training does not have, or what is no number; names the row.
        """
        if self.target is Target.number:
            return np.array([self._number(text, row, data) for row, text in enumerate(_labels(data))], np.float32)
        number = {label_key(name): number for number, name in enumerate(self.names)}
        lists = row_labels(data, self.target, self.separator)
        rows, columns = [], []
        for row, labels in enumerate(lists):
            for label in labels:
                if label_key(label) not in number:
                    known = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
                    cause = f"{data.place(row)}: label {label!r} is not in the training split"
                    raise DataError(cause, f"labels there: {known}; correct it, or train with examples of it")
                rows.append(row)
                columns.append(number[label_key(label)])
        if self.target is Target.label:
            return np.array(columns, np.int64)
        table = np.zeros((len(lists), len(self.names)), np.float32)
        table[rows, columns] = 1
        return table

    def _number(self, text: str, row: int, data: Labelled) -> float:
        if not _is_number(text):
            raise DataError(f"{data.place(row)}: {text!r} is not a number", "data.target=label for labels")
        return float(text)

    def weighted(self, targets: np.ndarray) -> LabelSet:
        """The same labels, an example of each weighing 1 / the label's share, but 1 on average over labels' shares.

        Args:
            targets: numbers of the training split's labels, (N,), int64.
        """
        counts = np.bincount(targets, minlength=self.outputs).clip(min=1)
        return dataclasses.replace(self, weights=tuple((counts.sum() / (len(counts) * counts)).tolist()))

    def described(self, targets: np.ndarray, most: int = 8) -> str:
        """Describe the first labels and their counts in a line; `targets` come from `numbers`."""
        if self.target is Target.number:
            return "numbers"
        counts = np.bincount(targets, minlength=len(self.names)) if targets.ndim == 1 else targets.sum(0)
        shown = ", ".join(f"{name} {int(counts[number]):,}" for number, name in enumerate(self.names[:most]))
        return shown + (f" and {len(self.names) - most} more" if len(self.names) > most else "")

    def to_json(self) -> bytes:
        """For a checkpoint."""
        value = {"target": self.target.name, "names": self.names, "separator": self.separator}
        if self.weights:
            value["weights"] = self.weights
        return json.dumps(value, ensure_ascii=False, indent=1).encode()

    @classmethod
    def of_checkpoint(cls, folder: Path) -> LabelSet | None:
        """Read the labels in a checkpoint's folder, if it has any.

        Raises:
            OSError: if the file cannot be read, or is no regular one.
            RunError: if its content is not valid.
        """
        if not (folder / LABELS).is_file():
            return None
        return cls.from_json(read_regular(folder / LABELS, links=False), folder / LABELS)

    @classmethod
    def from_json(cls, content: bytes, origin: object = "labels") -> LabelSet:
        """Read the labels of a checkpoint.

        Args:
            content: the output of `to_json`.
            origin: name of the file in error messages.

        Raises:
            RunError: if the content is not valid.
        """
        with checkpoint_content(origin, "labels"):
            value = json.loads(content)
            names, weights = tuple(value["names"]), tuple(map(float, value.get("weights", ())))
            fits = all(isinstance(text, str) for text in (*names, value["separator"]))
            if not fits or not all(0 <= weight < math.inf for weight in weights) or len(weights) not in (0, len(names)):
                raise ValueError
            return cls(Target(value["target"]), names, value["separator"], weights)


def _labels(data: Labelled) -> list[str]:
    if data.labels is None:
        raise DataError(f"{data.origin}: no labels were read", f"see {data.label_settings}")
    return data.labels


def row_labels(data: Labelled, target: Target, separator: str) -> list[list[str]]:
    """Return the labels of each row as they are written: one, or any number of them.

    Raises:
        DataError: if several labels are neither a list nor separated by `separator`; names the row.
    """
    if target is not Target.labels:
        if target is Target.label:
            _refuse_lists(data)
        return [[label.strip()] for label in _labels(data)]
    rows = []
    for row, text in enumerate(_labels(data)):
        try:
            labels = read_list(text)
        except ValueError as error:
            raise DataError(f"{data.place(row)}: the list of labels {error}") from error
        if labels is None and text.lstrip().startswith("["):
            raise DataError(f"{data.place(row)}: not a list of labels: {text[:40]!r}", "write lists as JSON")
        labels = text.split(separator) if labels is None else labels
        rows.append([label.strip() for label in labels if label.strip()])
    return rows


def _refuse_lists(data: Labelled) -> None:
    """Refuse lists where each row has one label: each combination would be a class.

    Raises:
        DataError: at the first; names the row.
    """
    for row, label in enumerate(_labels(data)):
        if not label.lstrip().startswith("["):
            continue
        with contextlib.suppress(ValueError):
            if read_list(label) is not None:
                cause = f"{data.place(row)}: the label is a list: {label[:40]}"
                raise DataError(cause, "several labels a text need data.target=labels; else give the class alone")


def label_key(label: str) -> str:
    """Return the canonical spelling of a label: True becomes true, and 1.0 becomes 1."""
    text = label.strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    match = WHOLE.fullmatch(text)
    return match[1] if match else text


def label_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct labels in order, numbers first.

    If all are Booleans, or all are integers, their canonical spellings are used, which are the same in every format.
    """
    spellings: dict[str, str] = {}
    for label in sorted(labels, reverse=True):
        spellings[label_key(label)] = label
    if spellings.keys() <= {"true", "false"} or all(INTEGER.fullmatch(key) for key in spellings):
        names = list(spellings)
    else:
        names = list(spellings.values())
    return tuple(sorted(names, key=lambda name: (not _is_number(name), _value(name), name)))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _value(text: str) -> float:
    return float(text) if _is_number(text) else 0.0
