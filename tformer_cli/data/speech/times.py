"""Times of frames: those of features, and those that a model outputs."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FrameTimes"]


class FrameTimes(NamedTuple):
    """The times of consecutive frames; 0 is the beginning of the recording.

    Attributes:
        frame_seconds: duration of a frame.
        begin_seconds: time at which the first frame begins; negative in the margin before a recording.
    """

    frame_seconds: float
    begin_seconds: float

    def position(self, seconds: float) -> float:
        """Return the position of a time in frames."""
        return (seconds - self.begin_seconds) / self.frame_seconds
