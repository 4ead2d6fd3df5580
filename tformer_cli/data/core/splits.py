"""The files, or the dataset split, of training, validation and test."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import numpy as np

from tformer_cli.config.paths import check_builtin
from tformer_cli.data.core import files
from tformer_cli.data.core.division import Labels, draw_rows
from tformer_cli.data.core.hub import hub_splits, refuse_saved
from tformer_cli.data.core.media import is_hidden, listed, visible_names
from tformer_cli.data.core.names import NAMES, VALIDATION_NAMES, one_with_ending
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import DataConfig, DividedDataConfig

TEXT = ".txt"
SEPARATORS = ("", ".", "-")
"""Separators that may follow a split's name in a file name."""


@dataclass(frozen=True)
class Layout:
    """The rules by which files and folders form a split.

    Attributes:
        named: the files of a path (a folder and a name with or without an ending); nothing if it does not exist.
        train_folder: the files of the training split if it is a folder with all its files except those named like other
            splits; nothing otherwise.
        expected: description of the expected files, in which "NAME" is the split.
        builtin: the splits of built-in data.
        explain: raises an error if it knows why a path that the user named has no files.
    """

    named: Callable[[Path], list[Path]]
    train_folder: Callable[[Path, Callable[[str], bool]], list[Path]]
    expected: str
    builtin: tuple[str, ...] = ("train", "test")
    explain: Callable[[Path], None] = lambda path: None


class Read(Protocol):
    """A split that was read."""

    @property
    def origin(self) -> str:
        """Return a human-readable description of the source."""
        ...


class Rows(Read, Protocol):
    """A split whose rows are in memory."""

    def __len__(self) -> int: ...

    def select(self, rows: np.ndarray, origin: str) -> Self:
        """Return the split of the rows at the given indices, with another `origin`."""
        ...


Split = TypeVar("Split", bound=Read)
RowsSplit = TypeVar("RowsSplit", bound=Rows)


def read_split(
    config: DividedDataConfig,
    split: str,
    read: Callable[[str | list[Path]], Split],
    divide: Callable[[Split, float], tuple[Split, Split | None]],
    layout: Layout | None = None,
) -> dict[str, Split]:
    """Read a split.

    If there is no validation split, a part of the training split is used for validation and not for training. The file
    is then read once for both.

    Args:
        config: the location, and the share of the training split to validate on.
        split: train, validation or test.
        read: reads the files or the named split that `find_split` returns.
        divide: divides a split into a training and a validation split, given the share of the latter; the validation
            split is None if the share is 0.
        layout: the layout of files; None: texts and tables.

    Returns:
        The split by its name; and the other one if training and validation are parts of one.

    Raises:
        DataError: if the split does not exist.
    """
    find = functools.partial(find_split, config, layout=layout)
    if split == "train" and config.test and config.source.name != "builtin":
        find("test")  # reports a mistyped name before training, not in `evaluate` after it
    location = find(split)
    if location is None and split == "test":
        folder = Path(config.path).expanduser()
        there = f"; there: {_names_in(folder)}" if config.source.name == "files" and folder.is_dir() else ""
        remedy = f"name it: data.test=..., or score --split validation{there}"
        raise DataError(f"{config.path}: no test split was found", remedy)
    if location is not None and (split == "test" or find("validation") is not None):
        return {split: read(location)}
    location = find("train")
    if location is None:
        raise DataError(f"{config.path}: no training split was found", "name it: data.train=...")
    if split == "validation" and not config.validation_share:
        raise no_validation(config)
    train, validation = divide(read(location), config.validation_share)
    if validation is not None:
        return {"train": train, "validation": validation}
    if split == "validation":
        cause = f"{train.origin}: no validation split, and too few training rows (of a label) to draw one"
        raise DataError(cause, "data.validation=...")
    return {"train": train}


def no_validation(config: DataConfig) -> DataError:
    """Return the error for data without a validation split, of which no share of the training split is to be one."""
    cause = f"{config.path}: no validation split (data.validation_share=0)"
    return DataError(cause, "data.validation=..., or data.validation_share=0.1")


def draw(
    rows: RowsSplit, share: float, *, seed: int, labels: Callable[[RowsSplit], Labels | None] | None = None
) -> tuple[RowsSplit, RowsSplit | None]:
    """Divide rows into training rows and validation rows drawn by the seed; None if the share is less than a row.

    Args:
        rows: the rows.
        share: share of validation rows.
        seed: seed of the draw.
        labels: returns the labels of each row for a stratified draw; None: the draw is not stratified.

    Returns:
        The training rows and the validation rows.
    """
    remaining, drawn = draw_rows(len(rows), share, seed=seed, labels=None if labels is None else labels(rows))
    train = rows.select(remaining, rows.origin)
    return train, rows.select(drawn, f"{rows.origin}, {len(drawn)} rows of it") if len(drawn) else None


def find_split(config: DataConfig, split: str, layout: Layout | None = None) -> str | list[Path] | None:
    """Return the files of a split, or the name of a dataset's split; None if it is not configured and does not exist.

    A split that is not configured has one of `NAMES`. If there is none for the test split, it is the only one whose
    name begins with "test", such as test_2016; in a folder, only if the training split is not the whole folder.

    Raises:
        ConfigError: if built-in data are not in a language.
        DataError: if the path, or a configured split, does not exist.
    """
    named = getattr(config, split)
    match config.source.name:
        case "builtin":
            check_builtin(config)
            return split if split in (layout or TEXTS).builtin else None
        case "hub":
            splits = hub_splits(config)
            candidates = [named] if named and named != split else list(NAMES[split])
            existing = next((name for name in candidates if name.partition("[")[0] in splits), None)
            if existing is None:  # in another case
                candidates = [name.lower() for name in candidates]
                existing = next((name for name in splits if name.lower() in candidates), None)
            tests = [name for name in splits if name.lower().startswith("test")]
            if existing is None and split == "test" and not named and len(tests) == 1:
                return tests[0]
            if named and existing is None:
                raise DataError(f"{config.path}: no split {named!r}", f"splits there: {', '.join(splits)}")
            return existing
        case _:
            return _find_files(config, split, named, layout or TEXTS)


