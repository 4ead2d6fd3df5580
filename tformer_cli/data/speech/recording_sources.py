"""Sources of recordings: tables, folders with transcripts, Sphinx's lists, Hugging Face datasets, built-in data."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.config.schema import Features
from tformer_cli.data.core import files
from tformer_cli.data.core.hub import hub_data, hub_named_rows, hub_origin
from tformer_cli.data.core.media import listing, shown
from tformer_cli.data.core.media_sources import (
    Row,
    UndecodedSplit,
    split_of_files,
    split_of_hub,
    split_of_parts,
    split_of_stream,
)
from tformer_cli.data.core.metadata import METADATA, Column, MetadataTables, with_wildcards
from tformer_cli.data.core.names import with_ending
from tformer_cli.data.core.splits import Layout, is_other_split
from tformer_cli.data.speech import audio, stored_features
from tformer_cli.errors import ConfigError, DataError, Library, library

if TYPE_CHECKING:
    from tformer_cli.config.schema import SpeechDataConfig

ESPEAK = Library("espeakng_loader", "espeakng-loader", "demo")
"""The library that synthesises the built-in recordings."""
AUDIO = ("file_name", "audio", "path", "audio_filepath")
TEXT = ("transcription", "transcript", "sentence", "text")
LISTS, TRANSCRIPTS = ".fileids", ".transcription"
"""Endings of Sphinx's lists: etc/NAME_SPLIT.fileids."""
SPHINX_LINE = re.compile(r"(?:<s>)?(.*?)(?:</s>)?\s*\(([^()]+)\)\s*")
BESIDE = ".trans.txt"
"""Ending of LibriSpeech's transcripts, with a line of stem and transcript for each recording."""


@dataclass(frozen=True)
class SpeechSource:
    """The location and kind of the recordings of a split.

    Attributes:
        config: location of the recordings.
        features: whether they are sound or stored features.
        seed: seed of generated recordings.
    """

    config: SpeechDataConfig
    features: Features
    seed: int

    @property
    def endings(self) -> tuple[str, ...]:
        """Return the file endings that are read."""
        return stored_features.ENDINGS if self.features is Features.stored else audio.ENDINGS

    @property
    def tables(self) -> MetadataTables:
        """Return the tables of recordings and transcripts."""
        config = self.config
        audio_column = Column("data.audio", config.audio, AUDIO, "recordings")
        return MetadataTables(config, audio_column, Column("data.text", config.text, TEXT, "transcripts"), "recording")

    @property
    def layout(self) -> Layout:
        """Return the layout of recordings.

        A split is a table, rows of a table, a folder of recordings with their transcripts, or a list of Sphinx's.
        """
        tables = ", ".join(files.TABLES)
        return Layout(
            functools.partial(with_wildcards, named=functools.partial(_named, self.tables)),
            functools.partial(_train_folder, self),
            f"NAME with one of {tables}, a folder NAME, {METADATA}.csv with NAME in its column"
            f" {self.config.split_column!r}, or etc/*_NAME{LISTS}",
        )  # fmt: skip


def find_recordings(source: SpeechSource, location: str | list[Path]) -> UndecodedSplit:
    """Return the recordings of a split before they are decoded.

    Args:
        source: the source of the data set.
        location: the result of `find_split`.

    Raises:
        DataError: if a folder has no recordings, or a table lacks a column. Faults of a recording are raised when it is
            read.
        ConfigError: if settings are impossible, or built-in speech is not installed.
    """
    config = source.config
    if isinstance(location, str):
        return (_hub if config.source.name == "hub" else _numbers)(source, location)
    return split_of_parts([_of_path(source, path) for path in location])


def _of_path(source: SpeechSource, path: Path) -> UndecodedSplit:
    if (table := source.tables.find(path)) is not None:
        return table
    if path.is_dir():
        return _folder(source, path)
    if path.suffix == LISTS:
        return _sphinx(source, path)
    cause = f"{path}: neither a table, nor a folder of recordings, nor a list of Sphinx's"
    raise DataError(cause, f"tables end with one of {', '.join(files.TABLES)}")


# --- files of a split ---


def _named(tables: MetadataTables, path: Path) -> list[Path]:
    if matches := tables.named(path):
        return matches
    ending = f"_{path.name}{LISTS}".lower()
    lists = sorted(file for file in (path.parent / "etc").glob(f"*{LISTS}") if file.name.lower().endswith(ending))
    return lists[:1] or ([path] if path.is_dir() else [])


def _train_folder(source: SpeechSource, folder: Path, is_other: Callable[[str], bool]) -> list[Path]:
    if (table := source.tables.train_folder(folder)) is not None:
        return table
    return [folder] if listing(folder, source.endings, is_other).files else []


