"""The IDX format of MNIST: a magic number, the size of each dimension as a big-endian integer, then bytes.

Source: http://yann.lecun.com/exdb/mnist, "the IDX file format".
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tformer_cli.data.image.pictures import MOST_PIXELS
from tformer_cli.errors import DataError
from tformer_cli.raw_lines import check_expansion
from tformer_cli.regular_files import open_regular

PICTURES, LABELS = 0x803, 0x801
"""Magic numbers of unsigned bytes in three dimensions, and in one."""


@contextmanager
def open_idx(path: Path, magic: int) -> Iterator[tuple[IO[bytes] | gzip.GzipFile, list[int]]]:
    """Open an IDX file after its header, and return it with the sizes of its dimensions.

    Raises:
        DataError: if the file cannot be read, or is not an IDX file with the given magic number.
    """
    kind = "pictures" if magic == PICTURES else "labels"
    try:
        with open_regular(path) as raw, gzip.open(raw) if path.suffix.lower() == ".gz" else raw as stream:
            dimensions = magic & 0xFF
            head = stream.read(4 * (1 + dimensions))
            if len(head) < 4 * (1 + dimensions) or int.from_bytes(head[:4], "big") != magic:
                cause = f"{path}: not an IDX file of {kind}: it begins with {head[:4].hex() or 'nothing'}"
                raise DataError(cause, f"expected {magic:08x}")
            sizes = [int.from_bytes(head[offset : offset + 4], "big") for offset in range(4, len(head), 4)]
            if not 0 < math.prod(sizes[1:]) <= MOST_PIXELS:
                raise DataError(f"{path}: pictures of {' x '.join(map(str, sizes[1:]))} pixels")
            yield stream, sizes
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file", "copy it again") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def idx_items(path: Path, magic: int) -> Iterator[bytes]:
    """Yield the content of each image or label of an IDX file.

    Raises:
        DataError: if the file is malformed, or has more or fewer items than its header says.
    """
    with open_idx(path, magic) as (stream, (count, *shape)):
        size, file_bytes = math.prod(shape), max(1, path.stat().st_size)
        for number in range(count):
            check_expansion(path, number * size, file_bytes)
            item = stream.read(size)
            if len(item) < size:
                raise DataError(
                    f"{path}: cut off: its header declares {count:,} items, but it has {number:,}", "copy it again"
                )
            yield item
        if stream.read(1):
            raise DataError(f"{path}: its header declares {count:,} items, but it has more", "copy it again")
