"""Where the pictures of a split are: folders of classes, tables, IDX files, Hugging Face datasets, built-in digits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tformer_cli.data import files
from tformer_cli.data.idx import LABELS, PICTURES, idx_items, open_idx
from tformer_cli.data.media import listed, walk
from tformer_cli.data.media_sources import Columns, Found, Row, of_files, of_hub, of_stream, of_table, state, text_value
from tformer_cli.data.pictures import ENDINGS
from tformer_cli.data.source import hub_data
from tformer_cli.data.splits import Layout, draw_rows, other_splits, with_ending
from tformer_cli.errors import DataError, library

if TYPE_CHECKING:
    from tformer_cli.config.schema import ImageDataConfig

SETTINGS = "data.image, data.label"
IDX = re.compile(r"images([-.])idx3-ubyte(\.gz)?$")
DIGITS, DIGITS_TEST_SHARE, DIGITS_SEED, DIGITS_WHITE = "digits", 1 / 6, 1797, 16


def find_pictures(config: ImageDataConfig, found: str | list[Path], labelled: bool) -> Found:
    """The pictures of what `find_split` found.

    Raises:
        DataError: if a folder has no classes, a class no picture, a table no such column, or IDX files do not fit
            together. What is wrong with a row comes when it is read.
    """
    if isinstance(found, str):
        return (_hub if config.source.name == "hub" else _digits)(config, found, labelled)
    [path] = found
    if path.is_dir():
        return _folder(config, path, labelled)
    if IDX.search(path.name):
        return _idx(path, labelled)
    if not files.table_kind(path):
        cause = f"{path}: neither a folder of classes, nor a table, nor an IDX file of pictures"
        raise DataError(cause, f"tables end with one of {', '.join(files.TABLES)}")
    return of_table(path, _columns(config, labelled))


# --- files ---


def _named(place: Path) -> list[Path]:
    has_classes = place.is_dir() and any(path.is_dir() for path in place.iterdir())
    if place.is_file() or has_classes:
        return [place]
    stems = ("test", "t10k") if place.name == "test" else (place.name,)
    idx = [f"-images{dot}idx3-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
    tables = with_ending(place, files.TABLES)
    return [*tables, *(p for stem in stems for p in with_ending(place.with_name(stem), idx)), *_folders(place)][:1]


def _folders(place: Path) -> list[Path]:
    return [place] if place.is_dir() else []


def _whole(folder: Path, others: set[str]) -> list[Path]:
    there = any(path.is_dir() or path.name.lower().endswith(ENDINGS) for path in _but(folder, others))
    return [folder] if there else []


def _but(folder: Path, others: set[str]) -> list[Path]:
    """What is in a folder, sorted, without what is hidden and what is another split."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in others)


LAYOUT = Layout(
    _named, _whole, f"NAME/CLASS/*.jpg, CLASS/*.jpg, NAME and one of {', '.join(files.TABLES)}, or IDX files"
)
"""A split is a folder with a folder for each class, a table, or an IDX file of pictures beside one of labels."""


def _folder(config: ImageDataConfig, folder: Path, labelled: bool) -> Found:
    is_all = folder == Path(config.path).expanduser()
    there = _but(folder, other_splits(config) if is_all else set())
    classes = [path for path in there if path.is_dir()]
    rows, passed = [], [path for path in folder.iterdir() if path.is_file()]
    if labelled and not classes:
        remedy = f"put the pictures of each class into a folder that has its name: {folder / 'CLASS'}"
        raise DataError(f"{folder}: no folders of classes", remedy)
    if not labelled:
        rows = [Row.of_file(path, None) for path in passed if path in there and path.name.lower().endswith(ENDINGS)]
        passed = [path for path in passed if str(path) not in {row.name for row in rows}]
    for place in classes:
        before = len(rows)
        for path, picture in walk(place, ENDINGS):
            if picture:
                rows.append(Row.of_file(path, place.name if labelled else None))
            else:
                passed.append(path)
        if labelled and len(rows) == before:
            raise DataError(f"{place}: no picture in this class", f"remove it, or add files: {', '.join(ENDINGS)}")
    which = (
        f"files hidden, in no class or of other kinds were passed over: {listed(sorted(path.name for path in passed))}"
    )
    notes = (f"{len(passed):,} {which}",) if passed else ()
    return of_files(str(folder), sorted(rows, key=lambda row: row.name), notes)


# --- tables ---


def _columns(config: ImageDataConfig, labelled: bool) -> Columns:
    def label(value: Any, names: Sequence[str] | None, name: str) -> str:
        return text_value(value, names, name, config.label, SETTINGS)

    return Columns(config.image, config.label if labelled else None, label, "picture", SETTINGS)


def _hub(config: ImageDataConfig, split: str, labelled: bool) -> Found:
    import datasets

    data = hub_data(config, split)
    return of_hub(config, split, data, _columns(config, labelled), datasets.Image, datasets.Image(decode=False))


# --- IDX ---


def _idx(path: Path, labelled: bool) -> Found:
    """Pictures and labels as MNIST has them: a number, big-endian, for each dimension, then bytes."""
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
        head = b"P5 %d %d 255\n" % (width, height)  # of a grey PGM file, of which the rest is what IDX has
        classes = idx_items(labels, LABELS) if labelled else repeat(None, count)
        for number, (picture, label) in enumerate(zip(idx_items(path, PICTURES), classes, strict=True), 1):
            yield Row(f"row {number} of {path}", None if label is None else str(label[0]), head + picture)

    key = ["idx", *((str(file.resolve()), *state(file)) for file in (path, labels))]
    return of_stream(str(path), key, count, rows)


# --- built in ---


def _digits(config: ImageDataConfig, split: str, labelled: bool) -> Found:
    """Handwritten digits of 8 x 8 pixels that scikit-learn brings (Alpaydin and Kaynak 1998, UCI); a sixth is test."""
    if config.path != DIGITS:
        raise DataError(f"no built-in pictures are called {config.path!r}", f"data.path={DIGITS}")
    learn = library("sklearn", "scikit-learn", "demo")

    def rows() -> Iterator[Row]:
        found = library("sklearn.datasets", "scikit-learn", "demo").load_digits()
        pictures = np.rint(found.images * (255 / DIGITS_WHITE)).astype(np.uint8)
        head = b"P5 %d %d 255\n" % pictures.shape[:0:-1]
        for row in _digits_rows(config, split, len(pictures)):
            label = str(found.target[row]) if labelled else None
            yield Row(f"row {row + 1} of {DIGITS}", label, head + pictures[row].tobytes())

    key = [DIGITS, learn.__version__, split, config.size]
    return of_stream(f"built-in {DIGITS}, {split}", key, None, rows)


def _digits_rows(config: ImageDataConfig, split: str, count: int) -> np.ndarray:
    train, test = draw_rows(count, DIGITS_TEST_SHARE, seed=DIGITS_SEED)
    return test if split == "test" else train[: config.size or None]
