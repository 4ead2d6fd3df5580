"""Features that were computed elsewhere: a vector a frame, as Sphinx (.mfc) and NumPy (.npy) keep them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from tformer_cli.data.core.media import file_size, reason
from tformer_cli.data.speech.audio import BadRecording
from tformer_cli.regular import read_regular

ENDINGS = (".mfc", ".npy")
NUMPY = b"\x93NUMPY"


def read_features(source: Path | str | bytes, bins: int, name: str = "") -> np.ndarray:
    """The frames of a file of features.

    Args:
        source: a file, or its content. Of NumPy's format: (T, bins) of floating-point numbers. Else of Sphinx's: a
            count in four bytes, then so many float32, in the byte order in which the count is right.
        bins: numbers a frame.
        name: what errors call it; empty: the file.

    Returns:
        (T, bins) float32, T of 1 or more.

    Raises:
        BadRecording: a `DataError`: if it is absent, empty, cut off, of another shape, or not finite.
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
        says = f"it says {counts['>']:,} numbers and has {has:,g}" if counts else "it has not even a count"
        raise BadRecording(name, f"cut off, or no features: {says}")
    if counts[order] % bins:
        raise BadRecording(name, f"{counts[order]:,} numbers are no whole frames of features.bins={bins}")
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
        layout = " in Fortran's order" if fortran else ""
        raise BadRecording(name, f"{dtype} of shape {shape}{layout} are no floats of shape (frames, {bins})")
    if len(content) - stream.tell() != dtype.itemsize * shape[0] * bins:
        raise BadRecording(name, f"cut off: it says {shape[0]:,} frames")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
