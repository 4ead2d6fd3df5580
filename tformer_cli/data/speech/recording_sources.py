"""Where the recordings of a split are: tables, transcripts beside them, Sphinx's lists, Hugging Face, built in."""

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
from tformer_cli.data.core.media_sources import Found, Row, of_files, of_hub, of_stream
from tformer_cli.data.core.metadata import METADATA, Column, MetadataTables, with_wildcards
from tformer_cli.data.core.names import with_ending
from tformer_cli.data.core.splits import Layout, is_other_split
from tformer_cli.data.speech import audio, stored_features
from tformer_cli.errors import ConfigError, DataError, library

if TYPE_CHECKING:
    from tformer_cli.config.schema import SpeechDataConfig

AUDIO = ("file_name", "audio", "path", "audio_filepath")
TEXT = ("transcription", "transcript", "sentence", "text")
LISTS, TRANSCRIPTS = ".fileids", ".transcription"  # of Sphinx: etc/NAME_SPLIT.fileids
SPHINX_LINE = re.compile(r"(?:<s>)?(.*?)(?:</s>)?\s*\(([^()]+)\)\s*")
BESIDE = ".trans.txt"  # of LibriSpeech: a line is a stem and what is said
NUMBERS = "numbers"


@dataclass(frozen=True)
class Wanted:
    """What is looked for.

    Attributes:
        config: where.
        features: whether it is sound or features that were stored.
        seed: of recordings that are generated.
    """

    config: SpeechDataConfig
    features: Features
    seed: int

    @property
    def endings(self) -> tuple[str, ...]:
        """Of the files."""
        return stored_features.ENDINGS if self.features is Features.stored else audio.ENDINGS

    @property
    def tables(self) -> MetadataTables:
        """Tables of recordings and transcripts."""
        config = self.config
        audio_column = Column("data.audio", config.audio, AUDIO, "recordings")
        return MetadataTables(config, audio_column, Column("data.text", config.text, TEXT, "transcripts"), "recording")

    @property
    def layout(self) -> Layout:
        """A split is a table, rows of one, a folder of recordings with their transcripts, or a list of Sphinx's."""
        tables = ", ".join(files.TABLES)
        return Layout(
            functools.partial(with_wildcards, named=functools.partial(_named, self.tables)),
            functools.partial(_whole, self),
            f"NAME with one of {tables}, a folder NAME, {METADATA}.csv with NAME in its column"
            f" {self.config.split_column!r}, or etc/*_NAME{LISTS}",
        )  # fmt: skip


def find_recordings(wanted: Wanted, found: str | list[Path]) -> Found:
    """The recordings of what `find_split` found.

    Raises:
        DataError: if a folder has no recordings, or a table no such column. What is wrong with a recording comes when
            it is read.
        ConfigError: if settings are impossible, or built-in speech is not installed.
    """
    config = wanted.config
    if isinstance(found, str):
        return (_hub if config.source.name == "hub" else _numbers)(wanted, found)
    parts = [_of_place(wanted, path) for path in found]
    if len(parts) == 1:
        return parts[0]
    keys = [part.key for part in parts]
    return of_stream(
        ", ".join(part.origin for part in parts), None if None in keys else ["parts", *keys], None,
        lambda: chain.from_iterable(part.rows() for part in parts),
    )  # fmt: skip


def _of_place(wanted: Wanted, path: Path) -> Found:
    if (table := wanted.tables.find(path)) is not None:
        return table
    if path.is_dir():
        return _folder(wanted, path)
    if path.suffix == LISTS:
        return _sphinx(wanted, path)
    cause = f"{path}: neither a table, nor a folder of recordings, nor a list of Sphinx's"
    raise DataError(cause, f"tables end with one of {', '.join(files.TABLES)}")


# --- which ---


def _named(tables: MetadataTables, place: Path) -> list[Path]:
    if there := tables.named(place):
        return there
    ending = f"_{place.name}{LISTS}".lower()
    lists = sorted(path for path in (place.parent / "etc").glob(f"*{LISTS}") if path.name.lower().endswith(ending))
    return lists[:1] or ([place] if place.is_dir() else [])


def _whole(wanted: Wanted, folder: Path, is_other: Callable[[str], bool]) -> list[Path]:
    if (table := wanted.tables.whole(folder)) is not None:
        return table
    return [folder] if listing(folder, wanted.endings, is_other).files else []


# --- files ---


