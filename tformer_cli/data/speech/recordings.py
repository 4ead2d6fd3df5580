"""Recordings with transcripts: read once into memory-mapped sound at one rate, or into features that were stored.

What is read is found in `tformer_cli.data.speech.recording_sources`; `tformer_cli.data.speech.audio` decodes one.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tformer_cli.config.schema import BadSample, Features
from tformer_cli.data.core.media import content_digest, in_order, kept, readable
from tformer_cli.data.core.splits import draw, read_split
from tformer_cli.data.core.store import ArrayWriter, Ragged, RaggedWriter, text_digest
from tformer_cli.data.speech.audio import EXTRA, BadRecording, read_recording, read_sound, recording_files
from tformer_cli.data.speech.recording_sources import Wanted, find_recordings
from tformer_cli.data.speech.stored_features import read_features
from tformer_cli.errors import DataError, library

if TYPE_CHECKING:
    from tformer_cli.config.schema import FeatureConfig, SpeechDataConfig
    from tformer_cli.data.core.cache import Open
    from tformer_cli.data.core.media_sources import Found, Row

__all__ = ["BadRecording", "Recordings", "read_features", "read_recording", "read_recordings", "recording_files"]

FORMAT = 2
"""Counts changes of what is kept of recordings."""
ARRAYS = ("content", "offsets", "digests", "about")
ROWS_A_JOB = 4


@dataclass(frozen=True)
class Recordings:
    """The recordings of a split.

    Attributes:
        sound: item i is a recording: samples at `data.sample_rate`, (n,) int16 of which 32,768 is full scale; or, of
            stored features, frames, (T, bins) float32.
        texts: what is said in each; runs of white space are single spaces.
        names: what errors call each: its file, or "row 17 of FILE".
        digests: the same for the same sound, (N,) uint64.
        origin: where they come from, for people.
        hash: SHA-256 of all sound and texts, in hex.
        notes: what was left out, and what else the user should know, a line each.
    """

    sound: Ragged
    texts: list[str]
    names: list[str]
    digests: np.ndarray
    origin: str
    hash: str = field(default="")
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Compute the hash."""
        digest = hashlib.sha256(self.digests.tobytes())
        digest.update(text_digest([self.texts], self.origin, "recording").encode())
        object.__setattr__(self, "hash", digest.hexdigest())

    def __len__(self) -> int:
        """Number of recordings."""
        return len(self.texts)

    @property
    def lengths(self) -> np.ndarray:
        """Samples of each, or frames of stored features, (N,) int64."""
        return self.sound.lengths

    def select(self, rows: np.ndarray, origin: str) -> Recordings:
        """Some of the recordings."""
        texts, names = ([column[row] for row in rows] for column in (self.texts, self.names))
        return Recordings(self.sound.select(rows), texts, names, self.digests[rows], origin, notes=self.notes)

    def place(self, row: int) -> str:
        """What an error calls a recording."""
        return self.names[row]


def read_recordings(
    config: SpeechDataConfig, features: FeatureConfig, split: str, *, seed: int, on_bad_sample: BadSample
) -> dict[str, Recordings]:
    """Read a split, as `read_split`: where there is no validation split, recordings drawn by the seed serve.

    Recordings are decoded and resampled once and kept in the cache, 16 bits a sample.

    Args:
        config: where they are, and their rate.
        features: whether sound is read or stored features, and how many numbers a frame of these has.
        split: train, validation or test.
        seed: draws the validation split, and recordings that are generated.
        on_bad_sample: whether a recording that cannot be read, or has no transcript, is an error, or left out and named
            in the notes.

    Raises:
        ConfigError: if the settings are impossible.
        DataError: if the split is not there, or malformed; names the file or row. `BadRecording` if it is one.
    """
    wanted = Wanted(config, features.kind, seed)
    read = functools.partial(_read, wanted, features.bins, on_bad_sample is BadSample.skip)
    return read_split(config, split, read, functools.partial(draw, seed=seed), wanted.layout)


# --- reading ---


@dataclass(frozen=True)
class _Reading:
    """How the recordings of a split become arrays.

    Attributes:
        recordings: what is read.
        sample_rate: of the sound.
        bins: numbers a frame of stored features; 0: it is sound.
        skip: whether one that cannot be read is left out.
    """

    recordings: Found
    sample_rate: int
    bins: int
    skip: bool

    @property
    def key(self) -> list[object] | None:
        """All that the arrays depend on; None: there is no telling."""
        if self.recordings.key is None:
            return None
        return [FORMAT, self.recordings.key, self.bins or [self.sample_rate, *_versions()]]

    def write(self, stream: Open) -> None:
        """Write the arrays of `ARRAYS`; recordings are decoded in parallel and come in their order."""
        content = RaggedWriter(stream("content"), stream("offsets"), np.float32 if self.bins else np.int16)
        digests = ArrayWriter(stream("digests"), np.uint64)
        names, texts, bad = [], [], []
        with in_order(self.recordings.rows(), self._work, ROWS_A_JOB) as done:
            for row, (values, text, digest) in readable(done, self.skip, bad):
                content.extend(values.reshape(-1), np.array([values.size]))
                digests.append(np.array([digest]))
                names.append(row.name)
                texts.append(text)
        if not names:
            cause = f"no recording of {len(bad):,} can be read: {bad[0]}" if bad else "there are no recordings"
            raise DataError(f"{self.recordings.origin}: {cause}")
        content.finish()
        digests.finish()
        about = {"names": names, "texts": texts, "bad": [(each.name, each.reason) for each in bad]}
        np.save(stream("about"), np.frombuffer(json.dumps(about).encode(), np.uint8), allow_pickle=False)

    def _work(self, row: Row) -> tuple[np.ndarray, str, int] | BadRecording:
        """What is kept of a recording: its samples or frames, what is said, and its digest."""
        try:
            text = " ".join((row.text or "").split())
            if not text:
                raise BadRecording(
                    row.name, row.fault or "no transcript, neither in metadata.csv nor in a text file beside it"
                )
            if self.bins:
                values = read_features(row.content, self.bins, row.name)
            else:
                values = read_sound(row.content, self.sample_rate, row.name)
            return values, text, content_digest(str(values.shape), values.reshape(-1).view(np.uint8).data)
        except BadRecording as bad:
            return bad


def _versions() -> list[str]:
    """Of what decodes and resamples."""
    soundfile, soxr = (library(name, name, EXTRA) for name in ("soundfile", "soxr"))
    return [soundfile.__libsndfile_version__, soxr.__version__]


def _read(wanted: Wanted, bins: int, skip: bool, split: str | list[Path]) -> Recordings:
    config, recordings = wanted.config, find_recordings(wanted, split)
    reading = _Reading(recordings, config.sample_rate, bins if wanted.features is Features.stored else 0, skip)
    arrays, about, notes = kept(config.cache, reading.key, ARRAYS, reading.write, "recordings", BadRecording, skip=skip)
    content, offsets = arrays["content"], arrays["offsets"]
    if reading.bins:
        content, offsets = content.reshape(-1, bins), offsets // bins
    sound = Ragged.from_offsets(content, offsets)
    texts = [text.lower() for text in about["texts"]] if config.lower_case else about["texts"]
    return Recordings(
        sound, texts, about["names"], arrays["digests"], recordings.origin, notes=(*recordings.notes, *notes)
    )
