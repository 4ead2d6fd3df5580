"""Texts and arrays in files, which are written piece by piece, so that a corpus may be larger than memory.

Texts and their offsets are in anonymous temporary files, which the system deletes with the process. The offsets are
memory-mapped. Token arrays that outlive the process are in the cache: see `tformer_cli.data.text.encoded`.
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
from tformer_cli.data.core.cells import invalid_character
from tformer_cli.errors import DataError
from tformer_cli.runs.writing import write_remedy

READ_BYTES = 1 << 20  # read at once in an iteration over texts
OFFSETS_AT_ONCE = 1 << 12  # written at once
TEXTS_AT_ONCE = 64  # digested at once
CHARACTERS_AT_ONCE = 1 << 20  # encoded at once


def temporary(cache: str) -> IO[bytes]:
    """Open an anonymous temporary file in the cache folder, or in the system's temporary folder if that fails.

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
    cause = f"{cache_folder(cache)}: temporary data cannot be written: {error.strerror or error}"
    return DataError(cause, f"{write_remedy(error)}, or choose another folder: data.cache=...")


# --- arrays -------------------------------------------------------------------------------------------------


def temporary_arrays(cache: str, names: Sequence[str], write: Write) -> dict[str, np.ndarray]:
    """Return arrays that are mapped from anonymous temporary files; see `cached` for the arguments.

    Raises:
        DataError: if the files cannot be written.
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
    """A memory-mapped array that is pickled as the name of its file, if that has a name.

    Args:
        array: an array of `cached`.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __reduce__(self) -> tuple:
        """Pickle the name of the file, as a spawned process would otherwise receive a copy of the array."""
        base = self.array.base
        while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):  # a view of a view
            base = base.base
        if isinstance(base, np.memmap) and base.filename is not None and base.nbytes == self.array.nbytes:
            return _unpickle_mapped, (str(base.filename), self.array.dtype.str, base.offset, self.array.shape)
        return Mapped, (self.array,)


def _unpickle_mapped(name: str, dtype: str, offset: int, shape: tuple[int, ...]) -> Mapped:
    return Mapped(np.asarray(np.memmap(name, dtype, "r", offset, shape)))


class ArrayWriter:
    """A flat array in NumPy's format, written piece by piece.

    Args:
        stream: an empty file, or `io.BytesIO`, open for reading and writing.
        dtype: type of its elements.
    """

    def __init__(self, stream: IO[bytes], dtype: np.dtype | type) -> None:
        self.stream, self.dtype, self.count = stream, np.dtype(dtype), 0
        self._write_header()
        self.start = stream.tell()

    def _write_header(self) -> None:
        """Write the header, in which NumPy reserves space for a first axis that grows."""
        head = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self.stream, head)

    def append(self, values: np.ndarray) -> None:
        """Append elements, (n,)."""
        self.stream.write(np.asarray(values, self.dtype).tobytes())
        self.count += len(values)

    def finish(self) -> np.ndarray:
        """Complete the file, and return all elements, (count,), mapped if the stream is a file."""
        self.stream.seek(0)
        self._write_header()
        self.stream.flush()
        if isinstance(self.stream, io.BytesIO):
            return np.frombuffer(self.stream.getbuffer(), self.dtype, offset=self.start)
        # A plain view of the mapping: slices of numpy.memmap are ten times slower.
        return np.asarray(np.memmap(self.stream, self.dtype, "r", self.start, (self.count,)))


class RaggedWriter:
    """Sequences of different lengths, written piece by piece: their concatenated values, and their offsets.

    Args:
        values: stream of the values, as in `ArrayWriter`.
        offsets: stream of the offsets.
        dtype: type of the values.
    """

    def __init__(self, values: IO[bytes], offsets: IO[bytes], dtype: np.dtype | type) -> None:
        self.values, self.offsets = ArrayWriter(values, dtype), ArrayWriter(offsets, np.int64)
        self.offsets.append(np.zeros(1, np.int64))

    def extend(self, values: np.ndarray, lengths: np.ndarray) -> None:
        """Append sequences that are concatenated in `values`; `lengths` are their lengths, (n,) int64."""
        self.offsets.append(self.values.count + np.cumsum(lengths))
        self.values.append(values)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all values, and the offsets (N + 1,): sequence i is `values[offsets[i] : offsets[i + 1]]`."""
        return self.values.finish(), self.offsets.finish()


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths; mapped values are pickled as the name of their file.

    Attributes:
        values: the concatenated values, (total,) or (total, width), which may be memory-mapped.
        starts: index of the first value of each sequence, (N,) int64.
        lengths: length of each sequence, (N,) int64.
    """

    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def from_offsets(cls, values: np.ndarray, offsets: np.ndarray) -> Ragged:
        """Return the sequences `values[offsets[i] : offsets[i + 1]]`; offsets (N + 1,) int64."""
        return cls(values, np.asarray(offsets[:-1]), np.diff(offsets))

    def __reduce__(self) -> tuple:
        """Pickle mapped values as the name of their file."""
        return _unpickle_ragged, (Mapped(self.values), self.starts, self.lengths)

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.starts)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return a sequence as a view, (length,) or (length, width)."""
        start = self.starts[index]
        return self.values[start : start + self.lengths[index]]

    def gather(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the sequences at `rows` as views."""
        return [self[int(row)] for row in rows]

    def select(self, rows: np.ndarray) -> Ragged:
        """Return the sequences at `rows`, in that order, without copying their values."""
        return Ragged(self.values, self.starts[rows], self.lengths[rows])


