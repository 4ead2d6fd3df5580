"""Paths in the configuration of a run, which are relative to the folder in which the run was started.

A run records that folder, so that its data can be opened from any folder. If a file is missing there, its path is
relative to the current folder, for runs that were moved together with their data.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeVar

from tformer_cli.config.schema import DataConfig, Experiment
from tformer_cli.config.schema.data import BUILTIN_LANGUAGES
from tformer_cli.config.splits import SPLITS
from tformer_cli.config.values import leaves
from tformer_cli.errors import ConfigError, DataError

E = TypeVar("E", bound=Experiment)


def path_exists(path: Path) -> bool:
    """Return whether a file or folder of this name exists, or files of this name with a suffix."""
    try:
        return path.exists() or any(path.parent.glob(f"{path.name}.*"))
    except (OSError, ValueError):
        return False


def _folder(path: str) -> Path:
    """Return the folder to which names of splits are relative."""
    folder = Path(path).expanduser()
    return folder.parent if folder.is_file() else folder


def with_absolute_paths(config: E, base: str) -> E:
    """Return the configuration of a run with absolute paths in place of those relative to its starting folder.

    Args:
        config: configuration of the run.
        base: the starting folder; "" if it was not recorded.
    """
    root = Path(base)
    if not base or not root.is_dir() or root == Path.cwd():
        return config

    def absolute(name: str) -> str:
        relative = name and not Path(name).expanduser().is_absolute()
        return str(root / name) if relative and path_exists(root / name) else name

    data = config.data
    if data.source.name == "files":
        path = absolute(data.path)
        inside = _folder(path)
        names = {split: getattr(data, split) for split in SPLITS}
        moved = {split: name if path_exists(inside / name) else absolute(name) for split, name in names.items() if name}
        config = dataclasses.replace(config, data=dataclasses.replace(data, path=path, **moved))
    for key, leaf in leaves(type(config)).items():
        if leaf.field.metadata.get("is_path"):
            node, _, name = key.partition(".")
            settings = getattr(config, node)
            settings = dataclasses.replace(settings, **{name: absolute(getattr(settings, name))})
            config = dataclasses.replace(config, **{node: settings})
    return config


def check_builtin(data: DataConfig) -> None:
    """Refuse a name, splits or languages that built-in data do not have.

    Raises:
        ConfigError: if they are not in a language.
        DataError: if there are none of this name, or a split is named.
    """
    if data.path != data.builtin:
        instead = f"data.path={data.builtin}, or " if data.builtin else ""
        cause = f"no built-in data of this kind are called {data.path!r}"
        raise DataError(cause, f"{instead}data.source=files data.path=FOLDER for your own")
    for split in SPLITS:
        named = getattr(data, split)
        if named and named != split:
            cause = f"data.{split}={named} has no effect on built-in data, which have their own splits"
            setting = f"data.{split}={split if split == 'train' else ''}"
            remedy = f"to read your own: data.source=files data.path=FOLDER; for the built-in split: {setting}"
            raise DataError(cause, remedy)
    for key in data.languages:
        if (language := getattr(data, key)) not in BUILTIN_LANGUAGES:
            cause = f"data.{key}: built-in data is in {' and '.join(BUILTIN_LANGUAGES)}, not {language!r}"
            raise ConfigError(cause, "choose one of them")


def check_paths(config: Experiment) -> None:
    """Refuse missing data files, and built-in data that do not exist, without reading any file.

    Raises:
        ConfigError: see `check_builtin`.
        DataError: if a file is missing; the error names the setting. See also `check_builtin`.
    """
    data = config.data
    if data.source.name == "builtin":
        check_builtin(data)
    if data.source.name != "files":
        return
    if data.path and not Path(data.path).expanduser().exists():
        raise DataError(f"data.path: {data.path}: no such folder or file", f"the current folder is {Path.cwd()}")
    for split in SPLITS:
        name = getattr(data, split)
        if name in ("", "train") or path_exists(_folder(data.path) / name) or path_exists(Path(name).expanduser()):
            continue
        raise DataError(
            f"data.{split}: there is no {name} in {_folder(data.path)}, nor in the current folder {Path.cwd()}",
            f"give a name in the data's folder, or a path: data.{split}=PATH",
        )
