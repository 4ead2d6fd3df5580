"""The memory that Arrow columns take when they are unpacked, computed before they are.

Dictionaries, views and compressed buffers let a small file represent any amount of text. The unpacked size is computed
here first, and `raw_lines.check_expansion` compares it with the size of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tformer_cli.errors import DataError
from tformer_cli.raw_lines import check_expansion

if TYPE_CHECKING:
    import pyarrow

VALUE_BYTES = 32
"""Size of a value in Python, in addition to its text."""
PIECE_BYTES = 64 << 20
"""Maximum size of what is unpacked at once, unless a single row is larger."""
FOOTER, RECORD_BATCH, DICTIONARY_BATCH = b"ARROW1", "record batch", "dictionary"


# --- arrays ---


def check_type(path: Path, column: str, kind: pyarrow.DataType) -> None:
    """Refuse rarely used types that can represent more values than they store.

    Raises:
        DataError: naming the column and its type.
    """
    from pyarrow import types

    kind = getattr(kind, "storage_type", kind)
    if types.is_dictionary(kind):
        nested, shared = [], types.is_nested(kind.value_type)
    else:
        shared = types.is_run_end_encoded(kind) or types.is_union(kind)
        shared |= types.is_list_view(kind) or types.is_large_list_view(kind)
        nested = [kind.field(number).type for number in range(kind.num_fields)]
    if shared:
        raise DataError(f"{path}: column {column!r} is of Arrow's type {str(kind)[:80]}", "write it as text or a list")
    for part in nested:
        check_type(path, column, part)


def pieces(batch: pyarrow.RecordBatch) -> Iterator[tuple[pyarrow.RecordBatch, int]]:
    """Divide rows into pieces that fit into memory when they are unpacked.

    Yields:
        Each piece, still packed, and the bytes that it unpacks to.
    """
    size = sum(map(unpacked_bytes, batch.columns))
    if size <= PIECE_BYTES or batch.num_rows <= 1:
        yield batch, size
        return
    half = batch.num_rows // 2
    yield from pieces(batch.slice(0, half))
    yield from pieces(batch.slice(half))


def unpacked_bytes(array: pyarrow.Array) -> int:
    """Return the size of an array in bytes without dictionaries and views, with `VALUE_BYTES` for each value."""
    from pyarrow import types

    array = getattr(array, "storage", array)
    kind, size = array.type, VALUE_BYTES * len(array)
    if types.is_dictionary(kind):
        counts = array.indices.drop_null().value_counts()
        lengths = _lengths(array.dictionary.take(counts.field("values")))
        return size + int((lengths * counts.field("counts").to_numpy()).sum())
    if _is_view(kind):
        return size + int(_lengths(array).sum())
    if types.is_struct(kind):
        return size + sum(map(unpacked_bytes, array.flatten()))
    if types.is_map(kind):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return size + sum(unpacked_bytes(part.slice(first, last - first)) for part in (array.keys, array.items))
    if types.is_nested(kind):
        return size + unpacked_bytes(array.flatten())
    return size + array.nbytes


def viewed_bytes(array: pyarrow.Array) -> int:
    """Return the total size in bytes of the values of views, which may overlap, in an array that may be invalid."""
    from pyarrow import types

    array = getattr(array, "storage", array)
    kind = array.type
    if types.is_dictionary(kind):
        return viewed_bytes(array.dictionary)
    if _is_view(kind):
        return int(_lengths(array).sum())
    if types.is_struct(kind):
        return sum(viewed_bytes(array.field(number)) for number in range(kind.num_fields))
    if types.is_map(kind):
        return viewed_bytes(array.keys) + viewed_bytes(array.items)
    return viewed_bytes(array.values) if types.is_nested(kind) else 0


def _is_view(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_binary_view(kind) or types.is_string_view(kind)


def _lengths(array: pyarrow.Array) -> np.ndarray:
    """Return the size of each value in bytes, (N,) int64."""
    from pyarrow import compute, types

    kind = array.type
    if not len(array):
        return np.zeros(0, np.int64)
    if _is_view(kind):
        views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)  # the length comes first
        return views[array.offset : array.offset + len(array), 0].astype(np.int64).clip(min=0)
    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    if any(is_kind(kind) for is_kind in texts):
        lengths = compute.call_function("binary_length", [array]).fill_null(0)
        return lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    return np.full(len(array), 0 if types.is_null(kind) else kind.bit_width // 8, np.int64)


def plain(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """Return the rows with dictionary columns cast to plain ones, whose values are converted to Python one by one."""
    schema = batch.schema
    for number, field in enumerate(schema):
        schema = schema.set(number, field.with_type(plain_type(field.type)))
    return batch if schema.equals(batch.schema) else batch.cast(schema)


def plain_type(kind: pyarrow.DataType) -> pyarrow.DataType:
    """Return a type in which the dictionary types are replaced by the types of their values."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(kind):
        return kind.value_type
    if types.is_struct(kind):
        return pyarrow.struct([field.with_type(plain_type(field.type)) for field in kind])
    lists = {types.is_list: pyarrow.list_, types.is_large_list: pyarrow.large_list}
    for is_kind, make in lists.items():
        if is_kind(kind):
            return make(kind.value_field.with_type(plain_type(kind.value_type)))
    return kind


