"""Texts and arrays that are written piece by piece and lie in files, so that a corpus may be larger than memory.

Texts lie in files without a name, which go with the process; of each only its place is known in memory, and that is
mapped. Token arrays that outlive the process have names: see `tformer_cli.data.text.encoded`.
"""

from __future__ import annotations

import hashlib
import io
import operator
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import IO, overload

import numpy as np

from tformer_cli.data.core.cache import Write, cache_folder
from tformer_cli.errors import DataError
from tformer_cli.runs.writing import write_remedy

READ_BYTES = 1 << 20  # of text, when it is read from beginning to end
OFFSETS_AT_ONCE = 1 << 12  # of texts that are written
TEXTS_AT_ONCE = 64  # in a digest
CHARACTERS_AT_ONCE = 1 << 20  # of text that is encoded


def temporary(cache: str) -> IO[bytes]:
    """A file without a name in the cache folder, or where the system keeps such files if that cannot be written.

    Raises:
        DataError: if neither can be written.
    """
    folder = cache_folder(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        try:
            return tempfile.TemporaryFile()
        except OSError as error:
            raise _no_room(cache, error) from error


def _no_room(cache: str, error: OSError) -> DataError:
    cause = f"{cache_folder(cache)}: data cannot be laid down here: {error.strerror or error}"
    return DataError(cause, f"{write_remedy(error)}, or choose another folder: data.cache=...")


# --- arrays -------------------------------------------------------------------------------------------------


def unnamed(cache: str, names: Sequence[str], write: Write) -> dict[str, np.ndarray]:
    """Arrays for this process alone, mapped from files without a name; arguments as `cached`.

    Raises:
        DataError: if there is no room for them.
    """
    streams = {name: temporary(cache) for name in names}
    try:
        write(streams.__getitem__)
        return {name: _mapped(stream) for name, stream in streams.items()}
    except OSError as error:
        raise _no_room(cache, error) from error


def _mapped(stream: IO[bytes]) -> np.ndarray:
    stream.flush()
    stream.seek(0)
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    return np.asarray(np.memmap(stream, dtype, "r", stream.tell(), shape))


class Mapped:
    """A memory-mapped array that goes to another process as the name of its file, where it has one.

    Args:
        array: as `cached` gives it.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __reduce__(self) -> tuple:
        """Else a process that starts anew would get a copy of all of it."""
        base = self.array.base
        while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):  # a view of a view
            base = base.base
        if isinstance(base, np.memmap) and base.filename is not None and base.nbytes == self.array.nbytes:
            return _map_again, (str(base.filename), self.array.dtype.str, base.offset, self.array.shape)
        return Mapped, (self.array,)


def _map_again(name: str, dtype: str, offset: int, shape: tuple[int, ...]) -> Mapped:
    return Mapped(np.asarray(np.memmap(name, dtype, "r", offset, shape)))


class ArrayWriter:
    """A flat array in NumPy's format, written piece by piece.

    Args:
        stream: empty, open for reading and writing: a file, or `io.BytesIO`.
        dtype: of its numbers.
    """

    def __init__(self, stream: IO[bytes], dtype: np.dtype | type) -> None:
        self.stream, self.dtype, self.count = stream, np.dtype(dtype), 0
        self._write_header()
        self.start = stream.tell()

    def _write_header(self) -> None:
        """NumPy leaves room in the header for a first axis that grows."""
        head = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self.stream, head)

    def append(self, values: np.ndarray) -> None:
        """Add numbers, (n,)."""
        self.stream.write(np.asarray(values, self.dtype).tobytes())
        self.count += len(values)

    def finish(self) -> np.ndarray:
        """All numbers, (count,), mapped if the stream is a file."""
        self.stream.seek(0)
        self._write_header()
        self.stream.flush()
        if isinstance(self.stream, io.BytesIO):
            return np.frombuffer(self.stream.getbuffer(), self.dtype, offset=self.start)
        # A plain view of the mapping: slices of numpy.memmap are ten times slower.
        return np.asarray(np.memmap(self.stream, self.dtype, "r", self.start, (self.count,)))


class RaggedWriter:
    """Sequences of different lengths, written piece by piece: their values end to end, and where each begins.

    Args:
        values: stream of the values, as in `ArrayWriter`.
        offsets: stream of the offsets.
        dtype: of the values.
    """

    def __init__(self, values: IO[bytes], offsets: IO[bytes], dtype: np.dtype | type) -> None:
        self.values, self.offsets = ArrayWriter(values, dtype), ArrayWriter(offsets, np.int64)
        self.offsets.append(np.zeros(1, np.int64))

    def extend(self, values: np.ndarray, lengths: np.ndarray) -> None:
        """Add sequences that lie end to end in `values`, as long as `lengths` says, (n,) int64."""
        self.offsets.append(self.values.count + np.cumsum(lengths))
        self.values.append(values)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """All values, and the offsets (N + 1,): sequence i is `values[offsets[i] : offsets[i + 1]]`."""
        return self.values.finish(), self.offsets.finish()


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths by number, laid end to end; it goes to another process without its values.

    Attributes:
        values: all of them, (total,) or (total, width); it may lie in a memory-mapped file.
        starts: where each begins, (N,) int64.
        lengths: of each, (N,) int64.
    """

    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def from_offsets(cls, values: np.ndarray, offsets: np.ndarray) -> Ragged:
        """Sequences laid end to end: i is `values[offsets[i] : offsets[i + 1]]`; offsets (N + 1,) int64."""
        return cls(values, np.asarray(offsets[:-1]), np.diff(offsets))

    def __reduce__(self) -> tuple:
        """Of mapped values their file's name goes."""
        return _ragged_again, (Mapped(self.values), self.starts, self.lengths)

    def __len__(self) -> int:
        """How many."""
        return len(self.starts)

    def __getitem__(self, index: int) -> np.ndarray:
        """A sequence, a view, (length,) or (length, width)."""
        start = self.starts[index]
        return self.values[start : start + self.lengths[index]]

    def gather(self, rows: np.ndarray) -> list[np.ndarray]:
        """The sequences at `rows`, views."""
        return [self[int(row)] for row in rows]

    def select(self, rows: np.ndarray) -> Ragged:
        """The sequences at `rows`, in that order; their values stay where they are."""
        return Ragged(self.values, self.starts[rows], self.lengths[rows])


def _ragged_again(values: Mapped, starts: np.ndarray, lengths: np.ndarray) -> Ragged:
    return Ragged(values.array, starts, lengths)


# --- texts --------------------------------------------------------------------------------------------------


class Texts(Sequence[str]):
    """Texts in a file, read when they are asked for.

    Args:
        file: UTF-8, end to end.
        offsets: where each begins, and where the last ends, in bytes, (N + 1,) int64.
    """

    def __init__(self, file: IO[bytes], offsets: np.ndarray) -> None:
        self._file, self._offsets = file, offsets

    def __reduce__(self) -> tuple:
        """A process that does not share the file gets the texts themselves."""
        return list, (list(self),)

    def __len__(self) -> int:
        """How many."""
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        """A text; or a stretch of texts, which copies nothing."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError("texts are sliced without gaps")
            return Texts(self._file, self._offsets[start : max(start, stop) + 1])
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        index %= len(self)
        return self._read(*self._offsets[index : index + 2].tolist()).decode()

    def __iter__(self) -> Iterator[str]:
        """All texts in order, some at a time in memory."""
        first = 0
        while first < len(self):
            most = self._offsets[first] + READ_BYTES
            stop = max(first + 1, int(np.searchsorted(self._offsets, most, side="right")) - 1)
            places = self._offsets[first : stop + 1].tolist()
            data = self._read(places[0], places[-1])
            for begin, end in pairwise(places):
                yield data[begin - places[0] : end - places[0]].decode()
            first = stop

    def _read(self, begin: int, end: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), end - begin, begin)  # no place in the file is kept: workers share it
        self._file.seek(begin)  # Windows, where each process has a file of its own
        return self._file.read(end - begin)


def gather(rows: Iterable[Sequence[str]], columns: int, *, cache: str, origin: str, unit: str = "row") -> list[Texts]:
    """Lay the columns of rows down in files.

    Args:
        rows: read once.
        columns: texts in each row.
        cache: `data.cache`: where the files are put.
        origin: where the rows come from, for errors.
        unit: what an error calls a row.

    Raises:
        DataError: if the files cannot be written; at a NUL or half of a surrogate pair, naming the row.
    """
    files = [temporary(cache) for _ in range(columns)]
    offsets = [ArrayWriter(temporary(cache), np.int64) for _ in range(columns)]
    ends = [[0] for _ in range(columns)]
    places = [0] * columns
    for number, row in enumerate(rows, 1):
        for column, text in enumerate(row):
            data = utf8(text, origin, unit, number)
            places[column] += len(data)
            ends[column].append(places[column])
            try:
                files[column].write(data)
                if len(ends[column]) >= OFFSETS_AT_ONCE:
                    offsets[column].append(np.array(ends[column], np.int64))
                    ends[column].clear()
            except OSError as error:
                raise _no_room(cache, error) from error
    try:
        for file, writer, rest in zip(files, offsets, ends, strict=True):
            file.flush()
            writer.append(np.array(rest, np.int64))
        return [Texts(file, writer.finish()) for file, writer in zip(files, offsets, strict=True)]
    except OSError as error:
        raise _no_room(cache, error) from error


def utf8(text: str, origin: str, unit: str, number: int) -> bytes:
    """A text as bytes.

    Raises:
        DataError: at a NUL or half of a surrogate pair; names the text.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{origin}: {unit} {number}: half of a surrogate pair, which is no text") from error
    if b"\0" in data:
        raise DataError(f"{origin}: {unit} {number}: a NUL character", "remove it")
    return data


def text_digest(columns: Sequence[Sequence[str]], origin: str, unit: str = "text") -> str:
    """SHA-256 of columns of texts, in hex; as a NUL is refused, it can divide them.

    Raises:
        DataError: as `utf8`.
    """
    digest = hashlib.sha256(f"{len(columns[0])}\0".encode())
    for column in columns:
        count = 0
        rows = iter(column)
        while texts := list(islice(rows, TEXTS_AT_ONCE)):
            data = b""
            if sum(map(len, texts)) <= CHARACTERS_AT_ONCE:
                with suppress(UnicodeEncodeError):
                    data = "\0".join([*texts, ""]).encode()
            if data.count(b"\0") != len(texts):  # long texts, or a fault, which `utf8` names
                data = b"".join(
                    utf8(text, origin, unit, number) + b"\0" for number, text in enumerate(texts, count + 1)
                )
            digest.update(data)
            count += len(texts)
    return digest.hexdigest()


def chunks(texts: Iterable[str], most: int) -> Iterator[list[str]]:
    """The texts in order, at most `most` at a time, and fewer where they are long."""
    part: list[str] = []
    characters = 0
    for text in texts:
        part.append(text)
        characters += len(text)
        if len(part) >= most or characters >= CHARACTERS_AT_ONCE:
            yield part
            part, characters = [], 0
    if part:
        yield part