# --- files ---


def _folder(source: SpeechSource, folder: Path) -> UndecodedSplit:
    """Return the recordings in a folder with transcripts beside them: a.txt for a.wav, or a line of a *.trans.txt."""
    is_all = folder == Path(source.config.path).expanduser()
    listed = listing(folder, source.endings, is_other_split(source.config) if is_all else lambda name: False)
    listed.others = [path for path in listed.others if path.suffix.lower() != ".txt"]
    left_out = listed.left_out()
    if not listed.files:
        cause = f"{shown(str(folder))}: no recording" + (f", and {left_out}" if left_out else "")
        raise DataError(cause, f"expected files that end with one of {', '.join(source.endings)}")
    in_folder = functools.cache(_lines_beside)
    rows = [Row.of_file(path, _text_beside(path) or in_folder(path.parent).get(path.stem)) for path in listed.files]
    return split_of_files(str(folder), rows, (left_out,) if left_out else ())


def _text_beside(recording: Path) -> str | None:
    """Return the content of the text file beside a recording; None if there is none, or it is empty."""
    candidates = (recording.with_suffix(ending) for ending in (".txt", ".TXT"))
    path = next((path for path in candidates if path.is_file() and path.stat().st_size), None)
    return None if path is None else "\n".join(files.lines(path))


def _lines_beside(folder: Path) -> dict[str, str]:
    """Return the transcripts in a folder's *.trans.txt files by the stem of the recording."""
    lines = chain.from_iterable(files.lines(path) for path in sorted(folder.glob(f"*{BESIDE}")))
    return {stem: text for stem, _, text in (line.partition(" ") for line in lines)}


def _sphinx(source: SpeechSource, path: Path) -> UndecodedSplit:
    """Return the recordings of a list of Sphinx's.

    The list contains paths below feat/ or wav/. The transcripts are in the file beside it, in lines such as
    "<s> hello </s> (PATH)".
    """
    texts = {}
    transcripts = path.with_suffix(TRANSCRIPTS)
    for number, line in enumerate(files.lines(transcripts), 1):
        if line.strip():
            match = SPHINX_LINE.fullmatch(line)
            if match is None:
                raise DataError(f"{transcripts}:{number}: not a transcript, then its recording's name in brackets")
            if texts.setdefault(match[2], match[1]) != match[1]:
                cause = f"{transcripts}:{number}: {match[2]!r} has another transcript above"
                raise DataError(cause, "write the path of each recording as the list does, such as (speaker/name)")
    base = path.parent.parent / ("feat" if source.features is Features.stored else "wav")
    rows = []
    for name in filter(None, map(str.strip, files.lines(path))):
        path_stem = base / name
        matches = with_ending(path_stem, source.endings)
        file = matches[0] if matches else path_stem.with_name(path_stem.name + source.endings[0])
        rows.append(Row.of_file(file, texts.get(name, texts.get(path_stem.name))))
    return split_of_files(str(path), rows)


# --- Hugging Face ---


def _hub(source: SpeechSource, split: str) -> UndecodedSplit:
    import datasets

    config, origin = source.config, hub_origin(source.config, split)
    data = hub_data(config, split)
    names = list(data.features or next((row for _, row in hub_named_rows(config, split, data, 1)), {}))
    columns = source.tables.columns(names, origin)
    undecoded = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}  # Audio itself needs ffmpeg
    rows = split_of_hub(config, split, data, columns, datasets.Audio, undecoded)
    return source.tables.narrowed(rows, columns, "", origin)


# --- built in ---


def _numbers(source: SpeechSource, split: str) -> UndecodedSplit:
    """Return the built-in numbers, which eSpeak NG synthesises in several voices."""
    config = source.config
    if config.only or source.features is Features.stored:
        raise ConfigError(f"data.path={config.path} is sound without columns", "features.kind=log_mel, data.only=")
    library(*ESPEAK)
    from tformer_cli.builtin import spoken_numbers

    size, language = config.size if split == "train" else 0, config.builtin_language
    spoken_numbers.writer(language)  # raises an error for an unknown language

    def rows() -> Iterator[Row]:
        spoken = spoken_numbers.spoken_numbers(split, size, source.seed, config.sample_rate, language)
        for name, samples, text in spoken:
            yield Row(f"{name} of {config.path}", text, audio.wav(audio.to_sound(samples), config.sample_rate))

    code = hashlib.sha256(Path(spoken_numbers.__file__).read_bytes()).hexdigest()
    voices = importlib.metadata.version("espeakng-loader")
    key: list[object] = [config.path, code, voices, split, size, source.seed, config.sample_rate, language]
    return split_of_stream(f"built-in {config.path}, {split}", key, None, rows)
