"""Label sets: the labels of a training split, and their indices or numbers as targets."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from tformer_cli.config.schema import Target
from tformer_cli.data.core.cells import read_list
from tformer_cli.errors import DataError, checkpoint_content
from tformer_cli.regular_files import read_regular

INTEGER, INTEGRAL = re.compile(r"[+-]?\d+"), re.compile(r"([+-]?\d+)\.0+")
LABELS = "labels.json"
"""Name of the label set's file in a checkpoint."""


class Labelled(Protocol):
    """A split whose rows have labels.

    Attributes:
        label_settings: the settings that determine the labels, for messages.
    """

    label_settings: ClassVar[str]

    @property
    def labels(self) -> list[str] | None:
        """Return the labels as in the data; None: they were not read."""
        ...

    @property
    def origin(self) -> str:
        """Return a human-readable description of the source."""
        ...

    def location(self, row: int) -> str:
        """Return the name of a row, counted from 0, in error messages."""
        ...


@dataclass(frozen=True)
class LabelSet:
    """The labels of the training split, and their numbers.

    Attributes:
        target: one label, a number, or several labels.
        names: the labels in order; empty for numbers.
        separator: text between several labels.
        weights: weight of each label in the loss; empty: all are equal.
    """

    target: Target
    names: tuple[str, ...]
    separator: str = ","
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, data: Labelled, target: Target, separator: str) -> LabelSet:
        """Return the labels of a training split: numbers in their order, others in alphabetical order.

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
        """Return the number of outputs that the model needs."""
        return max(1, len(self.names))

    def numbers(self, data: Labelled) -> np.ndarray:
        """Return the targets of a split's rows.

        Returns:
            (N,) int64 for labels; (N,) float32 for numbers; (N, labels) float32, 0 or 1, for several labels.

        Raises:
            DataError: at a label that is not in the set, or a value that is not a number; names the row.
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
                    cause = f"{data.location(row)}: label {label!r} is not in the training split"
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
            raise DataError(f"{data.location(row)}: {text!r} is not a number", "data.target=label for labels")
        if abs(float(text)) > float(np.finfo(np.float32).max):
            raise DataError(
                f"{data.location(row)}: {text} does not fit into float32", "divide all numbers by a constant"
            )
        return float(text)

    def weighted(self, targets: np.ndarray) -> LabelSet:
        """Return the labels with weights that are inversely proportional to their frequencies.

        The mean weight of an example is 1.

        Args:
            targets: numbers of the training split's labels, (N,), int64.
        """
        counts = np.bincount(targets, minlength=self.outputs).clip(min=1)
        return dataclasses.replace(self, weights=tuple((counts.sum() / (len(counts) * counts)).tolist()))

    def described(self, targets: np.ndarray, max_names: int = 8) -> str:
        """Describe the first labels and their counts in a line; `targets` come from `numbers`."""
        if self.target is Target.number:
            return "numbers"
        counts = np.bincount(targets, minlength=len(self.names)) if targets.ndim == 1 else targets.sum(0)
        shown = ", ".join(f"{name} {int(counts[number]):,}" for number, name in enumerate(self.names[:max_names]))
        return shown + (f" and {len(self.names) - max_names} more" if len(self.names) > max_names else "")

    def to_json(self) -> bytes:
        """Return the content of a checkpoint's file."""
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
            raise DataError(f"{data.location(row)}: the list of labels {error}") from error
        if labels is None and text.lstrip().startswith("["):
            raise DataError(f"{data.location(row)}: not a list of labels: {text[:40]!r}", "write lists as JSON")
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
                cause = f"{data.location(row)}: the label is a list: {label[:40]}"
                raise DataError(cause, "for several labels per row, set data.target=labels; for one, write it alone")


def label_key(label: str) -> str:
    """Return the canonical spelling of a label: True becomes true, and 1.0 becomes 1."""
    text = label.strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    match = INTEGRAL.fullmatch(text)
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
