"""Sources of images: folders of classes, tables, IDX files, Hugging Face datasets, built-in digits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tformer_cli.config.schema import ClassNames
from tformer_cli.data.core import files
from tformer_cli.data.core.division import draw_rows
from tformer_cli.data.core.hub import hub_data
from tformer_cli.data.core.media import Listing, is_hidden, listed, listing, shown
from tformer_cli.data.core.media_sources import (
    Columns,
    Row,
    UndecodedSplit,
    split_of_files,
    split_of_hub,
    split_of_stream,
    split_of_table,
    state,
)
from tformer_cli.data.core.names import SPLITS, one_with_ending, with_ending
from tformer_cli.data.core.splits import Layout, is_other_split
from tformer_cli.data.image.idx import LABELS, PICTURES, idx_items, open_idx
from tformer_cli.data.image.pictures import ENDINGS
from tformer_cli.errors import DataError, Library, library

if TYPE_CHECKING:
    from tformer_cli.config.schema import LabelledImageDataConfig

SETTINGS = "data.image, data.label"
DIGITS = Library("sklearn", "scikit-learn", "demo")
"""The library that has the built-in images."""
IDX = re.compile(r"images([-.])idx3-ubyte(\.gz)?$")
DIGITS_TEST_SHARE, DIGITS_SEED, DIGITS_WHITE = 1 / 6, 1797, 16


def find_pictures(config: LabelledImageDataConfig, location: str | list[Path], labelled: bool) -> UndecodedSplit:
    """Return the images of a split before they are decoded.

    Args:
        config: location of the data.
        location: the result of `find_split`.
        labelled: whether labels are required and read.

    Raises:
        DataError: if a folder has no classes, a class has no image, a table lacks a column, or IDX files do not belong
            together. Faults of a row are raised when it is read.
    """
    if isinstance(location, str):
        return (_hub if config.source.name == "hub" else _digits)(config, location, labelled)
    [path] = location
    if path.is_dir():
        return _folder(config, path, labelled)
    if IDX.search(path.name):
        return _idx(path, labelled)
    if not files.table_kind(path):
        cause = f"{path}: neither a folder of classes, nor a table, nor an IDX file of pictures"
        raise DataError(cause, f"tables end with one of {', '.join(files.TABLES)}")
    return split_of_table(path, _columns(config, labelled))


# --- files ---


def _named(path: Path) -> list[Path]:
    has_classes = path.is_dir() and any(entry.is_dir() for entry in path.iterdir())
    if path.is_file() or has_classes:
        return [path]
    stems = (path.name, "t10k") if path.name.lower() == "test" else (path.name,)
    idx = [f"-images{dot}idx3-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
    tables = one_with_ending(path, files.TABLES)
    return [*tables, *(file for stem in stems for file in with_ending(path.with_name(stem), idx)), *_folders(path)][:1]


def _folders(path: Path) -> list[Path]:
    return [path] if path.is_dir() else []


def _train_folder(folder: Path, is_other: Callable[[str], bool]) -> list[Path]:
    entries = [path for path in folder.iterdir() if not is_hidden(path.name) and not is_other(path.name)]
    return [folder] if any(path.is_dir() or path.name.lower().endswith(ENDINGS) for path in entries) else []


LAYOUT = Layout(
    _named, _train_folder, f"NAME/CLASS/*.jpg, CLASS/*.jpg, NAME and one of {', '.join(files.TABLES)}, or IDX files"
)
"""The layout of images: a split is a folder with a folder for each class, a table, or a pair of IDX files."""


def _folder(config: LabelledImageDataConfig, folder: Path, labelled: bool) -> UndecodedSplit:
    is_all = folder == Path(config.path).expanduser()
    is_other = is_other_split(config) if is_all else lambda name: False
    listed = listing(folder, ENDINGS, is_other)
    if labelled:
        top = {path.relative_to(folder).parts[0] for path in listed.files if path.parent != folder}
        _check_classes(listed, top, is_other)
        listed.stray = [path for path in listed.files if path.parent == folder]
        listed.files = [path for path in listed.files if path.parent != folder]
    notes = [note for note in (listed.left_out(), _passed_splits(folder, is_other)) if note]
    classes = dict.fromkeys(path.parent.relative_to(folder) for path in listed.files)
    labels = _labels(folder, list(classes), config.classes, notes) if labelled else {}
    rows = [Row.of_file(path, labels.get(path.parent.relative_to(folder))) for path in listed.files]
    return split_of_files(str(folder), sorted(rows, key=lambda row: row.name), tuple(notes))


def _check_classes(listed: Listing, top: set[str], is_other: Callable[[str], bool]) -> None:
    """Refuse a folder without class folders, and a class without images."""
    folder = listed.folder
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and not is_other(path.name)]
    folders = [path for path in folders if path not in (*listed.hidden, *listed.links)]
    if not folders:
        remedy = f"put the pictures of each class into a folder that has its name: {folder / 'CLASS'}"
        raise DataError(f"{shown(str(folder))}: no folders of classes", remedy)
    empty = [path for path in folders if path.name not in top]
    if empty:
        kinds = listing(empty[0], ENDINGS).left_out()
        cause = f"{shown(str(empty[0]))}: no picture in this class" + (f", and {kinds}" if kinds else "")
        raise DataError(cause, f"remove it, or add files: {', '.join(ENDINGS)}")


def _passed_splits(folder: Path, is_other: Callable[[str], bool]) -> str:
    """Return a line about folders that would be classes, but have the names of splits."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and is_other(path.name))
    return f"taken for other splits, not for classes: {listed(names)}" if names else ""