def _find_files(config: DataConfig, split: str, named: str, layout: Layout) -> list[Path] | None:
    path = Path(config.path).expanduser()
    if path.is_file():
        if split == "train" and named == "train":
            return [path]
        folder = path.parent
    elif path.is_dir():
        folder = path
    else:
        raise DataError(f"data.path: {config.path}: no such folder or file", "check the path")
    files = _named_files(folder, split, named, layout)
    if files:
        return files
    if split == "train" and named == "train":
        files = layout.train_folder(folder, is_other_split(config))
        if files:
            return files
    if not named:
        if split != "test" or folder != path:
            return None
        has_own_name = config.train != "train" or _named_files(folder, "train", config.train, layout)
        return _only_test(folder, layout) if has_own_name else None  # else it may be a training text, or a class
    files = layout.named(Path(named).expanduser())  # a path from the current folder
    if files:
        return files
    for stem in (folder / named, Path(named).expanduser()):
        layout.explain(stem)
    refuse_saved(folder)
    expected = layout.expected.replace("NAME", named)
    raise DataError(f"no split {named!r} in {folder}", f"expected {expected}; there: {_names_in(folder)}")


def _names_in(folder: Path) -> str:
    """Return the names in a folder, for an error."""
    return listed(visible_names(folder), max_names=12) or "nothing"


def _named_files(folder: Path, split: str, named: str, layout: Layout) -> list[Path]:
    """Return the files of a split's name in a folder, in upper or lower case.

    Raises:
        DataError: if there are two such names.
    """
    if named and named != split:  # a name given by the user
        paths = layout.named(folder / Path(named).expanduser())  # an absolute path ignores the folder
        if paths or "/" in named or "*" in named:
            return paths
    names = [named] if named and named != split else list(NAMES[split])
    entries = os.listdir(folder)
    matches = _matches(folder, [spelling for name in names for spelling in _spellings(entries, name)], layout)
    if len(matches) > 1:
        cause = f"{folder}: which one is the {split} split: {' or '.join(matches)}?"
        raise DataError(cause, f"rename or merge them, or name one: data.{split}=./{next(iter(matches))}")
    return next(iter(matches.values()), [])


def _only_test(folder: Path, layout: Layout) -> list[Path] | None:
    """Return the files of the only name in a folder that begins with "test"; None if there is no such name, or two."""
    names = list[str]()
    for entry in sorted(os.listdir(folder)):
        if entry.lower().startswith("test"):
            ends = [index for index, character in enumerate(entry) if character in SEPARATORS]
            names += [entry[:end] for end in ends] + [entry] * (folder / entry).is_dir()
    matches = list(_matches(folder, names, layout).values())
    return matches[0] if len(matches) == 1 else None


def _matches(folder: Path, names: Sequence[str], layout: Layout) -> dict[str, list[Path]]:
    """Return the files of those names in a folder that have some, without files that an earlier name has."""
    matches = dict[str, list[Path]]()
    for name in names:
        paths = layout.named(folder / name)
        if paths and not any(_same(paths, other) for other in matches.values()):
            matches[name] = paths
    return matches


def _spellings(entries: list[str], name: str) -> list[str]:
    """Return a name and its spellings in another case with which names of files and folders begin."""
    begins = {entry[: len(name)] for entry in entries if entry[len(name) : len(name) + 1] in SEPARATORS}
    return [name, *sorted(begin for begin in begins if begin != name and begin.lower() == name.lower())]


def _same(first: list[Path], second: list[Path]) -> bool:
    """Return whether two lists contain the same files, as two spellings do on a case-insensitive file system."""
    pairs = zip(first, second, strict=False)
    return len(first) == len(second) and all(a == b or (a.exists() and b.exists() and a.samefile(b)) for a, b in pairs)


def is_other_split(config: DataConfig) -> Callable[[str], bool]:
    """Return a function that tells whether a name in the data's folder belongs to another split than training."""
    named = {Path(name).parts[0] for name in (config.validation, config.test) if name and Path(name).parts}
    others = {*NAMES["test"], *VALIDATION_NAMES, *named}
    lower = {name.lower() for name in others}
    return lambda name: name.lower() in lower or name.lower().removesuffix(TEXT) in lower


def _named(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        return _texts(path)
    return one_with_ending(path, (TEXT, *files.READABLE))


def _texts_but(folder: Path, is_other: Callable[[str], bool]) -> list[Path]:
    """Return all texts of the folder except those of other splits."""
    return [path for path in _texts(folder) if not is_other(path.stem) and not is_other(path.name)]


def _texts(folder: Path) -> list[Path]:
    texts = (path for path in folder.iterdir() if path.suffix.lower() == TEXT and not is_hidden(path.name))
    return sorted(path for path in texts if path.is_file())


TEXTS = Layout(_named, _texts_but, f"NAME with one of {', '.join((TEXT, *files.TABLES))}")
"""The layout of text files and tables: a split is one of them, or a folder of text files."""
