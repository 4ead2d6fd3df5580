"""Images with labels: decoded once into memory-mapped pixels, or at each use if they are too many.

`tformer_cli.data.image.picture_sources` finds the files, `tformer_cli.data.image.pictures` decodes an image, and
`tformer_cli.data.image.pixels` contains the decoded images.
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

from tformer_cli.config.schema import BadSample, Fit, Source
from tformer_cli.data.core.cache import Open
from tformer_cli.data.core.division import Labels, draw_rows
from tformer_cli.data.core.media import content_digest, file_size, in_order, read_cached, readable
from tformer_cli.data.core.media_sources import Row, UndecodedSplit
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
"""Version of the cache format of images."""
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
        """Return the number of images."""
        return len(self.names)

    def select(self, rows: np.ndarray, origin: str) -> Images:
        """Return the split of the images at the given indices, with another `origin`."""
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        names = [self.names[row] for row in rows]
        return Images(self.pixels.select(rows), labels, names, self.digests[rows], origin, notes=self.notes)

    def location(self, row: int) -> str:
        """Return the name of an image in error messages."""
        return self.names[row]


def duplicates(images: Images, others: Images) -> int:
    """Return the number of images that are among the others too, by their digests."""
    return int(np.isin(images.digests, others.digests).sum())


@dataclass(frozen=True)
class ImageSources:
    """The source of a data set's images and their texts.

    Attributes:
        layout: the rules by which files and folders form a split.
        find: returns the images of a split before they are decoded, given the result of `find_split`.
        text: column of the labels or captions; None: they are not read.
        labels: labels for a stratified draw of the validation split; None: it is not stratified.
        grouped: whether rows with the same image are drawn together.
    """

    layout: Layout
    find: Callable[[str | list[Path]], UndecodedSplit]
    text: str | None
    labels: Callable[[Images], Labels | None] | None = None
    grouped: bool = False


def read_images(
    config: LabelledImageDataConfig, split: str, *, seed: int, on_bad_sample: BadSample, labelled: bool = True
) -> dict[str, Images]:
    """Read a split of images in folders of classes, tables or IDX files, see `read_sources`.

    With `data.size`, that many training images are drawn by the seed, in proportion to their labels. A larger
    number adds images to those of a smaller one, but rounding may replace an image of a label. The images for
    validation are the same for all.

    Args:
        config: location and size of the images.
        split: train, validation or test.
        seed: seed of the draw of the validation split.
        on_bad_sample: see `read_sources`.
        labelled: whether labels are required and read.

    Raises:
        ConfigError: if the settings are impossible, such as a `data.size` of more images than there are.
        DataError: see `read_sources`.
    """
    if labelled and config.image == config.label:
        raise ConfigError("data.image and data.label must name different columns")

    def labels(data: Images) -> Labels | None:
        return [[label] for label in data.labels] if data.labels is not None and config.stratified else None

    find = functools.partial(find_pictures, config, labelled=labelled)
    sources = ImageSources(LAYOUT, find, config.label if labelled else None, labels)
    splits = read_sources(config, split, sources, seed=seed, on_bad_sample=on_bad_sample)
    if "train" in splits and config.size and config.source is not Source.builtin:
        splits["train"] = _drawn(splits["train"], config.size, seed, labels)
    return splits


def _drawn(images: Images, size: int, seed: int, labels: Callable[[Images], Labels | None]) -> Images:
    """Return a number of images, drawn by the seed; at least one of each label, if there is one label each.

    Raises:
        ConfigError: if there are fewer images.
    """
    if size > len(images):
        cause = f"data.size: {size:,} is more than the {len(images):,} images of {images.origin}"
        raise ConfigError(cause, "data.size=0 takes all")
    return draw(images, 1 - size / len(images), seed=seed, labels=labels)[0]


def read_sources(
    config: ImageDataConfig, split: str, sources: ImageSources, *, seed: int, on_bad_sample: BadSample
) -> dict[str, Images]:
    """Read a split; without a validation split, training images drawn by the seed are used.

    Images are decoded and scaled once, and stored in the cache. If their estimated size exceeds `data.decoded_gib`,
    they are decoded at each use. An unreadable image is then an error at its first use; if such images are to be
    skipped, all are decoded once to find them.

    Args:
        config: size, channels and scaling of the images.
        split: train, validation or test.
        sources: the source of the images and their texts.
        seed: seed of the draw of the validation split.
        on_bad_sample: whether an unreadable image is an error, or skipped and named in the notes.

    Raises:
        DataError: if the split is missing or malformed; names the file or row. `BadPicture` for a single image.
    """
    read = functools.partial(_read, config, on_bad_sample, sources)
    divide = functools.partial(draw, seed=seed, labels=sources.labels)
    if sources.grouped:
        divide = functools.partial(_draw_images, seed=seed)
    return read_split(config, split, read, divide, sources.layout)


def _draw_images(images: Images, share: float, *, seed: int) -> tuple[Images, Images | None]:
    """Divide rows as `draw` does, so that all rows with the same image are in the same part."""
    _, first, groups = np.unique(images.digests, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # images in the order in which they appear
    parts = draw_rows(len(first), share, seed=seed)
    rows = [np.flatnonzero(np.isin(order[groups], part)) for part in parts]
    train = images.select(rows[0], images.origin)
    return train, images.select(rows[1], f"{images.origin}, {len(rows[1])} rows of it") if len(rows[1]) else None


# --- reading ---


@dataclass(frozen=True)
class _Reading:
    """Decodes the images of a split into arrays.

    Attributes:
        pictures: the images before they are decoded.
        config: size, channels and scaling.
        decoded: whether the arrays contain scaled pixels; otherwise they contain the encoded images of tables.
        checked: whether each image is decoded, which finds unreadable ones.
        skip: whether unreadable images are skipped.
        text: column of the labels or captions; None: they are not read.
    """

    pictures: UndecodedSplit
    config: ImageDataConfig
    decoded: bool
    checked: bool
    skip: bool
    text: str | None

    @property
    def key(self) -> list[object] | None:
        """Return everything that the arrays depend on; None: the content cannot be identified, so it is not cached."""
        config, key = self.config, self.pictures.key
        padding = config.mean if config.fit is Fit.pad else []
        scaling = [*stored_size(config), config.channels, config.fit.name, padding]
        scaling += [config.resample.name, PIL.__version__]
        columns = [config.image, self.text]
        return key and [FORMAT, key, str(_root(config)), columns, scaling, self.decoded, self.checked]

    def write(self, stream: Open) -> None:
        """Write the arrays of `ARRAYS`; images are decoded in parallel, and written in order."""
        content = RaggedWriter(stream("content"), stream("offsets"), np.uint8)
        sizes, digests = ArrayWriter(stream("sizes"), np.int32), ArrayWriter(stream("digests"), np.uint64)
        names, labels, bad = [], [], []
        with in_order(self.pictures.rows(), self._work, ROWS_A_JOB) as results:
            for row, (values, size, digest) in readable(results, self.skip, bad):
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
        about = {"names": names, "labels": labels, "bad": [(item.name, item.reason) for item in bad]}
        np.save(stream("about"), np.frombuffer(json.dumps(about).encode(), np.uint8), allow_pickle=False)

    def _work(self, row: Row) -> tuple[np.ndarray, tuple[int, int], int] | BadPicture:
        """Return the stored bytes of an image, its height and width (0 if it is not decoded), and its digest."""
        content, config = row.content, self.config
        try:
            if row.fault:
                raise BadPicture(row.name, row.fault, row.repair)
            pixels = read_picture(content, config, row.name) if self.checked else None
            if self.decoded and pixels is not None:
                height, width, _ = pixels.shape
                return pixels.reshape(-1), (height, width), content_digest(f"{height} x {width}", pixels.data)
            if isinstance(content, bytes):
                if not content:
                    raise BadPicture(row.name, "empty (0 bytes)")
                return np.frombuffer(content, np.uint8), (0, 0), content_digest("", content)
            identity = f"{file_size(content, row.name, BadPicture)} {row.name.removeprefix(str(_root(config)))}"
            return np.zeros(0, np.uint8), (0, 0), content_digest(identity, b"")
        except BadPicture as bad:
            return bad


def _read(config: ImageDataConfig, on_bad_sample: BadSample, sources: ImageSources, split: str | list[Path]) -> Images:
    pictures = sources.find(split)
    decoded, skip = _estimated_bytes(pictures, config) <= config.decoded_gib * GIB, on_bad_sample is BadSample.skip
    reading = _Reading(pictures, config, decoded, decoded or skip, skip, sources.text)
    arrays, about, notes = read_cached(
        config.cache, reading.key, ARRAYS, reading.write, "pictures", BadPicture, skip=skip
    )
    content, offsets = Mapped(arrays["content"]), arrays["offsets"]
    if decoded:
        pixels = Stored(content, offsets[:-1], arrays["sizes"].reshape(-1, 2), config.channels)
    else:
        pixels = Undecoded(content, offsets[:-1], np.diff(offsets), about["names"], config)
    labels = about["labels"] if sources.text is not None else None
    return Images(pixels, labels, about["names"], arrays["digests"], pictures.origin, notes=(*pictures.notes, *notes))


def _estimated_bytes(pictures: UndecodedSplit, config: ImageDataConfig) -> float:
    """Return the estimated size of all scaled images in bytes, from a sample.

    If the number of images is not known, it is the size of the sample.
    """
    areas = []
    for row in pictures.sample():
        with contextlib.suppress(BadPicture):
            areas.append(math.prod(scaled_size(row.content, config, row.name)))
    count = pictures.count or len(areas)
    return config.channels * count * sum(areas) / max(1, len(areas))


def _root(config: ImageDataConfig) -> Path:
    return Path(config.path).expanduser()