def _labels(folder: Path, classes: Sequence[Path], naming: ClassNames, notes: list[str]) -> dict[Path, str]:
    """Return the label of each folder of images, by its path in the folder of the split.

    Raises:
        DataError: if a folder contains both images and folders of images and `data.classes` is not set, or if a folder
            within a class has the name of a split.
    """
    for path in classes:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            cause = f"{shown(str(folder / path))}: the name of this class is not UTF-8"
            raise DataError(cause, "rename the folder") from None
    nested = [path for path in classes if len(path.parts) > 1]
    if naming is ClassNames.first or not nested:
        return {path: path.parts[0] for path in classes}
    deep = next((path for path in nested if any(part.lower() in SPLITS for part in path.parts[1:])), None)
    if deep:
        cause = f"{shown(str(folder / deep))}: the folder of a split within that of a class"
        above = folder / deep.parts[0]
        inner = deep.parts[-1].lower() in SPLITS
        remedy = (
            "make it SPLIT/CLASS/*.jpg" if inner else f"name the folder of the splits: data.path={shown(str(above))}"
        )
        raise DataError(cause, f"{remedy}; or data.classes=first")
    mixed = [path for path in classes if any(other != path and other.is_relative_to(path) for other in nested)]
    if mixed and naming is ClassNames.auto:
        outer = mixed[0]
        inner = next(other for other in nested if other != outer and other.is_relative_to(outer))
        cause = f"{shown(str(folder / outer))} has pictures, and {shown(inner.as_posix())} in it has some too"
        remedy = "data.classes=path makes two classes of them, data.classes=first one, named by the first folder"
        raise DataError(cause, remedy)
    if naming is ClassNames.auto:
        example = shown(nested[0].as_posix())
        notes.append(f"nested folders are classes by their paths, as {example}; data.classes=first joins them")
    return {path: path.as_posix() for path in classes}


# --- tables ---


def _columns(config: LabelledImageDataConfig, labelled: bool) -> Columns:
    return Columns(config.image, config.label if labelled else None, tuple(config.missing), "picture", SETTINGS)


def _hub(config: LabelledImageDataConfig, split: str, labelled: bool) -> UndecodedSplit:
    import datasets

    data = hub_data(config, split)
    return split_of_hub(config, split, data, _columns(config, labelled), datasets.Image, datasets.Image(decode=False))


# --- IDX ---


def _idx(path: Path, labelled: bool) -> UndecodedSplit:
    """Return the images and labels of a pair of IDX files."""
    labels = path.with_name(IDX.sub(r"labels\1idx1-ubyte\2", path.name))
    other = labels.with_name(labels.name.removesuffix(".gz") if labels.suffix == ".gz" else f"{labels.name}.gz")
    labels = labels if labels.is_file() or not other.is_file() else other
    with open_idx(path, PICTURES) as (_, (count, height, width)):
        pass
    if labelled:
        with open_idx(labels, LABELS) as (_, (count_labels,)):
            if count_labels != count:
                raise DataError(
                    f"{path} has {count:,} pictures and {labels} {count_labels:,} labels", "copy them again"
                )

    def rows() -> Iterator[Row]:
        head = b"P5 %d %d 255\n" % (width, height)  # header of a grey PGM file, whose content is that of IDX
        classes = idx_items(labels, LABELS) if labelled else repeat(None, count)
        for number, (picture, label) in enumerate(zip(idx_items(path, PICTURES), classes, strict=True), 1):
            yield Row(f"row {number} of {path}", None if label is None else str(label[0]), head + picture)

    key = ["idx", *((str(file.resolve()), *state(file)) for file in (path, labels))]
    return split_of_stream(str(path), key, count, rows)


# --- built in ---


def _digits(config: LabelledImageDataConfig, split: str, labelled: bool) -> UndecodedSplit:
    """Return scikit-learn's handwritten digits of 8 x 8 pixels (Alpaydin and Kaynak 1998, UCI).

    A sixth of them is the test split.
    """
    learn = library(*DIGITS)

    def rows() -> Iterator[Row]:
        digits = library("sklearn.datasets", "scikit-learn", "demo").load_digits()
        pictures = np.rint(digits.images * (255 / DIGITS_WHITE)).astype(np.uint8)
        head = b"P5 %d %d 255\n" % pictures.shape[:0:-1]
        for row in _digits_rows(config, split, len(pictures)):
            label = str(digits.target[row]) if labelled else None
            yield Row(f"row {row + 1} of {config.path}", label, head + pictures[row].tobytes())

    key = [config.path, learn.__version__, split, config.size]
    return split_of_stream(f"built-in {config.path}, {split}", key, None, rows)


def _digits_rows(config: LabelledImageDataConfig, split: str, count: int) -> np.ndarray:
    train, test = draw_rows(count, DIGITS_TEST_SHARE, seed=DIGITS_SEED)
    return test if split == "test" else train[: config.size or None]
