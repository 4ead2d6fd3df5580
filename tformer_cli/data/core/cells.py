"""The values of table cells: text, numbers, Booleans, classes, lists, or missing values.

Every reader of tables (text, images, recordings) uses this module, so that a value means the same in every format.
"""

from __future__ import annotations

import ast
import itertools
import json
import math
import re
import warnings
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from tformer_cli.errors import DataError

SHOWN = 5
"""Number of rows that a note names."""
LISTED = 12
"""Number of column names in an error."""
NUMPY_WRAPPER = re.compile(r"(?:np|numpy)\.\w+\(([^()]*)\)")
NUMPY_ITEM = re.compile(
    r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?=[\s\]])|True|False""", re.DOTALL
)
FOREIGN_LIST = re.compile(r"(?:\{|c\()\S[^\n]*,[^\n]*\S[})]")
"""Sets of Python, arrays of PostgreSQL, vectors of R."""
BARE_NAN = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\bnan\b""", re.DOTALL)
NUMPY_LIST = re.compile(rf"\[\s*(?:(?:{NUMPY_ITEM.pattern})(?:\s+|(?=\])))*\]", re.DOTALL)


class Location(NamedTuple):
    """The location of a row: a line of a text file, or a row of a table without lines; both count from 1."""

    origin: str
    number: int
    is_line: bool

    def __str__(self) -> str:
        """Return the location as error messages write it."""
        return f"{self.origin}:{self.number}" if self.is_line else f"{self.origin}: row {self.number}"

    __format__ = object.__format__  # not that of a tuple


class Locations:
    """The locations of the rows of a split, stored compactly."""

    def __init__(self, locations: Iterable[Location] = ()) -> None:
        self._origins: dict[tuple[str, bool], int] = {}
        self._table = array("q")  # for each row: index of its origin, row number
        self._last: tuple[object, object, int] = (None, None, 0)  # origin of the last row, and its index
        for location in locations:
            self.append(location)

    def append(self, location: Location) -> None:
        """Add the location of the next row."""
        name, number, is_line = location
        last_name, was_line, origin = self._last
        if name is not last_name or is_line is not was_line:
            origin = self._origins.setdefault((name, is_line), len(self._origins))
            self._last = name, is_line, origin
        self._table.append(origin)
        self._table.append(number)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._table) // 2

    def __getitem__(self, row: int) -> Location:
        """Return the location of a row; rows count from 0."""
        origin, number = self._table[2 * row : 2 * row + 2]
        name, is_line = list(self._origins)[origin]
        return Location(name, number, is_line)

    def pop(self) -> Location:
        """Remove the last location and return it."""
        location = self[len(self) - 1]
        del self._table[-2:]
        return location

    def select(self, rows: np.ndarray) -> Locations:
        """Return the locations of some rows."""
        locations = Locations()
        locations._origins = dict(self._origins)
        locations._table.frombytes(np.array(self._table, np.int64).reshape(-1, 2)[rows].tobytes())
        return locations


class BadRow(DataError):
    """A row that cannot be used, and that `trainer.on_bad_sample=skip` skips.

    Args:
        location: its location.
        reason: what is wrong with it.
        repair: how to repair it.
    """

    def __init__(self, location: Location | str, reason: str, repair: str) -> None:
        self.location, self.reason, self.repair = str(location), reason, repair
        super().__init__(f"{location}: {reason}", f"{repair}, or skip such rows: trainer.on_bad_sample=skip")


class MissingValue(BadRow):
    """A row without a required value, such as its label, text or tag."""

    def __init__(self, location: Location | str, column: str, value: Any) -> None:
        marker = ", see data.missing" if isinstance(value, str) and value.strip() else ""
        super().__init__(location, f"{column} is missing ({shown(value)}{marker})", "fill it in")


class InvalidText(BadRow):
    """A row with a text that no tokenizer reads, see `invalid_character`."""

    def __init__(self, location: Location | str, column: str, character: str) -> None:
        super().__init__(location, f"{column} holds {character}", "correct it")


def invalid_character(text: str) -> str:
    r"""Return the description of a character that no text may have: NUL, or half of a surrogate pair; "" without one.

    JSON can write half of a pair alone, as `"\ud800"`. UTF-8 has no bytes for it.
    """
    if "\0" in text:
        return "a NUL character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"an unpaired surrogate (\\u{ord(text[error.start]):x}), which is not valid Unicode"
    return ""


