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
from tformer_cli.data.core import files
from tformer_cli.data.core.cells import Gate
from tformer_cli.data.core.hub import hub_origin, hub_rows, hub_splits, refuse_saved
from tformer_cli.data.core.media import visible_names
from tformer_cli.data.core.names import NAMES, VALIDATION_NAMES, with_ending
from tformer_cli.data.core.store import gather, text_digest
from tformer_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import ParallelDataConfig

ROLES = ("train", "validation", "test")


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


def find_splits(config: ParallelDataConfig) -> dict[str, str]:
    """Return the names of the existing splits, without reading them.

    A configured split must exist. Otherwise validation has the name `val`, `validation`, `valid` or `dev`. Test has the
    name `test`, or is the only split whose name begins with it.

    Returns:
        The names (stems or files, or names in a dataset) of the existing splits, by train, validation and test.

    Raises:
        ConfigError: if the data's location or languages are impossible.
        DataError: if the training split, or a configured one, does not exist.
    """
    return {role: name for role in ROLES if (name := _find(config, role)) is not None}


def read_parallel(config: ParallelDataConfig, split: str, *, seed: int = 1, skip: bool = False) -> ParallelSplit:
    """Read a split.

    Args:
        config: location of the data; its languages name the endings of files or columns.
        split: train, validation or test, as the configuration names them, or the name of a split (a stem or
            file).
        seed: seed of generated data (builtin).
        skip: skip rows of a table without a sentence, which are an error otherwise.

    Raises:
        ConfigError: see `find_splits`.
        DataError: if it is missing or malformed; names file and line.
    """
    name = _find(config, split) if split in ROLES else split
    for role in ("validation", "test"):
        if split == "train" and getattr(config, role):
            _find(config, role)  # reports a mistyped name before a long training split is read
    if name is None:
        raise no_split(config, split)
    match config.source.name:
        case "builtin":
            return _read_builtin(config, name, seed)
        case "hub":
            return _read_hub(config, name, skip)
        case _:
            return _read_files(config, name, skip)


def _find(config: ParallelDataConfig, role: str) -> str | None:
    """Return the name of the split for `role`; None if it is not configured and does not exist."""
    named = getattr(config, role)
    match config.source.name:
        case "builtin":
            check_builtin(config)
            return role
        case "hub":
            existing = hub_splits(config)
            if named:
                if named.partition("[")[0] not in existing:
                    raise DataError(f"{config.path}: no split {named!r}", f"splits there: {', '.join(existing)}")
                return named
        case _:
            if named:
                return _named_file(config, role, named)
            existing = _stems(config)
    if role == "validation":
        candidates = [name for name in existing if name.lower() in VALIDATION_NAMES]
        if len(candidates) > 1 and config.source.name == "files":
            cause = f"{config.path}: which one is the validation split: {' or '.join(candidates)}?"
            raise DataError(cause, f"name it: data.validation={candidates[0]}")
        return next((name for name in VALIDATION_NAMES if name in existing), next(iter(candidates), None))
    tests = [name for name in existing if name.lower().startswith("test")]
    return "test" if "test" in tests else tests[0] if len(tests) == 1 else None


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


def _folder(config: ParallelDataConfig) -> Path:
    """Return the folder to which the names of splits are relative."""
    path = Path(config.path).expanduser()
    if path.is_file():
        return path.parent
    if config.path and not path.is_dir():
        raise DataError(f"data.path: {config.path}: no such folder or file", "check the path")
    return path


def _named_file(config: ParallelDataConfig, role: str, named: str) -> str:
    path = Path(config.path).expanduser()
    if role == "train" and named == "train" and path.is_file():  # data.path is the table itself
        return path.name
    if not config.path and not Path(named).expanduser().is_absolute() and named == "train":
        raise ConfigError("data.path is not set", "name the folder that holds the data: data.path=...")
    if role == named == "train":
        existing = _stems(config)
        others = [stem for stem in existing if stem.lower() in NAMES["train"]]
        named = named if named in existing or len(others) != 1 else others[0]
    _locate(config, named)
    return named


def _stems(config: ParallelDataConfig) -> list[str]:
    """Return the sorted names of the splits in the folder that have both languages or are tables."""
    if not config.path or Path(config.path).expanduser().is_file():
        return []
    file_names = {path.name for path in _folder(config).iterdir() if path.is_file()}
    ending = f".{config.source_language}"
    stems = {name.removesuffix(ending) for name in file_names if name.endswith(ending)}
    pairs = {stem for stem in stems if stem and f"{stem}.{config.target_language}" in file_names}
    tables = {name[: -len(kind)] for name in file_names if (kind := files.table_kind(Path(name))) in files.TABLES}
    return sorted(pairs | tables)


def _locate(config: ParallelDataConfig, name: str) -> list[Path]:
    """Return the two text files, or the one table, of a split.

    Raises:
        DataError: if there are none, or several.
    """
    folder = _folder(config)
    named = Path(name).expanduser()
    stems = dict.fromkeys([folder / named, named])  # the same path if it is absolute
    languages = (config.source_language, config.target_language)
    for stem in stems:
        if files.table_kind(stem) and stem.is_file():
            return [stem]
        pair = [stem.with_name(f"{stem.name}.{language}") for language in languages]
        is_pair = all(path.is_file() for path in pair)
        tables = with_ending(stem, files.READABLE)
        if len(tables) + is_pair > 1:
            names = [*(["the pair of text files"] if is_pair else []), *(path.name for path in tables)]
            raise DataError(f"{stem}: which of {_list(names)}?", "give the table's full name, or move it away")
        if is_pair or tables:
            return pair if is_pair else tables
    for stem in stems:
        paths = sorted(stem.parent.iterdir()) if stem.parent.is_dir() else []
        endings = [path.name.removeprefix(stem.name + ".") for path in paths if path.name.startswith(stem.name + ".")]
        absent = [language for language in languages if language not in endings]
        if endings:
            raise DataError(f"{stem}.{absent[0]}: no such file", f"languages there: {_list(endings)}")
    refuse_saved(folder)
    names = visible_names(folder) if folder.is_dir() else []
    expected = f"{name}.{languages[0]} and {name}.{languages[1]}, or a .tsv, .csv, .jsonl, .parquet or .arrow file"
    raise DataError(f"no split {name!r} in {folder}", f"expected {expected}; there: {_list(names)}")


def _read_files(config: ParallelDataConfig, name: str, skip: bool) -> ParallelSplit:
    paths, languages = _locate(config, name), (config.source_language, config.target_language)
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
