"""Where the pictures of a split are: folders of classes, tables, IDX files, Hugging Face datasets, built-in digits."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tformer_cli.data import files
from tformer_cli.data.idx import LABELS, PICTURES, idx_items, open_idx
from tformer_cli.data.pictures import ENDINGS, walk
from tformer_cli.data.source import hub_data, hub_named_rows, hub_origin
from tformer_cli.data.splits import Layout, draw_rows, other_splits, with_ending
from tformer_cli.errors import DataError, library

if TYPE_CHECKING:
    from tformer_cli.config.schema import ImageDataConfig

SETTINGS = "data.image, data.label"
PATHS = ("string", "large_string", "string_view")  # Arrow's types of a column of paths
ROWS_AT_ONCE = 16  # of a table, with the pictures in them, in memory
LOOKED_AT = 64  # pictures that the size of all is estimated from
IDX = re.compile(r"images([-.])idx3-ubyte(\.gz)?$")
DIGITS, DIGITS_TEST_SHARE, DIGITS_SEED, DIGITS_WHITE = "digits", 1 / 6, 1797, 16


@dataclass(frozen=True)
class Row:
    """A picture that is still as it came.

    Attributes:
        name: its file, or its row in a table.
        label: None if labels are not read.
        content: its file, or what would be in one.
    """

    name: str
    label: str | None
    content: Path | bytes

    @classmethod
    def of_file(cls, path: Path, label: str | None) -> Row:
        """A picture that is a file."""
        return cls(str(path), label, path)


@dataclass(frozen=True)
class Pictures:
    """The pictures of a split, before they are read.

    Attributes:
        origin: where they come from, for people.
        key: all that their content depends on; None: there is no telling, so that nothing can be kept.
        count: how many; None: it is not known before they are read.
        rows: gives them from the first on, as often as it is called.
        sample: some of them, evenly spaced if that is cheap.
        notes: what the user should know.
    """

    origin: str
    key: list[object] | None
    count: int | None
    rows: Callable[[], Iterator[Row]]
    sample: Callable[[], Iterable[Row]]
    notes: tuple[str, ...] = ()


def find_pictures(config: ImageDataConfig, found: str | list[Path], labelled: bool) -> Pictures:
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
    return _table(config, path, labelled)


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


def _folder(config: ImageDataConfig, folder: Path, labelled: bool) -> Pictures:
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
        for path, picture in walk(place):
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
    return _of_files(str(folder), sorted(rows, key=lambda row: row.name), notes)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first of them, for people."""
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


def _of_files(origin: str, rows: list[Row], notes: tuple[str, ...] = ()) -> Pictures:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.name, row.label, *_state(row.content)]).encode())
    step = max(1, len(rows) // LOOKED_AT)
    key: list[object] = ["files", digest.hexdigest()]
    return Pictures(origin, key, len(rows), lambda: iter(rows), lambda: rows[::step], notes)


def _state(path: Path | bytes) -> list[int]:
    """Size and time of a file; none if it is not there."""
    if isinstance(path, Path):
        with suppress(OSError, ValueError):
            status = path.stat()
            return [status.st_size, status.st_mtime_ns]
    return []


# --- tables ---


def _table(config: ImageDataConfig, path: Path, labelled: bool) -> Pictures:
    wanted = [config.image, *([config.label] if labelled else [])]
    names, count, inside = None, None, False
    if files.table_kind(path) in files.COLUMNAR:
        schema, count = files.columnar_schema(path)
        names = _class_names(schema.metadata, config.label)
        inside = config.image in schema.names and str(schema.field(config.image).type) not in PATHS

    def rows() -> Iterator[Row]:
        found = files.named_rows(path, wanted, setting=SETTINGS, rows_at_once=ROWS_AT_ONCE)
        return _rows(found, config, str(path), path.parent, names, labelled)

    if not inside:
        return _of_files(str(path), list(rows()))
    return _of_stream(str(path), ["table", str(path.resolve()), *_state(path)], count, rows)


def _of_stream(origin: str, key: list[object] | None, count: int | None, rows: Callable[[], Iterator[Row]]) -> Pictures:
    return Pictures(origin, key, count, rows, lambda: islice(rows(), LOOKED_AT))


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str] | None:
    """Names of the classes, as `datasets` writes them into the schema of a table."""
    with suppress(ValueError, KeyError, TypeError):
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
        return [str(name) for name in names]
    return None