def shown(value: Any) -> str:
    """Return how a message shows a missing value."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return "NaN"
    if not isinstance(value, str):
        return str(value)[:40]
    return repr(value.strip()) if value.strip() else "empty"


def missing_column(location: object, name: str, columns: Iterable[str], setting: str, more: str = "") -> DataError:
    """Return the error for a missing column, with the existing columns."""
    listed = [repr(column)[:80] for column in itertools.islice(columns, LISTED + 1)] or ["none"]
    existing = ", ".join([*listed[:LISTED], *(["..."] if len(listed) > LISTED else [])])
    return DataError(
        f"{location}: no column {name!r}", f"columns there: {existing}; name the right one with {setting}{more}"
    )


@dataclass
class Gate:
    """A filter of a table's rows that refuses or skips rows with missing values, or with text that is not valid.

    A value is missing if it is null, NaN, empty text or one of `markers`.

    Attributes:
        markers: texts that mean a missing value (`data.missing`).
        skip: skip such rows; otherwise the first one is an error.
        left_out: the skipped rows and the reasons.
    """

    markers: frozenset[str] = frozenset()
    skip: bool = False
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def lacks(self, value: Any, *, blank: bool = False) -> bool:
        """Return whether a value is missing; with `blank`, empty text is a value."""
        if not isinstance(value, str):
            return value is None or (isinstance(value, float) and math.isnan(value))
        text = value.strip()
        return text in self.markers if text else not blank

    def refuse(self, bad: BadRow) -> None:
        """Skip a row and record it.

        Raises:
            BadRow: if such rows must not be skipped.
        """
        if not self.skip:
            raise bad
        self.left_out.append((bad.location, bad.reason))

    def notes(self, remaining: int) -> tuple[str, ...]:
        """Return a line about the skipped rows, given that `remaining` rows remain; nothing if none was skipped.

        Raises:
            DataError: if no row remains.
        """
        if not self.left_out:
            return ()
        count = len(self.left_out)
        if not remaining:
            location, reason = self.left_out[0]
            raise DataError(f"{location}: {reason}, the same in all {count:,} rows", "name the right columns")
        which = ", ".join(f"{location} ({reason})" for location, reason in self.left_out[:SHOWN])
        more = ", ..." if count > SHOWN else ""
        rows = f"{count:,} of {count + remaining:,} rows"
        return (f"{rows} lack a value or valid text and were left out: {which}{more}",)


def class_names(feature: Any) -> list[str] | None:
    """Return the class names of a column, or of the lists in it, from its `datasets` feature; None if it has none.

    Args:
        feature: a `datasets` feature, or its JSON in the schema of a Parquet or Arrow file.
    """
    while feature is not None:
        names = feature.get("names") if isinstance(feature, dict) else getattr(feature, "names", None)
        if isinstance(names, (list, tuple)):
            return [str(name) for name in names]
        if isinstance(feature, dict):
            feature = feature.get("feature")
        elif isinstance(feature, list):
            feature = feature[0] if feature else None
        else:
            feature = getattr(feature, "feature", None)
    return None


def schema_class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return the class names by column that `datasets` writes into the schema of a Parquet or Arrow file."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        by_column = {column: class_names(feature) for column, feature in features.items()}
        return {column: names for column, names in by_column.items() if names is not None}
    return {}


def value_text(value: Any, names: Sequence[str] | None = None) -> str | None:
    """Convert a value to text: a class to its name, a Boolean to `true` or `false`, a list to JSON.

    Args:
        value: the value of a cell.
        names: class names, if numbers are class indices.

    Returns:
        None for a missing value: null, NaN, a class index below 0 (written by `datasets`), or a list that contains one.

    Raises:
        ValueError: for any other value; the message completes "COLUMN ...".
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, (float, Decimal)) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float, Decimal)):
        if names is None or not math.isfinite(value) or value != int(value):
            return str(value)
        if value >= len(names):
            raise ValueError(f"is {value}, but there are names for {len(names)} classes")
        return names[int(value)] if value >= 0 else None
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    if isinstance(value, (list, tuple, np.ndarray)):
        items = [value_text(item, names) for item in value]
        plain = names is None and all(isinstance(item, (str, int, float)) for item in value)
        return None if None in items else json.dumps(list(value) if plain else items, ensure_ascii=False)
    raise ValueError("is not text")


