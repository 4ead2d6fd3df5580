"""The headers of the pages of a Parquet file, which contain the unpacked size of each page.

The footer of a file contains it too, but nothing compares that with the pages. Headers and the footer are Thrift's
compact protocol; the fields are those of `parquet.thrift` in Apache Parquet's format. pyarrow has objects for parts of
the footer, but ends the process when it creates them from a damaged one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, TypeVar

HEADER_BYTES, MOST_HEADER_BYTES = 1 << 12, 16 << 20
MOST_DEPTH = 16
ROW_GROUPS, COLUMNS, COLUMN = 4, 1, 3
"""Fields that lead from the footer to a column of a row group."""
COLUMN_VALUES, COLUMN_SIZE, DATA_START, DICTIONARY_START = 5, 7, 9, 11
FOOTER_TAIL_BYTES = 8
UNPACKED_SIZE, PACKED_SIZE = 2, 3
DATA_HEADER, DICTIONARY_HEADER, DATA_HEADER_2 = 5, 7, 8
NUM_VALUES = 1
STRUCT = 12
Value = TypeVar("Value", int, dict, list)
DAMAGED = "the header of a page, or the footer, is damaged"


class Page(NamedTuple):
    """The header of a page, which pyarrow does not check.

    Attributes:
        size: unpacked size in bytes.
        num_values: number of its values.
        is_dictionary: whether it is the dictionary to which other pages refer.
    """

    size: int
    num_values: int
    is_dictionary: bool


class Column(NamedTuple):
    """The location of a column chunk: the pages of a column in a row group.

    Attributes:
        start: position of its first page in the file.
        size: size of all pages in bytes.
        num_values: number of values in all pages.
    """

    start: int
    size: int
    num_values: int


def row_groups(file: BinaryIO) -> Iterator[list[Column]]:
    """Yield the columns of each row group, as the footer describes them.

    Args:
        file: a Parquet file whose footer pyarrow has read.

    Raises:
        ValueError, struct.error: if the footer is damaged.
    """
    file.seek(-FOOTER_TAIL_BYTES, os.SEEK_END)
    (size,) = struct.unpack_from("<I", file.read(FOOTER_TAIL_BYTES))
    file.seek(-FOOTER_TAIL_BYTES - size, os.SEEK_END)
    try:
        footer = _Compact(file.read(size)).struct(0)
    except IndexError as error:
        raise ValueError(DAMAGED) from error
    for group in _field(footer, ROW_GROUPS, list):
        yield [_column(_field(column, COLUMN, dict)) for column in _field(group, COLUMNS, list)]


def _column(fields: dict[int, Any]) -> Column:
    if not fields.keys() >= {COLUMN_VALUES, COLUMN_SIZE, DATA_START}:
        raise ValueError(DAMAGED)
    start, dictionary = _field(fields, DATA_START, int), _field(fields, DICTIONARY_START, int)
    start = dictionary if 0 < dictionary < start else start
    return Column(start, _field(fields, COLUMN_SIZE, int), _field(fields, COLUMN_VALUES, int))


def pages(file: BinaryIO, column: Column) -> Iterator[Page]:
    """Yield the pages of a column in a row group, as far as pyarrow reads them.

    Raises:
        ValueError: if a header is damaged.
    """
    position, end, seen = column.start, column.start + column.size, 0
    while seen < column.num_values and position < end:
        header, length = _header(file, position)
        content = _field(header, DATA_HEADER, dict) or _field(header, DATA_HEADER_2, dict)
        entries, packed_size = _field(header, DICTIONARY_HEADER, dict), _field(header, PACKED_SIZE, int)
        num_values = _field(content or entries, NUM_VALUES, int)
        page = Page(_field(header, UNPACKED_SIZE, int), num_values, bool(entries))
        if min(page.size, page.num_values, packed_size) < 0:
            raise ValueError("a page of negative size")
        yield page
        seen += num_values if content else 0
        position += length + packed_size


def _header(file: BinaryIO, position: int) -> tuple[dict[int, Any], int]:
    """Return the header of the page at `position`, and its length in bytes."""
    size = HEADER_BYTES
    while True:
        file.seek(position)
        data = file.read(size)
        compact = _Compact(data)
        try:
            header = compact.struct(0)
        except IndexError as error:
            if len(data) < size or size >= MOST_HEADER_BYTES:
                raise ValueError(DAMAGED) from error
            size *= 16
            continue
        if not header.keys() >= {UNPACKED_SIZE, PACKED_SIZE}:
            raise ValueError(DAMAGED)
        return header, compact.at


def _field(fields: dict[int, Any], number: int, kind: type[Value]) -> Value:
    """Return a field of a struct, or the empty value of its kind if it is absent.

    Raises:
        ValueError: if it is of another kind.
    """
    value = fields.get(number, kind())
    if not isinstance(value, kind):
        raise ValueError(DAMAGED)
    return value


class _Compact:
    """A reader of values in Thrift's compact protocol; it skips texts and lists, except for lists of structs.

    Args:
        data: the encoded values; methods raise IndexError if it ends too early.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        """Read a struct, and return its fields by their numbers."""
        fields: dict[int, Any] = {}
        number = 0
        while kind := self.byte():
            number = number + (kind >> 4) if kind >> 4 else self.integer()
            fields[number] = self.value(kind & 15, depth)
        return fields

    def value(self, kind: int, depth: int) -> Any:
        """Read a value of a kind, and return it; None if it is skipped."""
        if depth > MOST_DEPTH:
            raise ValueError(DAMAGED)
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self.byte()
            case 4 | 5 | 6:
                return self.integer()
            case 7:
                self.skip(8)
            case 8:
                self.skip(self.varint())
            case 9 | 10:
                head = self.byte()
                count = head >> 4 if head >> 4 < 15 else self.varint()
                if head & 15 == STRUCT:
                    return [self.value(STRUCT, depth + 1) for _ in range(count)]
                for _ in range(count):
                    self.byte() if head & 15 in (1, 2) else self.value(head & 15, depth + 1)
            case 12:  # STRUCT
                return self.struct(depth + 1)
            case _:
                raise ValueError(DAMAGED)
        return None

    def byte(self) -> int:
        """Read the next byte."""
        self.at += 1
        return self.data[self.at - 1]

    def skip(self, count: int) -> None:
        """Skip bytes."""
        self.at += count
        if self.at > len(self.data):
            raise IndexError

    def varint(self) -> int:
        """Read a number with 7 bits per byte, the lowest first."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError(DAMAGED)

    def integer(self) -> int:
        """Read a signed number, which is stored in zigzag encoding: its lowest bit is the sign."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)
