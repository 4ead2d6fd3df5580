"""Sentence pairs from files, from a Hugging Face dataset, or built in.

A split is written to files as it is read (`tformer_cli.data.core.store`), so that it may be larger than memory. For
training, `tformer_cli.data.text.encoded` writes a memory-mapped array of token ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.config.paths import check_builtin
from tformer_cli.config.schema.data import BUILTIN_LANGUAGES
from tformer_cli.config.splits import SPLITS
from tformer_cli.data.core import files
from tformer_cli.data.core.cells import Gate
from tformer_cli.data.core.hub import hub_origin, hub_rows, hub_splits
from tformer_cli.data.core.media import visible_names
from tformer_cli.data.core.names import NAMES, with_ending
from tformer_cli.data.core.splits import Layout, find_split
from tformer_cli.data.core.store import gather, text_digest
from tformer_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import ParallelDataConfig


@dataclass(frozen=True)
class ParallelSplit:
    """The pairs of a split, in the order of the file.

    Attributes:
        sources: source sentences, in files or in memory.
        targets: target sentences, as many as sources.
        origin: source of the pairs, for messages.
        hash: SHA-256 of the text, in hex; the same pairs have the same hash in every format.
        notes: notes about skipped rows, one line each.
    """

    sources: Sequence[str]
    targets: Sequence[str]
    origin: str
    hash: str = field(default="")
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the pairs and compute the hash."""
        if len(self.sources) != len(self.targets):
            raise ValueError(f"{len(self.sources)} sources and {len(self.targets)} targets")
        object.__setattr__(self, "hash", text_digest([self.sources, self.targets], self.origin, "row"))

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.sources)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield the pairs."""
        return zip(self.sources, self.targets, strict=True)


def find_pairs(config: ParallelDataConfig, split: str) -> str | list[Path] | None:
    """Return the two files or the table of a split, or the name of a dataset's split; see `find_split`.

    Raises:
        ConfigError: if the data's location or languages are impossible.
        DataError: if the training split, or a configured one, does not exist.
    """
    if config.source.name == "files" and not config.path and config.train == "train":
        raise ConfigError("data.path is not set", "name the folder that holds the data: data.path=...")
    return find_split(config, split, _layout(config))


def read_parallel(config: ParallelDataConfig, split: str, *, seed: int = 1, skip: bool = False) -> ParallelSplit:
    """Read a split.

    Args:
        config: location of the data; its languages name the endings of files or columns.
        split: train, validation or test.
        seed: seed of generated data (builtin).
        skip: skip rows of a table without a sentence, which are an error otherwise.

    Raises:
        ConfigError: see `find_pairs`.
        DataError: if it is missing or malformed; names file and line.
    """
    location = find_pairs(config, split)
    for other in ("validation", "test"):
        if split == "train" and getattr(config, other):
            find_pairs(config, other)  # reports a mistyped name before a long training split is read
    if location is None:
        raise no_split(config, split)
    if not isinstance(location, str):
        return _read_files(config, location, skip)
    return _read_builtin(config, split, seed) if config.source.name == "builtin" else _read_hub(config, location, skip)


def no_split(config: ParallelDataConfig, role: str) -> DataError:
    """Return the error for a split that is not configured and does not exist; it names the splits or files there."""
    existing = {"files": _stems, "hub": hub_splits}[config.source.name](config)
    instead = "; or score --split validation" if role == "test" else ""
    cause, folder = f"{config.path or '.'}: no {role} split was found", Path(config.path).expanduser()
    if config.source.name == "files" and config.path and folder.is_dir():
        names = visible_names(folder)
        unread = [name for name in names if name.partition(".")[0].lower() in NAMES[role]]  # of other languages
        if unread or not existing:
            expected = f"{role}.{config.source_language} and {role}.{config.target_language}, or a table of both"
            languages = "data.source_language=... data.target_language=... name other languages"
            return DataError(cause, f"expected {expected}; there: {_list(unread or names)}; {languages}{instead}")
    return DataError(cause, f"name it: data.{role}=..., there: {_list(existing)}{instead}")


def _list(names: Sequence[str], max_names: int = 12) -> str:
    remainder = [f"and {len(names) - max_names} more"] if len(names) > max_names else []
    return ", ".join([*names[:max_names], *remainder]) or "nothing"


# --- files --------------------------------------------------------------------------------------------------


def _layout(config: ParallelDataConfig) -> Layout:
    """Return the layout of pairs of text files, one for each language, and of tables with a column for each."""
    languages = (config.source_language, config.target_language)

    def named(stem: Path) -> list[Path]:
        if files.table_kind(stem) and stem.is_file():
            return [stem]
        pair = [stem.with_name(f"{stem.name}.{language}") for language in languages] if stem.name else []
        is_pair = bool(pair) and all(path.is_file() for path in pair)
        tables = with_ending(stem, files.READABLE) if stem.name else []
        if len(tables) + is_pair > 1:
            names = [*(["the pair of text files"] if is_pair else []), *(path.name for path in tables)]
            raise DataError(f"{stem}: which of {_list(names)}?", "give the table's full name, or move it away")
        return pair if is_pair else tables

    def explain(stem: Path) -> None:
        names = [path.name for path in sorted(stem.parent.iterdir())] if stem.parent.is_dir() else []
        endings = [name.removeprefix(f"{stem.name}.") for name in names if name.startswith(f"{stem.name}.")]
        absent = [language for language in languages if language not in endings]
        if endings:
            raise DataError(f"{stem}.{absent[0]}: no such file", f"languages there: {_list(endings)}")

    expected = f"NAME.{languages[0]} and NAME.{languages[1]}, or a .tsv, .csv, .jsonl, .parquet or .arrow file"
    return Layout(named, lambda folder, is_other: [], expected, builtin=SPLITS, explain=explain)


def _stems(config: ParallelDataConfig) -> list[str]:
    """Return the sorted names of the splits in the folder that have both languages or are tables, for an error."""
    folder = Path(config.path).expanduser()
    if not config.path or not folder.is_dir():
        return []
    file_names = {path.name for path in folder.iterdir() if path.is_file()}
    ending = f".{config.source_language}"
    stems = {name.removesuffix(ending) for name in file_names if name.endswith(ending)}
    pairs = {stem for stem in stems if stem and f"{stem}.{config.target_language}" in file_names}
    tables = {name[: -len(kind)] for name in file_names if (kind := files.table_kind(Path(name))) in files.TABLES}
    return sorted(pairs | tables)


def _read_files(config: ParallelDataConfig, paths: list[Path], skip: bool) -> ParallelSplit:
    languages = (config.source_language, config.target_language)
    if len(paths) == 1:
        gate = Gate(frozenset(config.missing), skip)
        return _of_rows(config, files.table_rows(paths[0], languages, names=None, gate=gate), gate, str(paths[0]))
    sources, targets = (
        gather(([line] for line in files.lines(path)), 1, cache=config.cache, origin=str(path))[0] for path in paths
    )
    if len(sources) != len(targets):
        raise DataError(
            f"{paths[0]} has {len(sources)} lines and {paths[1]} has {len(targets)}",
            "line by line, each must be the translation of the other",
        )
    return ParallelSplit(sources, targets, origin=f"{paths[0]}, {paths[1]}")


def _of_rows(config: ParallelDataConfig, rows: Iterator[list[str]], gate: Gate, origin: str) -> ParallelSplit:
    """Return the pairs of a table."""
    sources, targets = gather(rows, 2, cache=config.cache, origin=origin)
    return ParallelSplit(sources, targets, origin=origin, notes=gate.notes(len(sources)))


def _read_hub(config: ParallelDataConfig, name: str, skip: bool) -> ParallelSplit:
    gate = Gate(frozenset(config.missing), skip)
    rows = hub_rows(config, name, (config.source_language, config.target_language), gate=gate)
    return _of_rows(config, rows, gate, hub_origin(config, name))


# --- built in -----------------------------------------------------------------------------------------------


def _read_builtin(config: ParallelDataConfig, split: str, seed: int) -> ParallelSplit:
    from tformer_cli import builtin

    check_builtin(config)
    pairs = builtin.parallel(config.path, split, size=config.size if split == "train" else 0, seed=seed)
    columns: dict[str, list[str]] = dict(zip(BUILTIN_LANGUAGES, map(list, zip(*pairs, strict=True)), strict=True))
    sources, targets = columns[config.source_language], columns[config.target_language]
    return ParallelSplit(sources, targets, origin=f"built-in {config.path}, {split}")
