"""The pages of a Parquet file by their headers: how much each unpacks to is known before any of it is unpacked.

The footer of a file says it too, but nothing compares that with the pages. Headers are Thrift's compact protocol; the
fields are those of `parquet.thrift` in Apache Parquet's format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from pyarrow.parquet import ColumnChunkMetaData

HEADER_BYTES, MOST_HEADER_BYTES = 1 << 12, 16 << 20
MOST_DEPTH = 8
UNPACKED_SIZE, PACKED_SIZE = 2, 3
DATA_HEADER, DICTIONARY_HEADER, DATA_HEADER_2 = 5, 7, 8
NUM_VALUES = 1
DAMAGED = "the header of a page is damaged"


class Page(NamedTuple):
    """What a page claims; pyarrow believes it.

    Attributes:
        size: bytes that it unpacks to.
        num_values: that it holds.
        is_dictionary: whether its values are those that other pages refer to.
    """

    size: int
    num_values: int
    is_dictionary: bool


def pages(file: BinaryIO, chunk: ColumnChunkMetaData) -> Iterator[Page]:
    """The pages of a column in a row group, as far as pyarrow reads them.

    Raises:
        ValueError: if a header is damaged.
    """
    start, dictionary = chunk.data_page_offset, chunk.dictionary_page_offset
    position = dictionary if chunk.has_dictionary_page and dictionary and 0 < dictionary < start else start
    end, seen = position + chunk.total_compressed_size, 0
    while seen < chunk.num_values and position < end:
        header, length = _header(file, position)
        content = header.get(DATA_HEADER) or header.get(DATA_HEADER_2) or {}
        entries = header.get(DICTIONARY_HEADER) or {}
        page = Page(header[UNPACKED_SIZE], (content or entries).get(NUM_VALUES, 0), bool(entries))
        if min(page.size, page.num_values, header[PACKED_SIZE]) < 0:
            raise ValueError("a page of negative size")
        yield page
        seen += content.get(NUM_VALUES, 0)
        position += length + header[PACKED_SIZE]


def _header(file: BinaryIO, position: int) -> tuple[dict[int, Any], int]:
    """The header of the page at `position`, and its length."""
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


class _Compact:
    """Values in Thrift's compact protocol; texts and lists are passed over.

    Args:
        data: their bytes; IndexError says that they end too early.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        """A struct's fields by their numbers."""
        fields: dict[int, Any] = {}
        number = 0
        while kind := self.byte():
            number = number + (kind >> 4) if kind >> 4 else self.integer()
            fields[number] = self.value(kind & 15, depth)
        return fields

    def value(self, kind: int, depth: int) -> Any:
        """A value of a kind; None where it is passed over."""
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
                for _ in range(count):
                    self.byte() if head & 15 in (1, 2) else self.value(head & 15, depth + 1)
            case 12:
                return self.struct(depth + 1)
            case _:
                raise ValueError(DAMAGED)
        return None

    def byte(self) -> int:
        """The next byte."""
        self.at += 1
        return self.data[self.at - 1]

    def skip(self, count: int) -> None:
        """Pass over bytes."""
        self.at += count
        if self.at > len(self.data):
            raise IndexError

    def varint(self) -> int:
        """A number of 7 bits a byte, the lowest first."""
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
        """A number whose lowest bit is its sign."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)