def _unpickle_ragged(values: Mapped, starts: np.ndarray, lengths: np.ndarray) -> Ragged:
    return Ragged(values.array, starts, lengths)


# --- texts --------------------------------------------------------------------------------------------------


class Texts(Sequence[str]):
    """A sequence of texts in a file; each text is read when it is accessed.

    Args:
        file: the concatenated texts in UTF-8.
        offsets: text i is the bytes from offset i up to offset i + 1, (N + 1,) int64.
    """

    def __init__(self, file: IO[bytes], offsets: np.ndarray) -> None:
        self._file, self._offsets = file, offsets

    def __reduce__(self) -> tuple:
        """Pickle the texts themselves, for processes that do not share the file."""
        return list, (list(self),)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        """Return a text; or, for a slice with step 1, a sequence of texts, without reading them."""
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
        """Yield all texts in order, with only some of them in memory at a time."""
        first = 0
        while first < len(self):
            limit = self._offsets[first] + READ_BYTES
            stop = max(first + 1, int(np.searchsorted(self._offsets, limit, side="right")) - 1)
            bounds = self._offsets[first : stop + 1].tolist()
            data = self._read(bounds[0], bounds[-1])
            for begin, end in pairwise(bounds):
                yield data[begin - bounds[0] : end - bounds[0]].decode()
            first = stop

    def _read(self, begin: int, end: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), end - begin, begin)  # without a file position, since workers share it
        self._file.seek(begin)  # on Windows, where processes do not share the file
        return self._file.read(end - begin)


def gather(rows: Iterable[Sequence[str]], columns: int, *, cache: str, origin: str, unit: str = "row") -> list[Texts]:
    """Write the columns of rows to anonymous temporary files.

    Args:
        rows: the rows, which are read once.
        columns: number of texts in each row.
        cache: `data.cache`, the folder of the files.
        origin: source of the rows, for errors.
        unit: what a row is called in errors.

    Raises:
        DataError: if the files cannot be written; at a NUL or half of a surrogate pair, naming the row.
    """
    files = [temporary(cache) for _ in range(columns)]
    offsets = [ArrayWriter(temporary(cache), np.int64) for _ in range(columns)]
    ends = [[0] for _ in range(columns)]
    positions = [0] * columns
    for number, row in enumerate(rows, 1):
        for column, text in enumerate(row):
            data = utf8(text, origin, unit, number)
            positions[column] += len(data)
            ends[column].append(positions[column])
            try:
                files[column].write(data)
                if len(ends[column]) >= OFFSETS_AT_ONCE:
                    offsets[column].append(np.array(ends[column], np.int64))
                    ends[column].clear()
            except OSError as error:
                raise _no_room(cache, error) from error
    try:
        for file, writer, remaining in zip(files, offsets, ends, strict=True):
            file.flush()
            writer.append(np.array(remaining, np.int64))
        return [Texts(file, writer.finish()) for file, writer in zip(files, offsets, strict=True)]
    except OSError as error:
        raise _no_room(cache, error) from error


def utf8(text: str, origin: str, unit: str, number: int) -> bytes:
    """Encode a text as UTF-8.

    Raises:
        DataError: at a NUL or half of a surrogate pair; names the text.
    """
    with suppress(UnicodeEncodeError):
        data = text.encode()
        if b"\0" not in data:
            return data
    raise DataError(f"{origin}: {unit} {number}: {invalid_character(text)}", "correct it")


def text_digest(columns: Sequence[Sequence[str]], origin: str, unit: str = "text") -> str:
    """Return the SHA-256 of columns of texts, in hex, with NUL between texts.

    Raises:
        DataError: at a NUL or half of a surrogate pair, see `utf8`.
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
            if data.count(b"\0") != len(texts):  # long texts, or a fault, for which `utf8` raises
                data = b"".join(
                    utf8(text, origin, unit, number) + b"\0" for number, text in enumerate(texts, count + 1)
                )
            digest.update(data)
            count += len(texts)
    return digest.hexdigest()


def chunks(texts: Iterable[str], max_texts: int) -> Iterator[list[str]]:
    """Yield lists of at most `max_texts` texts, in order, and of fewer if they are long."""
    part: list[str] = []
    characters = 0
    for text in texts:
        part.append(text)
        characters += len(text)
        if len(part) >= max_texts or characters >= CHARACTERS_AT_ONCE:
            yield part
            part, characters = [], 0
    if part:
        yield part
