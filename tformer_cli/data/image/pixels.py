"""Sequences of images: scaled pixels in a memory-mapped file, or images that are decoded at each use."""

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
    """A sequence of images, each (H, W, C) uint8.

    Args:
        content: the concatenated bytes of all images, uint8.
        starts: index of the first byte of each image, (N,) int64.
    """

    def __init__(self, content: Mapped, starts: np.ndarray) -> None:
        self.content, self.starts = content, starts

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.starts)

    def __getitem__(self, index: Any) -> Any:
        """Return an image, (H, W, C) uint8; or, for a slice, a sequence of images, without copying them."""
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        row = operator.index(index)
        if not -len(self) <= row < len(self):
            raise IndexError(f"picture {row} of {len(self)}")
        return self._picture(row % len(self))

    @abstractmethod
    def select(self, rows: np.ndarray) -> Pixels:
        """Return the images at `rows`, in that order, without copying them."""

    @abstractmethod
    def gather(self, rows: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Return the images at `rows`: a copy, (B, H, W, C) uint8, if all have one size, otherwise a list."""

    @abstractmethod
    def _picture(self, row: int) -> np.ndarray: ...


class Stored(Pixels):
    """Scaled images in a memory-mapped file.

    Args:
        content: the concatenated pixels of all images, uint8.
        starts: index of the first byte of each image, (N,) int64.
        sizes: height and width of each image, (N, 2) int32.
        channels: number of channels.
    """

    def __init__(self, content: Mapped, starts: np.ndarray, sizes: np.ndarray, channels: int) -> None:
        super().__init__(content, starts)
        self.sizes, self.channels = sizes, channels
        shape = (*map(int, sizes[0]), channels) if len(sizes) and (sizes == sizes[0]).all() else None
        # The content can be indexed as one array of images if each begins at a multiple of their size.
        self.shape = shape if shape and not (starts % math.prod(shape)).any() else None

    def select(self, rows: np.ndarray) -> Stored:
        """Return the images at `rows`, in that order, without copying them."""
        return Stored(self.content, self.starts[rows], self.sizes[rows], self.channels)

    def gather(self, rows: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Return the images at `rows`: a copy, (B, H, W, C) uint8, if all have one size, otherwise a list."""
        if self.shape is None:
            return [self._picture(int(row)) for row in rows]
        size, content = math.prod(self.shape), self.content.array
        images = content[: len(content) // size * size].reshape(-1, *self.shape)
        return images[self.starts[rows] // size]

    def _picture(self, row: int) -> np.ndarray:
        start, (height, width) = self.starts[row], self.sizes[row].tolist()
        return self.content.array[start : start + height * width * self.channels].reshape(height, width, self.channels)


class Undecoded(Pixels):
    """Images that are decoded at each use.

    Args:
        content: the concatenated bytes of the encoded images of tables, uint8.
        starts: index of the first byte of each image, (N,) int64.
        lengths: number of bytes of each image, (N,) int64; 0: its name is the path of its file.
        names: name of each image in error messages.
        config: size, channels and scaling.
    """

    def __init__(
        self, content: Mapped, starts: np.ndarray, lengths: np.ndarray, names: list[str], config: ImageDataConfig
    ) -> None:
        super().__init__(content, starts)
        self.lengths, self.names, self.config = lengths, names, config

    def select(self, rows: np.ndarray) -> Undecoded:
        """Return the images at `rows`, in that order, without copying them."""
        names = [self.names[row] for row in rows]
        return Undecoded(self.content, self.starts[rows], self.lengths[rows], names, self.config)

    def gather(self, rows: np.ndarray) -> list[np.ndarray]:
        """Decode the images at `rows`, and return them as a list."""
        return [self._picture(int(row)) for row in rows]

    def _picture(self, row: int) -> np.ndarray:
        name, start, length = self.names[row], self.starts[row], self.lengths[row]
        source = self.content.array[start : start + length].tobytes() if length else name
        return read_picture(source, self.config, name)
