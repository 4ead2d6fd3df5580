"""Detection of packed and binary files, instead of text, by their first bytes."""

from __future__ import annotations

import re

from tformer_cli.errors import DataError

UNPACK = "unpack it, or pack it with gzip"
BINARY = (
    (rb"\x1f\x8b", "packed with gzip", "unpack it, or end its name with .gz"),
    (rb"BZh[1-9]1AY&SY", "packed with bzip2", UNPACK),
    (rb"\xfd7zXZ\0", "packed with xz", UNPACK),
    (rb"\x28\xb5\x2f\xfd", "packed with zstd", UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (rb"PK\x03\x04", "a ZIP archive, such as an Excel file", "unpack it, or export the sheet as CSV"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a file of Microsoft Office", "export it as CSV"),
    (rb"PAR1[^ -~\s]", "a Parquet file", "end its name with .parquet"),
    (rb"ARROW1\0", "an Arrow file", "end its name with .arrow"),
    (rb"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (rb"\x89HDF\r\n", "an HDF5 file", "export it as Parquet or CSV"),
)
"""Patterns of the first bytes, names for the user, and remedies."""


def check_is_text(origin: object, start: bytes) -> None:
    """Refuse a file that is packed or binary.

    Args:
        origin: name of the file in error messages.
        start: its first bytes.

    Raises:
        DataError: if its first bytes are those of a known format; names the format.
    """
    for pattern, kind, remedy in BINARY:
        if re.match(pattern, start):
            raise DataError(f"{origin}: {kind}, not text", remedy)
