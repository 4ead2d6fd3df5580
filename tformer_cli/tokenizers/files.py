"""The parts of a tokenizer's folder that all kinds share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

META = "meta.json"
"""Name of the file with the format and the kind of a tokenizer."""
FORMAT = 1


def hash_files(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the names and contents of files, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()
