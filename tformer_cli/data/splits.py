"""Which files, or which split of a dataset, a role stands for; and validation rows where there are none."""

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


class Rows(Protocol):
    """A split that is held in memory."""

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        ...

    def __len__(self) -> int: ...

    def select(self, rows: np.ndarray, origin: str) -> Self:
        """Some of the rows."""
        ...


Split = TypeVar("Split", bound=Rows)


def read_split(config: DividedDataConfig, split: str, read: Callable[[str | list[Path]], Split], *, seed: int) -> Split:
    """Read a split.

    Where there is no validation split, a part of the training rows serves, drawn by the seed, and training leaves them
    out.

    Args:
        config: where it is, and the share of the training rows that becomes validation.
        split: train, validation or test.
        read: reads what `find_split` found.
        seed: of the draw.

    Raises:
        DataError: if the split is not there.
    """
    found = find_split(config, split)
    if found is None and split == "test":
        raise DataError(f"{config.path}: no test split was found", "name it: data.test=..., or score validation")
    if found is not None and (split == "test" or find_split(config, "validation") is not None):
        return read(found)
    whole = read(find_training(config))
    order = np.argsort(np.random.Philox(np.random.SeedSequence([seed])).random_raw(len(whole)), kind="stable")
    count = round(len(whole) * config.validation_share)
    if split == "train":
        return whole.select(np.sort(order[count:]), whole.origin)
    if not count:
        raise DataError(f"{whole.origin}: no validation split", "data.validation=..., or data.validation_share=0.1")
    return whole.select(np.sort(order[:count]), f"{whole.origin}, {count} rows of it")


def find_training(config: DataConfig) -> str | list[Path]:
    """What is read for the training split.

    Raises:
        DataError: if the place, or the split, is not there.
    """
    found = find_split(config, "train")
    if found is None:
        raise DataError(f"{config.path}: no training split was found", "name it: data.train=...")
    return found


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
