"""Division of long recordings at their quietest points."""

from __future__ import annotations

import numpy as np

WINDOWS = 500
"""Number of windows in the longest piece; in 30 seconds, a window is 60 milliseconds long."""


def quiet_pieces(sound: np.ndarray, longest: int) -> list[tuple[int, int]]:
    """Cut a recording into pieces that are short enough.

    Each cut is in the middle of the quietest window of the second half of the longest piece that could be cut there. It
    leaves at least a quarter of `longest` for the last piece.

    Args:
        sound: samples, (N,), or features, (N, F).
        longest: maximum number of samples, or frames, of a piece; more than 0.

    Returns:
        Start and stop of each piece, in order; together they cover the recording.
    """
    if len(sound) <= longest:
        return [(0, len(sound))]
    window = max(1, longest // WINDOWS)
    starts = range(0, len(sound) - window + 1, window)
    loudness = np.array([_loudness(sound[start : start + window]) for start in starts])
    cuts = [0]
    while len(sound) - cuts[-1] > longest:
        low = -(-(cuts[-1] + longest // 2) // window)
        high = min(cuts[-1] + longest, len(sound) - longest // 4) // window
        quietest = low + int(np.argmin(loudness[low:high]))
        cuts.append(max(cuts[-1] + 1, quietest * window + window // 2))
    return list(zip(cuts, [*cuts[1:], len(sound)], strict=True))


def _loudness(window: np.ndarray) -> float:
    """Return the mean square of samples, (n,), or the mean of features, (n, F), which are logarithms of energies."""
    return float(np.mean(np.square(window, dtype=np.float64) if window.ndim == 1 else window, dtype=np.float64))
