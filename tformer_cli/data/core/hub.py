"""Data sets of Hugging Face, by the `datasets` library: which splits there are, and their rows.

Nothing that the library reads here runs code or unpickles: `BUILDERS` lists the readers that may be used.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.data.core import files
from tformer_cli.data.core.cells import Gate, Location, Locations, class_names, has_short_floats, shortest
from tformer_cli.data.core.hub_log import quiet_hub, without_bars
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.regular_files import read_regular

if TYPE_CHECKING:
    from tformer_cli.config.schema import DataConfig

HUB_ROWS = 256  # in memory at once
BUILDERS = frozenset({"arrow", "audiofolder", "cache", "csv", "hdf5", "imagefolder", "json", "parquet", "text", "xml"})
"""Builders of the datasets library that are allowed; none unpickles (`webdataset` unpickles `.pth` files)."""


def hub_splits(config: DataConfig) -> list[str]:
    """Return the splits that a dataset has.

    Raises:
        ConfigError: if `data.path` is not set.
        DataError: if the dataset is not available, or has a builder that is not allowed.
    """
    if not config.path:
        raise ConfigError("data.path is not set", "name a dataset id or a local snapshot: data.path=...")
    import datasets

    path = hub_path(config.path)
    if is_saved_split(path):
        return ["train"]
    with _hub(config):
        _check_builder(config, path)
        return [str(name) for name in datasets.get_dataset_split_names(path, config.name or None)]


def is_saved_split(path: str | Path) -> bool:
    """Return whether `save_to_disk` wrote the folder for a single split: Arrow files with metadata of `datasets`."""
    return all((Path(path) / name).is_file() for name in ("state.json", "dataset_info.json"))


def _check_saved_files(folder: Path) -> None:
    """Refuse a saved split that names files elsewhere, or pipes and devices.

    Raises:
        DataError: if there is such a file; names the first one.
    """
    for entry in json.loads(read_regular(folder / "state.json"))["_data_files"]:
        name = str(entry["filename"])
        if Path(name).name != name or not (folder / name).is_file():
            raise DataError(f"{folder}: no file {name!r}, named in state.json", "save the data set again")


def refuse_saved(folder: Path) -> None:
    """Refuse a folder written by `save_to_disk`, and name the setting that reads it.

    Raises:
        DataError: if the folder is one.
    """
    if is_saved_split(folder) or (folder / "dataset_dict.json").is_file():
        raise DataError(f"{folder} was written by save_to_disk of datasets", "read it with data.source=hub")


def hub_path(path: str) -> str:
    """Return the path for the library; a folder becomes an absolute path, since some bare names mean builders.

    Raises:
        DataError: if the name is one of the library's builders, which would read files of the current folder and may
            unpickle.
    """
    from datasets import packaged_modules

    if Path(path).expanduser().is_dir():
        return str(Path(path).expanduser().absolute())
    if path.removeprefix("hf://datasets/").strip("/") in {*BUILDERS, *packaged_modules._PACKAGED_DATASETS_MODULES}:
        raise DataError(
            f"data.path: {path!r} is a builder of the datasets library, not a data set",
            "give a folder, or the id of a data set as OWNER/NAME; for files: data.source=files",
        )
    return path


def _check_builder(config: DataConfig, path: str) -> None:
    """Refuse datasets that need code or a builder that is not known to be safe, without reading them.

    Raises:
        DataError: if the builder is refused; names it.
    """
    import datasets

    module = type(datasets.load_dataset_builder(path, config.name or None)).__module__
    package, _, name = module.partition("datasets.packaged_modules.")
    name = name.partition(".")[0]
    if package or name not in BUILDERS:
        raise DataError(
            f"data.path: {config.path}: the datasets library would read it with {name or module!r}, which tformer"
            " does not use",
            "convert it to Parquet, Arrow, CSV, JSON lines or text",
        )


def hub_origin(config: DataConfig, name: str) -> str:
    """Return the source of a dataset's split, for messages."""
    return " ".join(part for part in (config.path, config.name, name) if part)


def hub_rows(
    config: DataConfig,
    name: str,
    columns: Sequence[str],
    *,
    setting: str = files.PAIR_SETTINGS,
    values: Collection[str] = (),
    gate: Gate | None = None,
    blank: Collection[str] = (),
    locations: Locations | None = None,
) -> Iterator[list[str]]:
    """Yield the named columns of a dataset's split, row by row; see `files.pick` for the arguments.

    Raises:
        DataError: if the dataset, the split or a column is not available.
    """
    data, origin = hub_data(config, name), hub_origin(config, name)
    class_lists = {column: class_names(feature) for column, feature in (data.features or {}).items()}
    classes = {column: names for column, names in class_lists.items() if names is not None}
    rows = hub_named_rows(config, name, data)
    yield from files.pick(
        rows, columns, origin, setting, values, gate=gate, blank=blank, locations=locations, classes=classes
    )


def hub_named_rows(
    config: DataConfig, name: str, data: Any, rows_at_once: int = HUB_ROWS
) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Yield the rows of a split loaded by `hub_data`: the location of each, for errors, and its values by column.

    Raises:
        DataError: if the dataset cannot be read, or not to its end.
    """
    number, origin = 0, hub_origin(config, name)
    with _hub(config):
        schema = data.features.arrow_schema if data.features else ()
        short = {field.name for field in schema if has_short_floats(str(field.type))}
        for batch in data.iter(batch_size=rows_at_once):
            batch = {column: shortest(values) if column in short else values for column, values in batch.items()}
            for values in zip(*batch.values(), strict=True):
                number += 1
                yield Location(origin, number, False), dict(zip(batch, values, strict=True))


def hub_data(config: DataConfig, name: str) -> Any:
    """Load a split as a `datasets.Dataset`, or as an `IterableDataset` if `data.streaming` is set.

    Raises:
        DataError: if the dataset or the split is not available.
    """
    import datasets

    path = hub_path(config.path)
    with _hub(config):
        if is_saved_split(path):
            _check_saved_files(Path(path))
            saved = datasets.Dataset.load_from_disk(path)
            return saved.to_iterable_dataset() if config.streaming else saved
        _check_builder(config, path)
        return datasets.load_dataset(path, config.name or None, split=name, streaming=config.streaming)


@contextlib.contextmanager
def _hub(config: DataConfig) -> Iterator[None]:
    """Convert the library's errors to `DataError` and disable its progress bars within the context."""
    try:
        with quiet_hub(), without_bars():
            yield
    except DataError:
        raise
    except Exception as error:
        raise _hub_error(config, error) from error


def _hub_error(config: DataConfig, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(". ")
    return DataError(
        f"data.path: {config.path}: {reason}",
        "check its name, data.name and the network, or give a local folder",
    )
