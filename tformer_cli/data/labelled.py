"""Texts with labels, from tables or a Hugging Face dataset."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from tformer_cli.config.schema import Target
from tformer_cli.data import files
from tformer_cli.data.source import hub_origin, hub_rows
from tformer_cli.data.splits import draw, read_split
from tformer_cli.data.store import text_digest
from tformer_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import LabelledTextDataConfig

SETTINGS = "data.text, data.second, data.label"
LABELS = "labels.json"
"""In a checkpoint: its label set."""


@dataclass(frozen=True)
class LabelledTexts:
    """The rows of a split.

    Attributes:
        texts: the first text of each row.
        seconds: the second, or None for single texts.
        labels: as they stand in the data.
        origin: where they come from, for people.
        hash: SHA-256 of all, in hex.
    """

    texts: list[str]
    seconds: list[str] | None
    labels: list[str]
    origin: str
    hash: str = field(default="")
    label_settings: ClassVar[str] = "data.label, data.columns"

    def __post_init__(self) -> None:
        """Compute the hash."""
        digests = [text_digest([part], self.origin) for part in (self.texts, self.seconds or [], self.labels)]
        object.__setattr__(self, "hash", hashlib.sha256("".join(digests).encode()).hexdigest())

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.texts)

    def select(self, rows: np.ndarray, origin: str) -> LabelledTexts:
        """Some of the rows."""
        seconds = None if self.seconds is None else [self.seconds[row] for row in rows]
        return LabelledTexts([self.texts[row] for row in rows], seconds, [self.labels[row] for row in rows], origin)

    def place(self, row: int) -> str:
        """What an error calls a row."""
        return f"{self.origin}: row {row + 1}"


def read_labelled(config: LabelledTextDataConfig, split: str, *, seed: int) -> dict[str, LabelledTexts]:
    """Read a split, as `read_split`: where there is no validation split, training rows drawn by the seed serve.

    Raises:
        ConfigError: if the data's location or columns are impossible.
        DataError: if the split is not there, or malformed; names file and line.
    """
    return read_split(config, split, functools.partial(_read, config), functools.partial(draw, seed=seed))


def _read(config: LabelledTextDataConfig, found: str | list[Path]) -> LabelledTexts:
    wanted = [config.text, *([config.second] if config.second else []), config.label]
    if len(set(wanted)) < len(wanted):
        raise ConfigError("data.text, data.second and data.label must name different columns")
    if isinstance(found, str):
        rows, origin = (
            hub_rows(config, found, wanted, setting=SETTINGS, values=[config.label]),
            hub_origin(config, found),
        )
        columns = files.transpose(rows, len(wanted))
    else:
        columns, origin = [[] for _ in wanted], str(found[0])
        for path in found:
            rows = files.table_rows(
                path, wanted, setting=SETTINGS, names=config.columns, values=[config.label], kind=_kind(path, config)
            )
            for column, more in zip(columns, files.transpose(rows, len(wanted)), strict=True):
                column += more
    second = columns[1] if config.second else None
    return LabelledTexts(columns[0], second, columns[-1], origin)


def _kind(path: Path, config: LabelledTextDataConfig) -> str:
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
        found = set(_labels(data)) if target is Target.label else set().union(*_lists(data, separator))
        if len(found) < 2:
            only = ", ".join(sorted(found)) or "none"
            raise DataError(f"{data.origin}: labels to tell apart: {only}", f"see {data.label_settings}")
        return cls(target, tuple(sorted(found, key=lambda name: (not _is_number(name), _value(name), name))), separator)

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
        place = {name: number for number, name in enumerate(self.names)}
        lists = [[label] for label in _labels(data)] if self.target is Target.label else _lists(data, self.separator)
        table = np.zeros((len(lists), len(self.names)), np.float32)
        for row, labels in enumerate(lists):
            for label in labels:
                if label not in place:
                    known = ", ".join(self.names[:12])
                    cause = f"{data.place(row)}: label {label!r} is not in the training split"
                    raise DataError(cause, f"there are: {known}")
                table[row, place[label]] = 1
        return table.argmax(1) if self.target is Target.label else table

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

    def to_json(self) -> bytes:
        """For a checkpoint."""
        value = {"target": self.target.name, "names": self.names, "separator": self.separator}
        if self.weights:
            value["weights"] = self.weights
        return json.dumps(value, ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes) -> LabelSet:
        """Of a checkpoint."""
        value = json.loads(content)
        return cls(Target(value["target"]), tuple(value["names"]), value["separator"], tuple(value.get("weights", ())))


def _labels(data: Labelled) -> list[str]:
    if data.labels is None:
        raise DataError(f"{data.origin}: no labels were read", f"see {data.label_settings}")
    return data.labels


def _lists(data: Labelled, separator: str) -> list[list[str]]:
    found = []
    for row, text in enumerate(_labels(data)):
        if text.startswith("["):
            try:
                values = json.loads(text)
            except ValueError as error:
                raise DataError(f"{data.place(row)}: not a list of labels") from error
            found.append([value if isinstance(value, str) else json.dumps(value) for value in values])
        else:
            found.append([part.strip() for part in text.split(separator) if part.strip()])
    return found


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _value(text: str) -> float:
    return float(text) if _is_number(text) else 0.0
