"""Pictures by number: scaled pixels in a mapped file, or what is decoded at each use."""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tformer_cli.data.image.pictures import read_picture

if TYPE_CHECKING:
    from tformer_cli.config.schema import ImageDataConfig
    from tformer_cli.data.core.store import Mapped


class Pixels(Sequence[np.ndarray]):
    """Pictures by number, each (H, W, C) uint8.

    Args:
        content: of all pictures, end to end, uint8.
        starts: where each begins in it, (N,) int64.
    """

    def __init__(self, content: Mapped, starts: np.ndarray) -> None:
        self.content, self.starts = content, starts

    def __len__(self) -> int:
        """How many."""
        return len(self.starts)

    def __getitem__(self, index: Any) -> Any:
        """A picture, (H, W, C) uint8; or, for a slice, some of them, which copies nothing."""
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        row = operator.index(index)
        if not -len(self) <= row < len(self):
            raise IndexError(f"picture {row} of {len(self)}")
        return self._picture(row % len(self))

    @abstractmethod
    def select(self, rows: np.ndarray) -> Pixels:
        """The pictures at `rows`, in that order; their content stays where it is."""

    @abstractmethod
    def gather(self, rows: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """The pictures at `rows`: a copy, (B, H, W, C) uint8, if all pictures have one size; else a list of them."""

    @abstractmethod
    def _picture(self, row: int) -> np.ndarray: ...


class Stored(Pixels):
    """Scaled pictures, mapped from a file.

    Args:
        content: of all pictures, end to end, uint8.
        starts: where each begins in it, (N,) int64.
        sizes: height and width of each, (N, 2) int32.
        channels: colours of each.
    """

    def __init__(self, content: Mapped, starts: np.ndarray, sizes: np.ndarray, channels: int) -> None:
        super().__init__(content, starts)
        self.sizes, self.channels = sizes, channels
        shape = (*map(int, sizes[0]), channels) if len(sizes) and (sizes == sizes[0]).all() else None
        # One array that all pictures are items of, if each begins at a multiple of their size.
        self.shape = shape if shape and not (starts % math.prod(shape)).any() else None

    def select(self, rows: np.ndarray) -> Stored:
        """The pictures at `rows`, in that order; their content stays where it is."""
        return Stored(self.content, self.starts[rows], self.sizes[rows], self.channels)

    def gather(self, rows: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """The pictures at `rows`: a copy, (B, H, W, C) uint8, if all pictures have one size; else a list of them."""
        if self.shape is None:
            return [self._picture(int(row)) for row in rows]
        size, content = math.prod(self.shape), self.content.array
        together = content[: len(content) // size * size].reshape(-1, *self.shape)
        return together[self.starts[rows] // size]

    def _picture(self, row: int) -> np.ndarray:
        start, (height, width) = self.starts[row], self.sizes[row].tolist()
        return self.content.array[start : start + height * width * self.channels].reshape(height, width, self.channels)


class Undecoded(Pixels):
    """Pictures that are decoded at each use.

    Args:
        content: of those that lie in a table, encoded, end to end, uint8.
        starts: where each begins in it, (N,) int64.
        lengths: bytes of each, (N,) int64; 0: it is the file that its name is.
        names: what errors call each.
        config: to what they are scaled.
    """

    def __init__(
        self, content: Mapped, starts: np.ndarray, lengths: np.ndarray, names: list[str], config: ImageDataConfig
    ) -> None:
        super().__init__(content, starts)
        self.lengths, self.names, self.config = lengths, names, config

    def select(self, rows: np.ndarray) -> Undecoded:
        """The pictures at `rows`, in that order; their content stays where it is."""
        names = [self.names[row] for row in rows]
        return Undecoded(self.content, self.starts[rows], self.lengths[rows], names, self.config)

    def gather(self, rows: np.ndarray) -> list[np.ndarray]:
        """The pictures at `rows`, decoded."""
        return [self._picture(int(row)) for row in rows]

    def _picture(self, row: int) -> np.ndarray:
        name, start, length = self.names[row], self.starts[row], self.lengths[row]
        source = self.content.array[start : start + length].tobytes() if length else name
        return read_picture(source, self.config, name)