# --- messages of Arrow's files and streams ---


def check_messages(path: Path, source: Any) -> int:
    """Count the rows of an Arrow file; refuse one whose compressed buffers claim far more than its size.

    Args:
        path: path of the file, for errors.
        source: the file, memory-mapped.

    Raises:
        DataError: if the buffers claim too much.
        ValueError, EOFError, struct.error: if the file is damaged.
    """
    num_rows, claimed, size = 0, 0, path.stat().st_size
    for message in _messages(source):
        data = message.metadata.to_pybytes()
        table = _table(data, _root(data), 2)
        rows = table if message.type == RECORD_BATCH else _table(data, table, 1)
        length = _field(data, rows, 0)
        num_rows += struct.unpack_from("<q", data, length)[0] if length and message.type == RECORD_BATCH else 0
        claimed += _claimed(data, rows, message.body)
        check_expansion(path, claimed, size)
    return num_rows


def _messages(source: Any) -> Iterable[Any]:
    """Return the messages that contain record batches or dictionaries, in a file of either format."""
    from pyarrow import ipc

    source.seek(0)
    if source.read(len(FOOTER)) != FOOTER:
        source.seek(0)
        messages = ipc.MessageReader.open_stream(source)
        return (message for message in messages if message.type in (RECORD_BATCH, DICTIONARY_BATCH))
    return _indexed(source)


def _indexed(source: Any) -> Iterator[Any]:
    from pyarrow import ipc

    source.seek(source.size() - len(FOOTER) - 4)
    (length,) = struct.unpack("<i", source.read(4))
    if length < 0:
        raise ValueError("the footer is damaged")
    source.seek(source.size() - len(FOOTER) - 4 - length)
    footer = source.read(length)
    root = _root(footer)
    for field in (2, 3):  # dictionaries, batches
        for block in _vector(footer, root, field, 24):
            source.seek(struct.unpack_from("<q", footer, block)[0])
            yield ipc.read_message(source)


def _claimed(data: bytes, rows: int, body: Any) -> int:
    """Return the size in bytes to which the compressed buffers of a message claim to unpack.

    Args:
        data: the message without its body.
        rows: position in it of the table that describes the buffers.
        body: the buffers.
    """
    total = 0
    if _field(data, rows, 3) is not None:  # the buffers are compressed
        for position in _vector(data, rows, 2, 16):
            offset, size = struct.unpack_from("<qq", data, position)
            if size >= 8:
                total += max(size, *struct.unpack_from("<q", body, offset))
    return total


# FlatBuffers: a table begins with the offset back to its vtable, which contains the offsets of its fields.


def _root(data: bytes) -> int:
    return _follow(data, 0)


def _follow(data: bytes, position: int) -> int:
    return position + struct.unpack_from("<I", data, position)[0]


def _field(data: bytes, table: int, number: int) -> int | None:
    """Return the position of a field of a table; None: the field is absent."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * number >= size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * number)
    return table + offset if offset else None


def _table(data: bytes, table: int, number: int) -> int:
    """Return the position of the table to which a field refers."""
    position = _field(data, table, number)
    if position is None:
        raise ValueError("a message is damaged")
    return _follow(data, position)


def _vector(data: bytes, table: int, number: int, size: int) -> Iterator[int]:
    """Yield the positions of the items of a vector field, each of `size` bytes."""
    position = _field(data, table, number)
    if position is not None:
        start = _follow(data, position)
        (count,) = struct.unpack_from("<I", data, start)
        yield from range(start + 4, start + 4 + size * count, size)