def _folder(wanted: Wanted, folder: Path) -> Found:
    """Recordings that have their transcripts beside them: a.txt for a.wav, or a line of a *.trans.txt."""
    is_all = folder == Path(wanted.config.path).expanduser()
    listed = listing(folder, wanted.endings, is_other_split(wanted.config) if is_all else lambda name: False)
    listed.others = [path for path in listed.others if path.suffix.lower() != ".txt"]
    left_out = listed.left_out()
    if not listed.files:
        cause = f"{shown(str(folder))}: no recording" + (f", and {left_out}" if left_out else "")
        raise DataError(cause, f"expected files that end with one of {', '.join(wanted.endings)}")
    in_folder = functools.cache(_lines_beside)
    rows = [Row.of_file(path, _text_beside(path) or in_folder(path.parent).get(path.stem)) for path in listed.files]
    return of_files(str(folder), rows, (left_out,) if left_out else ())


def _text_beside(recording: Path) -> str | None:
    """Return the content of the text file beside a recording; None if there is none, or it is empty."""
    places = (recording.with_suffix(ending) for ending in (".txt", ".TXT"))
    path = next((place for place in places if place.is_file() and place.stat().st_size), None)
    return None if path is None else "\n".join(files.lines(path))


def _lines_beside(folder: Path) -> dict[str, str]:
    """What is said in each recording of a folder, by its stem."""
    lines = chain.from_iterable(files.lines(path) for path in sorted(folder.glob(f"*{BESIDE}")))
    return {stem: text for stem, _, text in (line.partition(" ") for line in lines)}


def _sphinx(wanted: Wanted, path: Path) -> Found:
    """A list of places below feat/ or wav/, and in the file beside it a line for each: what is said (PLACE)."""
    texts = {}
    transcripts = path.with_suffix(TRANSCRIPTS)
    for number, line in enumerate(files.lines(transcripts), 1):
        if line.strip():
            match = SPHINX_LINE.fullmatch(line)
            if match is None:
                raise DataError(f"{transcripts}:{number}: not a transcript, then its recording's name in brackets")
            texts[match[2]] = match[1]
    base = path.parent.parent / ("feat" if wanted.features is Features.stored else "wav")
    rows = []
    for name in filter(None, map(str.strip, files.lines(path))):
        place = base / name
        there = with_ending(place, wanted.endings)
        file = there[0] if there else place.with_name(place.name + wanted.endings[0])
        rows.append(Row.of_file(file, texts.get(name, texts.get(place.name))))
    return of_files(str(path), rows)


# --- Hugging Face ---


def _hub(wanted: Wanted, split: str) -> Found:
    import datasets

    config, origin = wanted.config, hub_origin(wanted.config, split)
    data = hub_data(config, split)
    names = list(data.features or next((row for _, row in hub_named_rows(config, split, data, 1)), {}))
    columns = wanted.tables.columns(names, origin)
    undecoded = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}  # Audio itself needs ffmpeg
    found = of_hub(config, split, data, columns, datasets.Audio, undecoded)
    return wanted.tables.narrowed(found, columns, "", origin)


# --- built in ---


def _numbers(wanted: Wanted, split: str) -> Found:
    """Numbers that eSpeak NG says in several voices."""
    config = wanted.config
    if config.path != NUMBERS:
        raise DataError(f"no built-in recordings are called {config.path!r}", f"data.path={NUMBERS}")
    if config.only or wanted.features is Features.stored:
        raise ConfigError(f"data.path={NUMBERS} is sound without columns", "features.kind=log_mel, data.only=")
    library("espeakng_loader", "espeakng-loader", "demo")
    from tformer_cli.builtin import spoken_numbers

    size, language = config.size if split == "train" else 0, config.builtin_language
    spoken_numbers.writer(language)  # refuses a language that there is not

    def rows() -> Iterator[Row]:
        spoken = spoken_numbers.spoken_numbers(split, size, wanted.seed, config.sample_rate, language)
        for name, samples, text in spoken:
            yield Row(f"{name} of {NUMBERS}", text, audio.wav(audio.to_sound(samples), config.sample_rate))

    code = hashlib.sha256(Path(spoken_numbers.__file__).read_bytes()).hexdigest()
    voices = importlib.metadata.version("espeakng-loader")
    key: list[object] = [NUMBERS, code, voices, split, size, wanted.seed, config.sample_rate, language]
    return of_stream(f"built-in {NUMBERS}, {split}", key, None, rows)