def has_short_floats(arrow_type: str) -> bool:
    """Return whether values of an Arrow type are, or hold, floating-point numbers of 16 or 32 bits."""
    return re.search(r"\b(float|halffloat)\b", arrow_type) is not None


def shortest(value: Any) -> Any:
    """Return 32-bit floats with the fewest digits that identify them: 0.1 instead of 0.10000000149011612."""
    if isinstance(value, list):
        return [shortest(item) for item in value]
    return float(str(np.float32(value))) if isinstance(value, float) else value


def cell_text(
    value: Any,
    location: Location | str,
    column: str,
    gate: Gate,
    *,
    label: bool = False,
    names: Sequence[str] | None = None,
    blank: bool = False,
) -> str:
    """Return the text of a cell.

    Args:
        value: the value in the table.
        location: location of its row, for errors.
        column: its name, for errors.
        gate: decides which values are missing.
        label: also accept numbers, Booleans, classes and lists.
        names: class names, if numbers are class indices.
        blank: whether empty text is a value.

    Raises:
        MissingValue: if there is no value.
        InvalidText: if its text has an invalid character.
        DataError: if it is not text.
    """
    if gate.lacks(value, blank=blank):
        raise MissingValue(location, column, value)
    try:
        if not label and not isinstance(value, (str, bytes)):
            raise ValueError("is not text")
        text = value_text(value, names)
    except ValueError as error:
        raise DataError(f"{location}: {column} {error}") from error
    if text is None:
        raise MissingValue(location, column, value)
    if character := invalid_character(text):
        raise InvalidText(location, column, character)
    return text


def read_list(text: str) -> list[str] | None:
    """Parse a list in JSON, Python or NumPy notation; each item becomes text.

    Returns:
        None if the text is not a list.

    Raises:
        ValueError: if the list has another notation, NumPy omitted items ("..."), or an item is a list, an object,
            missing or not valid text; the message names the cause.
    """
    text = text.strip()
    if text.startswith("array(") and text.endswith(")"):
        text = re.sub(r",\s*dtype=[^,\]]*\)$", ")", text)[len("array(") : -1].strip()
    if FOREIGN_LIST.fullmatch(text):
        raise ValueError("is in no notation of JSON, Python or NumPy: write lists as JSON")
    if not (text.startswith(("[", "(")) and text.endswith(("]", ")"))):
        return None
    values: Any = None
    with suppress(ValueError, RecursionError):
        values = json.loads(text)
    if not isinstance(values, list) and NUMPY_LIST.fullmatch(text):
        values = [ast.literal_eval(_bare(item)) for item in NUMPY_ITEM.findall(text)]
    elif not isinstance(values, list):
        values = _python_list(text)
    if isinstance(values, (list, tuple)):
        if any(isinstance(item, (list, tuple, dict)) for item in values):
            raise ValueError("holds a list inside the list")
        items = [value_text(item) for item in values]
        if None in items:
            raise ValueError("holds nothing (null, NaN) in one place")
        if character := next(filter(None, map(invalid_character, filter(None, items))), ""):
            raise ValueError(f"holds {character}")
        return [item for item in items if item is not None]
    if NUMPY_LIST.fullmatch(re.sub(r"\s\.\.\.(?=\s)", "", text)):
        raise ValueError("was cut by NumPy ('...'): write lists as JSON")
    return None


def _bare(number: str) -> str:
    """Convert a number in NumPy notation to Python notation, without leading zeros."""
    return number.lstrip("0") or "0" if number.isdigit() else number


def _python_list(text: str) -> Any:
    """Parse a Python literal; None if it is not one."""
    without_nan = BARE_NAN.sub(lambda match: "None" if match[0] == "nan" else match[0], text)
    for source in (text, NUMPY_WRAPPER.sub(r"\1", text), without_nan):
        with warnings.catch_warnings(), suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            warnings.simplefilter("ignore")  # about backslashes in text
            return ast.literal_eval(source)
    return None
