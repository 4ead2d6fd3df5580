"""Which files, or which split of a dataset, a role stands for; and a validation split where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import numpy as np

from tformer_cli.data import files
from tformer_cli.data.source import VALIDATION_NAMES, hub_splits
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import DataConfig, DividedDataConfig

TEXT = ".txt"


class Read(Protocol):
    """A split, as it was read."""

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        ...


class Rows(Read, Protocol):
    """A split that is held in memory."""

    def __len__(self) -> int: ...

    def select(self, rows: np.ndarray, origin: str) -> Self:
        """Some of the rows."""
        ...


Split = TypeVar("Split", bound=Read)
RowsSplit = TypeVar("RowsSplit", bound=Rows)


def read_split(
    config: DividedDataConfig,
    split: str,
    read: Callable[[str | list[Path]], Split],
    divide: Callable[[Split, float], tuple[Split, Split | None]],
) -> dict[str, Split]:
    """Read a split.

    Where there is no validation split, a part of the training split serves, and training leaves it out. It is read once
    for both.

    Args:
        config: where it is, and the share of the training split that becomes validation.
        split: train, validation or test.
        read: reads what `find_split` found.
        divide: from a split and that share to what is trained on, and what is validated on if the share is anything.

    Returns:
        The split by its name; and the other one where training and validation are parts of one.

    Raises:
        DataError: if the split is not there.
    """
    found = find_split(config, split)
    if found is None and split == "test":
        raise DataError(f"{config.path}: no test split was found", "name it: data.test=..., or score validation")
    if found is not None and (split == "test" or find_split(config, "validation") is not None):
        return {split: read(found)}
    found = find_split(config, "train")
    if found is None:
        raise DataError(f"{config.path}: no training split was found", "name it: data.train=...")
    train, validation = divide(read(found), config.validation_share)
    if validation is not None:
        return {"train": train, "validation": validation}
    if split == "validation":
        raise DataError(f"{train.origin}: no validation split", "data.validation=..., or data.validation_share=0.1")
    return {"train": train}


def draw(whole: RowsSplit, share: float, *, seed: int) -> tuple[RowsSplit, RowsSplit | None]:
    """Divide rows into those to train on and those, drawn by the seed, to validate on; None: the share is no row."""
    order = np.argsort(np.random.Philox(np.random.SeedSequence([seed])).random_raw(len(whole)), kind="stable")
    count = round(len(whole) * share)
    train = whole.select(np.sort(order[count:]), whole.origin)
    return train, whole.select(np.sort(order[:count]), f"{whole.origin}, {count} rows of it") if count else None


def find_split(config: DataConfig, split: str) -> str | list[Path] | None:
    """What is read for a split: files, the name of a dataset's split, or None where it was not named and is not there.

    Raises:
        DataError: if the place, or a split that was named, is not there.
    """
    named = getattr(config, split)
    match config.source.name:
        case "builtin":
            return split if split != "validation" else None
        case "hub":
            there = hub_splits(config)
            wanted = [named] if named else VALIDATION_NAMES if split == "validation" else [split]
            found = next((name for name in wanted if name.partition("[")[0] in there), None)
            if named and found is None:
                raise DataError(f"{config.path}: no split {named!r}", f"splits there: {', '.join(there)}")
            return found
        case _:
            return _find_files(config, split, named)


def _find_files(config: DataConfig, split: str, named: str) -> list[Path] | None:
    path = Path(config.path).expanduser()
    if path.is_file():
        if split == "train" and named == "train":
            return [path]
        folder = path.parent
    elif path.is_dir():
        folder = path
    else:
        raise DataError(f"data.path: {config.path}: no such folder or file")
    names = [named] if named else list(VALIDATION_NAMES) if split == "validation" else [split]
    for name in names:
        found = _named(folder, name)
        if found:
            return found
    if split == "train" and named == "train":  # every text of the folder, but for what is another split
        others = {"test", "test.txt", *VALIDATION_NAMES, config.validation, config.test}
        texts = [p for p in _texts(folder) if p.stem not in others and p.name not in others]
        if texts:
            return texts
    if not named:
        return None
    there = ", ".join(sorted(p.name for p in folder.iterdir())[:12]) or "nothing"
    kinds = ", ".join((TEXT, *files.TABLES))
    raise DataError(f"no split {named!r} in {folder}", f"expected {named} with one of {kinds}; there: {there}")


def _named(folder: Path, name: str) -> list[Path]:
    given = Path(name).expanduser()
    place = given if given.is_absolute() else folder / given
    if place.is_file():
        return [place]
    if place.is_dir():
        return _texts(place)
    return [found for kind in (TEXT, *files.TABLES) if (found := place.with_name(place.name + kind)).is_file()][:1]


def _texts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == TEXT and path.is_file())
