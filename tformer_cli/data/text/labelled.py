"""Texts with labels, from tables or a Hugging Face dataset."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tformer_cli.config.schema import Target
from tformer_cli.data.core import files
from tformer_cli.data.core.cells import Gate, MissingValue, Places, read_list
from tformer_cli.data.core.division import Labels
from tformer_cli.data.core.hub import hub_origin, hub_rows
from tformer_cli.data.core.labels import row_labels
from tformer_cli.data.core.splits import draw, read_split
from tformer_cli.data.core.store import text_digest
from tformer_cli.errors import ConfigError

if TYPE_CHECKING:
    from tformer_cli.config.schema import LabelledTextDataConfig

SETTINGS = "data.text, data.second, data.label"


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
