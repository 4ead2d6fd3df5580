"""Images with captions: tables in the layout of Hugging Face's imagefolder, datasets of the hub, built-in shapes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.config.schema import BadSample
from tformer_cli.data.core import files
from tformer_cli.data.core.hub import hub_data, hub_named_rows, hub_origin
from tformer_cli.data.core.media_sources import Row, UndecodedSplit, split_of_hub, split_of_parts, split_of_stream
from tformer_cli.data.core.metadata import METADATA, Column, MetadataTables, with_wildcards
from tformer_cli.data.core.splits import Layout
from tformer_cli.data.image.images import Images, ImageSources, read_sources
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import CaptionDataConfig

IMAGE = ("file_name", "image", "path")
TEXT = ("text", "caption")


def read_captioned(config: CaptionDataConfig, split: str, *, seed: int, on_bad_sample: BadSample) -> dict[str, Images]:
    """Read a split of images whose `labels` are captions, see `read_sources`.

    Args:
        config: location and size of the images.
        split: train, validation or test.
        seed: seed of the draw of the validation split, and of built-in images.
        on_bad_sample: see `read_sources`.

    Raises:
        ConfigError: if the settings are impossible.
        DataError: see `read_sources`.
    """
    tables = _tables(config)
    find = functools.partial(_find, config, tables, seed)
    sources = ImageSources(caption_layout(config), find, config.text, grouped=True)
    return read_sources(config, split, sources, seed=seed, on_bad_sample=on_bad_sample)


def caption_layout(config: CaptionDataConfig) -> Layout:
    """Return the layout of captioned images: a split is a table, rows of a table, or a folder with a table."""
    tables = _tables(config)
    expected = (
        f"NAME with one of {', '.join(files.TABLES)}, a folder NAME with {METADATA}.csv, or {METADATA}.csv with NAME in"
        f" its column {config.split_column!r}"
    )
    named = functools.partial(with_wildcards, named=tables.named)
    return Layout(named, functools.partial(_train_folder, tables), expected, builtin=("train", "validation", "test"))


def _tables(config: CaptionDataConfig) -> MetadataTables:
    """Return the tables of images and captions; a caption must be text."""
    image = Column("data.image", config.image, IMAGE, "images")
    return MetadataTables(config, image, Column("data.text", config.text, TEXT, "captions"), "image", is_label=False)


def _train_folder(tables: MetadataTables, folder: Path, is_other: Callable[[str], bool]) -> list[Path]:
    return tables.train_folder(folder) or []


def _find(config: CaptionDataConfig, tables: MetadataTables, seed: int, location: str | list[Path]) -> UndecodedSplit:
    if isinstance(location, str):
        return _hub(config, tables, location) if config.source.name == "hub" else _shapes(config, location, seed)
    return split_of_parts([_of_table(tables, path) for path in location])


def _of_table(tables: MetadataTables, path: Path) -> UndecodedSplit:
    if (table := tables.find(path)) is not None:
        return table
    cause = f"{path}: no table of images and captions"
    raise DataError(cause, f"put a {METADATA}.csv with columns file_name and text among the images")


def _hub(config: CaptionDataConfig, tables: MetadataTables, split: str) -> UndecodedSplit:
    import datasets

    data, origin = hub_data(config, split), hub_origin(config, split)
    names = list(data.features or next((row for _, row in hub_named_rows(config, split, data, 1)), {}))
    columns = tables.columns(names, origin)
    images = split_of_hub(config, split, data, columns, datasets.Image, datasets.Image(decode=False))
    return tables.narrowed(images, columns, "", origin)


def _shapes(config: CaptionDataConfig, split: str, seed: int) -> UndecodedSplit:
    """Return built-in pictures of shapes, as files in the format PPM."""
    from tformer_cli.builtin import draws, shape_captions, shape_pictures, shapes

    count, size = config.size if split == "train" else 0, max(config.height_width)
    scenes = shapes.Scenes(split, seed, count, size)
    scenes.caption(0, config.language)  # raises an error for an unknown language

    def rows() -> Iterator[Row]:
        header = b"P6 %d %d 255\n" % (size, size)
        for index in range(len(scenes)):
            text, picture = scenes.caption(index, config.language), scenes.picture(index)
            yield Row(f"row {index + 1} of {config.path}", text, header + picture.tobytes())

    modules = (draws, shapes, shape_captions, shape_pictures)
    code = b"".join(Path(module.__file__ or "").read_bytes() for module in modules)
    key: list[object] = [config.path, hashlib.sha256(code).hexdigest(), split, seed, count, size, config.language]
    return split_of_stream(f"built-in {config.path}, {split}", key, len(scenes), rows)
