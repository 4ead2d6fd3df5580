"""Reading of features that were computed elsewhere, in the formats of Sphinx (.mfc) and NumPy (.npy)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from tformer_cli.data.core.media import file_size, reason
from tformer_cli.data.speech.audio import BadRecording
from tformer_cli.regular_files import read_regular

ENDINGS = (".mfc", ".npy")
NUMPY = b"\x93NUMPY"


def read_features(source: Path | str | bytes, bins: int, name: str = "") -> np.ndarray:
    """Read the frames of a file of features.

    Args:
        source: a file, or its content, in NumPy's format: floating-point numbers, (T, bins); or in Sphinx's: a count in
            four bytes and as many float32 numbers, in the byte order in which the count is right.
        bins: number of features in a frame.
        name: name in error messages; empty: that of the file.

    Returns:
        (T, bins) float32, with T at least 1.

    Raises:
        BadRecording: (a `DataError`) if it is missing, empty, truncated, of another shape, or not finite.
    """
    name = name or (str(source) if not isinstance(source, bytes) else "the features")
    if not isinstance(source, bytes):
        file_size(source, name, BadRecording)
        try:
            source = read_regular(source)
        except OSError as error:
            raise BadRecording(name, reason(error)) from error
    elif not source:
        raise BadRecording(name, "empty (0 bytes)")
    frames = _numpy(source, bins, name) if source.startswith(NUMPY) else _sphinx(source, bins, name)
    if not len(frames):
        raise BadRecording(name, "no frames")
    frames = frames.astype(np.float32)
    if not np.isfinite(frames).all():
        raise BadRecording(name, "numbers that are not finite")
    return frames


def _sphinx(content: bytes, bins: int, name: str) -> np.ndarray:
    has = (len(content) - 4) / 4
    counts = {order: int(np.frombuffer(content[:4], f"{order}i4")[0]) for order in "><" if len(content) >= 4}
    order = next((order for order, count in counts.items() if count == has), None)
    if order is None:
        says = f"its header declares {counts['>']:,} numbers, but it has {has:,g}" if counts else "it has no header"
        raise BadRecording(name, f"cut off, or not a file of features: {says}")
    if counts[order] % bins:
        raise BadRecording(name, f"{counts[order]:,} numbers are not a multiple of features.bins={bins}")
    return np.frombuffer(content, f"{order}f4", offset=4).reshape(-1, bins)


def _numpy(content: bytes, bins: int, name: str) -> np.ndarray:
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception as error:
        raise BadRecording(name, reason(error)) from error
    if dtype.kind != "f" or len(shape) != 2 or shape[1] != bins or fortran:
        layout = " in Fortran order" if fortran else ""
        raise BadRecording(name, f"{dtype} of shape {shape}{layout}: must be floats of shape (frames, {bins})")
    if len(content) - stream.tell() != dtype.itemsize * shape[0] * bins:
        raise BadRecording(name, f"cut off: its header declares {shape[0]:,} frames")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