def _rows(
    rows: Iterable[tuple[str, dict[str, Any]]],
    config: ImageDataConfig,
    origin: str,
    folder: Path | None,
    names: Sequence[str] | None,
    labelled: bool,
) -> Iterator[Row]:
    """Rows of a table: `folder` is what its paths are relative to, `names` what its numbers of classes mean."""
    number = 0
    for number, (place, row) in enumerate(rows, 1):
        for column in [config.image, *([config.label] if labelled else [])]:
            if column not in row:
                raise files.missing_column(place, column, row, SETTINGS)
        name = f"row {number} of {origin}"
        label = _label(row[config.label], names, name, config.label) if labelled else None
        content = _content(row[config.image], folder, name, config.image)
        yield Row.of_file(content, label) if isinstance(content, Path) else Row(name, label, content)
    if not number:
        raise DataError(f"{origin}: there are no rows")


def _content(value: Any, folder: Path | None, name: str, column: str) -> Path | bytes:
    path = None
    if isinstance(value, dict):
        value, path = value.get("bytes"), value.get("path")
    if value is None and path is None:
        return b""
    if isinstance(value, bytes):
        return value
    path = path if value is None else value
    if not isinstance(path, str):
        raise DataError(f"{name}: {column} is neither a picture's bytes nor a path", SETTINGS)
    if folder is None and ("://" in path or "::" in path):  # a data set that is streamed
        import fsspec

        with fsspec.open(path, "rb") as stream:
            return stream.read()  # pyright: ignore[reportAttributeAccessIssue] - typed as a list of files as well
    return (folder or Path()) / path


def _label(value: Any, names: Sequence[str] | None, name: str, column: str) -> str:
    if isinstance(value, int) and names is not None:
        if not 0 <= value < len(names):
            raise DataError(f"{name}: {column} is {value}, but there are names for {len(names)} classes", SETTINGS)
        return names[value]
    if isinstance(value, (int, float, list)):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        raise DataError(f"{name}: {column} is {'empty (null)' if value is None else 'not text'}")
    return value


def _hub(config: ImageDataConfig, split: str, labelled: bool) -> Pictures:
    import datasets

    data, origin = hub_data(config, split), hub_origin(config, split)
    features = data.features or {}
    if isinstance(features.get(config.image), datasets.Image):
        data = data.cast_column(config.image, datasets.Image(decode=False))
    label = features.get(config.label)
    names = label.names if isinstance(label, datasets.ClassLabel) else None
    wanted = [config.image, *([config.label] if labelled else [])]
    if set(wanted) < set(features):
        data = data.remove_columns([column for column in features if column not in wanted])

    def rows() -> Iterator[Row]:
        return _rows(hub_named_rows(config, split, data, ROWS_AT_ONCE), config, origin, None, names, labelled)

    if config.streaming:  # what is in it, and how many, only reading tells
        return _of_stream(origin, None, None, rows)
    return _of_stream(origin, ["hub", origin, data._fingerprint], len(data), rows)


# --- IDX ---


def _idx(path: Path, labelled: bool) -> Pictures:
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

    key = ["idx", *((str(file.resolve()), *_state(file)) for file in (path, labels))]
    return _of_stream(str(path), key, count, rows)


# --- built in ---


def _digits(config: ImageDataConfig, split: str, labelled: bool) -> Pictures:
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
    return _of_stream(f"built-in {DIGITS}, {split}", key, None, rows)


def _digits_rows(config: ImageDataConfig, split: str, count: int) -> np.ndarray:
    train, test = draw_rows(count, DIGITS_TEST_SHARE, seed=DIGITS_SEED)
    return test if split == "test" else train[: config.size or None]
