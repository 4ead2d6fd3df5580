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
from tformer_cli.data.core.cells import Gate, Locations, MissingValue, read_list
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
        locations: location of each row; None: errors name its index in the split.
        notes: notes about skipped rows, one line each.
    """

    texts: list[str]
    seconds: list[str] | None
    labels: list[str]
    origin: str
    hash: str = field(default="")
    locations: Locations | None = None
    notes: tuple[str, ...] = ()
    label_settings: ClassVar[str] = "data.label=..., data.columns=[...]"

    def __post_init__(self) -> None:
        """Compute the hash."""
        digests = [text_digest([part], self.origin) for part in (self.texts, self.seconds or [], self.labels)]
        object.__setattr__(self, "hash", hashlib.sha256("".join(digests).encode()).hexdigest())

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.texts)

    def select(self, rows: np.ndarray, origin: str) -> LabelledTexts:
        """Return the split of the rows at the given indices, with another `origin`."""
        texts, labels = ([column[row] for row in rows] for column in (self.texts, self.labels))
        seconds = None if self.seconds is None else [self.seconds[row] for row in rows]
        locations = None if self.locations is None else self.locations.select(rows)
        return LabelledTexts(texts, seconds, labels, origin, locations=locations, notes=self.notes)

    def location(self, row: int) -> str:
        """Return the name of a row, counted from 0, in error messages."""
        return f"{self.origin}: row {row + 1}" if self.locations is None else str(self.locations[row])


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
    names = [config.text, *([config.second] if config.second else []), config.label]
    if len(set(names)) < len(names):
        raise ConfigError("data.text, data.second and data.label must name different columns")
    gate, locations = Gate(frozenset(config.missing), skip), Locations()
    options: dict[str, Any] = {"setting": SETTINGS, "values": [config.label], "gate": gate, "locations": locations}
    options["blank"] = [config.label] if config.target is Target.labels else []
    if isinstance(location, str):
        rows, origin = hub_rows(config, location, names, **options), hub_origin(config, location)
    else:
        tables = (files.table_rows(p, names, names=config.columns, kind=_kind(p), **options) for p in location)
        rows, origin = chain.from_iterable(tables), str(location[0])
    if config.target is Target.labels:
        rows = _with_labels(rows, config, gate, locations)
    columns = files.transpose(rows, len(names))
    second = columns[1] if config.second else None
    notes = gate.notes(len(locations))
    return LabelledTexts(columns[0], second, columns[-1], origin, locations=locations, notes=notes)


def _with_labels(
    rows: Iterable[list[str]], config: LabelledTextDataConfig, gate: Gate, locations: Locations
) -> Iterator[list[str]]:
    """Yield the rows in whose lists of labels none is missing, and remove the locations of the others."""
    for row in rows:
        with contextlib.suppress(ValueError):  # a malformed list is named when labels are counted
            labels = read_list(row[-1])
            labels = row[-1].split(config.separator) if labels is None else labels
            lacking = next((label for label in labels if label.strip() and gate.lacks(label)), None)
            if lacking is not None:
                gate.refuse(MissingValue(locations.pop(), f"a label in {config.label}", lacking))
                continue
        yield row


def _kind(path: Path) -> str:
    """Return the format of a file by its ending; an ending that is not a table's means tab-separated values."""
    return files.table_kind(path) or ".tsv"
