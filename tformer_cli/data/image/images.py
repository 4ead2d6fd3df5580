"""Pictures with labels: read once into memory-mapped pixels, or decoded at each use where they are too many.

What is read is found in `tformer_cli.data.image.picture_sources`; `tformer_cli.data.image.pictures` decodes one;
`tformer_cli.data.image.pixels` is what is read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import PIL

from tformer_cli.config.schema import BadSample, Fit
from tformer_cli.data.core.cache import Open
from tformer_cli.data.core.division import Labels
from tformer_cli.data.core.media import content_digest, file_size, in_order, kept, readable
from tformer_cli.data.core.media_sources import Found, Row
from tformer_cli.data.core.splits import Layout, draw, read_split
from tformer_cli.data.core.store import ArrayWriter, Mapped, RaggedWriter, text_digest
from tformer_cli.data.image.picture_sources import LAYOUT, find_pictures
from tformer_cli.data.image.pictures import BadPicture, picture_files, read_picture, scaled_size, stored_size
from tformer_cli.data.image.pixels import Pixels, Stored, Undecoded
from tformer_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import ImageDataConfig, LabelledImageDataConfig

__all__ = [
    "BadPicture", "Images", "duplicates", "picture_files", "read_images", "read_picture", "stored_size",
]  # fmt: skip

FORMAT = 1
"""Counts changes of what is kept of pictures."""
ARRAYS = ("content", "offsets", "sizes", "digests", "about")
ROWS_A_JOB = 8
GIB = 1 << 30


@dataclass(frozen=True)
class Images:
    """The images of a split.

    Attributes:
        pixels: item i is an image, (H, W, C) uint8, scaled by `read_picture`.
        labels: labels as in the data: names of class folders or of a dataset's classes, text, numbers as text; or
            captions; None: they were not read.
        names: name of each in error messages: its file, or "row 17 of FILE".
        digests: equal for equal images, (N,) uint64: hashes of size and scaled pixels. For images decoded at each use:
            hashes of the bytes in the table, or of the path in the data's folder and the size of the file.
        origin: source of the images, for messages.
        hash: SHA-256 of digests and labels, in hex.
        notes: notes for the user, for example on skipped files, one line each.
    """

    pixels: Pixels
    labels: list[str] | None
    names: list[str]
    digests: np.ndarray
    origin: str
    hash: str = field(default="")
    notes: tuple[str, ...] = ()
    label_settings: ClassVar[str] = "data.label=... (tables), data.path=... (a folder with one for each class)"

    def __post_init__(self) -> None:
        """Compute the hash."""
        digest = hashlib.sha256(self.digests.tobytes())
        digest.update(text_digest([self.labels or []], self.origin).encode())
        object.__setattr__(self, "hash", digest.hexdigest())

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.names)

    def select(self, rows: np.ndarray, origin: str) -> Images:
        """Some of the pictures."""
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        names = [self.names[row] for row in rows]
        return Images(self.pixels.select(rows), labels, names, self.digests[rows], origin, notes=self.notes)

    def place(self, row: int) -> str:
        """What an error calls a picture."""
        return self.names[row]


def duplicates(one: Images, other: Images) -> int:
    """How many pictures of `one` are in `other` as well, by their digests."""
    return int(np.isin(one.digests, other.digests).sum())


@dataclass(frozen=True)
class ImageSources:
    """Where images and their texts are.

    Attributes:
        layout: the rules by which files and folders form a split.
        find: returns the images of what `find_split` returned.
        text: column of the labels or captions; None: they are not read.
        labels: labels for a stratified draw of the validation split; None: it is not stratified.
    """

    layout: Layout
    find: Callable[[str | list[Path]], Found]
    text: str | None
    labels: Callable[[Images], Labels | None] | None = None


def read_images(
    config: LabelledImageDataConfig, split: str, *, seed: int, on_bad_sample: BadSample, labelled: bool = True
) -> dict[str, Images]:
    """Read a split of images in folders of classes, tables or IDX files, see `read_sources`.

    Args:
        config: where they are, and their size.
        split: train, validation or test.
        seed: draws the validation split.
        on_bad_sample: see `read_sources`.
        labelled: whether labels are read; if not, there need be none.

    Raises:
        ConfigError: if the settings are impossible.
        DataError: see `read_sources`.
    """
    if labelled and config.image == config.label:
        raise ConfigError("data.image and data.label must name different columns")

    def labels(data: Images) -> Labels | None:
        return [[label] for label in data.labels] if data.labels is not None and config.stratified else None

    find = functools.partial(find_pictures, config, labelled=labelled)
    sources = ImageSources(LAYOUT, find, config.label if labelled else None, labels)
    return read_sources(config, split, sources, seed=seed, on_bad_sample=on_bad_sample)


def read_sources(
    config: ImageDataConfig, split: str, sources: ImageSources, *, seed: int, on_bad_sample: BadSample
) -> dict[str, Images]:
    """Read a split, as `read_split`: where there is no validation split, training images drawn by the seed serve.

    Images are decoded and scaled once and kept in the cache. If that is estimated to take more than
    `data.decoded_gib`, they are decoded at each use: one that cannot be read is then an error at its first use, or, if
    such are to be left out, all are decoded once to know them.

    Args:
        config: their size.
        split: train, validation or test.
        sources: where they are.
        seed: draws the validation split.
        on_bad_sample: whether an image that cannot be read is an error, or left out and named in the notes.

    Raises:
        DataError: if the split is not there, or malformed; names the file or row. `BadPicture` if it is one image.
    """
    read = functools.partial(_read, config, on_bad_sample, sources)
    return read_split(config, split, read, functools.partial(draw, seed=seed, labels=sources.labels), sources.layout)


# --- reading ---


@dataclass(frozen=True)
class _Reading:
    """How the pictures of a split become arrays.

    Attributes:
        pictures: what is read.
        config: to what they are scaled.
        decoded: whether scaled pixels are kept; else what lies in tables, as it is.
        checked: whether each is decoded, which shows whether it can be.
        skip: whether one that cannot be read is left out.
        text: column of the labels or captions; None: they are not read.
    """

    pictures: Found
    config: ImageDataConfig
    decoded: bool
    checked: bool
    skip: bool
    text: str | None

    @property
    def key(self) -> list[object] | None:
        """All that the arrays depend on; None: there is no telling."""
        config, key = self.config, self.pictures.key
        padding = config.mean if config.fit is Fit.pad else []
        scaling = [*stored_size(config), config.channels, config.fit.name, padding]
        scaling += [config.resample.name, PIL.__version__]
        columns = [config.image, self.text]
        return key and [FORMAT, key, str(_root(config)), columns, scaling, self.decoded, self.checked]

    def write(self, stream: Open) -> None:
        """Write the arrays of `ARRAYS`; pictures are decoded in parallel and come in their order."""
        content = RaggedWriter(stream("content"), stream("offsets"), np.uint8)
        sizes, digests = ArrayWriter(stream("sizes"), np.int32), ArrayWriter(stream("digests"), np.uint64)
        names, labels, bad = [], [], []
        with in_order(self.pictures.rows(), self._work, ROWS_A_JOB) as done:
            for row, (values, size, digest) in readable(done, self.skip, bad):
                content.extend(values, np.array([len(values)]))
                sizes.append(np.array(size))
                digests.append(np.array([digest]))
                names.append(row.name)
                labels.append(row.text)
        if not names:
            first = bad[0] if bad else "there are none"
            raise DataError(f"{self.pictures.origin}: no picture of {len(bad):,} can be read: {first}")
        for writer in (content, sizes, digests):
            writer.finish()
        about = {"names": names, "labels": labels, "bad": [(each.name, each.reason) for each in bad]}
        np.save(stream("about"), np.frombuffer(json.dumps(about).encode(), np.uint8), allow_pickle=False)

    def _work(self, row: Row) -> tuple[np.ndarray, tuple[int, int], int] | BadPicture:
        """What is kept of a picture, its height and width if it is decoded, and its digest."""
        content, config = row.content, self.config
        try:
            if row.fault:
                raise BadPicture(row.name, row.fault)
            pixels = read_picture(content, config, row.name) if self.checked else None
            if self.decoded and pixels is not None:
                height, width, _ = pixels.shape
                return pixels.reshape(-1), (height, width), content_digest(f"{height} x {width}", pixels.data)
            if isinstance(content, bytes):
                if not content:
                    raise BadPicture(row.name, "empty (0 bytes)")
                return np.frombuffer(content, np.uint8), (0, 0), content_digest("", content)
            place = f"{file_size(content, row.name, BadPicture)} {row.name.removeprefix(str(_root(config)))}"
            return np.zeros(0, np.uint8), (0, 0), content_digest(place, b"")
        except BadPicture as bad:
            return bad


def _read(config: ImageDataConfig, on_bad_sample: BadSample, sources: ImageSources, split: str | list[Path]) -> Images:
    pictures = sources.find(split)
    decoded, skip = _estimated_bytes(pictures, config) <= config.decoded_gib * GIB, on_bad_sample is BadSample.skip
    reading = _Reading(pictures, config, decoded, decoded or skip, skip, sources.text)
    arrays, about, notes = kept(config.cache, reading.key, ARRAYS, reading.write, "pictures", BadPicture, skip=skip)
    content, offsets = Mapped(arrays["content"]), arrays["offsets"]
    if decoded:
        pixels = Stored(content, offsets[:-1], arrays["sizes"].reshape(-1, 2), config.channels)
    else:
        pixels = Undecoded(content, offsets[:-1], np.diff(offsets), about["names"], config)
    labels = about["labels"] if sources.text is not None else None
    return Images(pixels, labels, about["names"], arrays["digests"], pictures.origin, notes=(*pictures.notes, *notes))


def _estimated_bytes(pictures: Found, config: ImageDataConfig) -> float:
    """Of all pictures when scaled, from some of them; of those alone if it is not known how many there are."""
    areas = []
    for row in pictures.sample():
        with contextlib.suppress(BadPicture):
            areas.append(math.prod(scaled_size(row.content, config, row.name)))
    count = pictures.count or len(areas)
    return config.channels * count * sum(areas) / max(1, len(areas))


def _root(config: ImageDataConfig) -> Path:
    return Path(config.path).expanduser()
