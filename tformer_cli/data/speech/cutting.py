"""Division of long recordings at their quietest points."""

from __future__ import annotations

import numpy as np

WINDOWS = 500
"""Number of windows in the longest piece; in 30 seconds, a window is 60 milliseconds long."""


def quiet_pieces(sound: np.ndarray, longest: int) -> list[tuple[int, int]]:
    """Cut a recording into pieces that are short enough.

    Each cut is in the middle of the quietest window of the second half of the longest piece that could be cut there.

    Args:
        sound: samples, (N,), or features, (N, F).
        longest: maximum number of samples, or frames, of a piece; more than 0.

    Returns:
        Start and stop of each piece, in order; together they cover the recording.
    """
    if len(sound) <= longest:
        return [(0, len(sound))]
    window = max(1, longest // WINDOWS)
    count = len(sound) // window
    loud = np.array(
        [float(np.square(sound[i * window : (i + 1) * window], dtype=np.float64).mean()) for i in range(count)]
    )
    cuts = [0]
    while len(sound) - cuts[-1] > longest:
        low, high = -(-(cuts[-1] + longest // 2) // window), (cuts[-1] + longest) // window
        quietest = low + int(np.argmin(loud[low:high])) if low < high else high
        cuts.append(min(cuts[-1] + longest, max(cuts[-1] + 1, quietest * window + window // 2)))
    return list(zip(cuts, [*cuts[1:], len(sound)], strict=True))
