"""Recordings with transcripts: decoded once into memory-mapped sound at one rate, or read as stored features.

`tformer_cli.data.speech.recording_sources` finds the files, and `tformer_cli.data.speech.audio` decodes a recording.
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
from tformer_cli.data.core.media import content_digest, in_order, read_cached, readable
from tformer_cli.data.core.splits import draw, read_split
from tformer_cli.data.core.store import ArrayWriter, Ragged, RaggedWriter, text_digest
from tformer_cli.data.speech.audio import SOUNDFILE, SOXR, BadRecording, read_recording, read_sound, recording_files
from tformer_cli.data.speech.recording_sources import SpeechSource, find_recordings
from tformer_cli.data.speech.stored_features import read_features
from tformer_cli.errors import DataError, library

if TYPE_CHECKING:
    from tformer_cli.config.schema import FeatureConfig, SpeechDataConfig
    from tformer_cli.data.core.cache import Open
    from tformer_cli.data.core.media_sources import Row, UndecodedSplit

__all__ = ["BadRecording", "Recordings", "read_features", "read_recording", "read_recordings", "recording_files"]

FORMAT = 2
"""Version of the arrays in the cache."""
ARRAYS = ("content", "offsets", "digests", "about")
ROWS_A_JOB = 4


@dataclass(frozen=True)
class Recordings:
    """The recordings of a split.

    Attributes:
        sound: item i is a recording: samples at `data.sample_rate`, (n,) int16, where 32,768 is full scale; or, of
            stored features, frames, (T, bins) float32.
        texts: transcript of each recording, with single spaces as white space.
        names: name of each in error messages: its file, or "row 17 of FILE".
        digests: hash of the sound of each, (N,) uint64.
        origin: source of the recordings, for messages.
        hash: SHA-256 of all sound and texts, in hex.
        notes: notes for the user, for example on skipped recordings, one line each.
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
        """Return the number of recordings."""
        return len(self.texts)

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of samples of each recording, or of frames of stored features, (N,) int64."""
        return self.sound.lengths

    def select(self, rows: np.ndarray, origin: str) -> Recordings:
        """Return the split of the recordings at the given indices, with another `origin`."""
        texts, names = ([column[row] for row in rows] for column in (self.texts, self.names))
        return Recordings(self.sound.select(rows), texts, names, self.digests[rows], origin, notes=self.notes)

    def location(self, row: int) -> str:
        """Return the name of a recording in error messages."""
        return self.names[row]


def read_recordings(
    config: SpeechDataConfig, features: FeatureConfig, split: str, *, seed: int, on_bad_sample: BadSample
) -> dict[str, Recordings]:
    """Read a split; without a validation split, training recordings drawn by the seed are used.

    Recordings are decoded and resampled once, and stored in the cache with 16 bits a sample.

    Args:
        config: location and sample rate of the recordings.
        features: whether sound or stored features are read, and the number of features in a frame.
        split: train, validation or test.
        seed: seed of the draw of the validation split, and of generated recordings.
        on_bad_sample: whether a recording that is unreadable or has no transcript is an error, or skipped and named in
            the notes.

    Raises:
        ConfigError: if the settings are impossible.
        DataError: if the split is missing or malformed; names the file or row. `BadRecording` for a single recording.
    """
    source = SpeechSource(config, features.kind, seed)
    read = functools.partial(_read, source, features.bins, on_bad_sample is BadSample.skip)
    return read_split(config, split, read, functools.partial(draw, seed=seed), source.layout)


# --- reading ---


@dataclass(frozen=True)
class _Reading:
    """The conversion of the recordings of a split to arrays.

    Attributes:
        recordings: the recordings before they are decoded.
        sample_rate: samples per second of the arrays.
        bins: number of stored features in a frame; 0: the recordings are sound.
        skip: whether unreadable recordings are skipped.
    """

    recordings: UndecodedSplit
    sample_rate: int
    bins: int
    skip: bool

    @property
    def key(self) -> list[object] | None:
        """Return everything that the arrays depend on; None: the content cannot be identified, so it is not cached."""
        if self.recordings.key is None:
            return None
        return [FORMAT, self.recordings.key, self.bins or [self.sample_rate, *_versions()]]

    def write(self, stream: Open) -> None:
        """Write the arrays of `ARRAYS`; recordings are decoded in parallel, and written in order."""
        content = RaggedWriter(stream("content"), stream("offsets"), np.float32 if self.bins else np.int16)
        digests = ArrayWriter(stream("digests"), np.uint64)
        names, texts, bad = [], [], []
        with in_order(self.recordings.rows(), self._work, ROWS_A_JOB) as results:
            for row, (values, text, digest) in readable(results, self.skip, bad):
                content.extend(values.reshape(-1), np.array([values.size]))
                digests.append(np.array([digest]))
                names.append(row.name)
                texts.append(text)
        if not names:
            cause = f"no recording of {len(bad):,} can be read: {bad[0]}" if bad else "there are no recordings"
            raise DataError(f"{self.recordings.origin}: {cause}")
        content.finish()
        digests.finish()
        about = {"names": names, "texts": texts, "bad": [(item.name, item.reason) for item in bad]}
        np.save(stream("about"), np.frombuffer(json.dumps(about).encode(), np.uint8), allow_pickle=False)

    def _work(self, row: Row) -> tuple[np.ndarray, str, int] | BadRecording:
        """Return the samples or frames of a recording, its transcript, and its digest."""
        try:
            text = " ".join((row.text or "").split())
            if row.fault:
                raise BadRecording(row.name, row.fault, row.repair)
            if not text:
                cause = "no transcript, neither in metadata.csv nor in a text file beside it"
                raise BadRecording(row.name, cause, "add its row to metadata.csv")
            if self.bins:
                values = read_features(row.content, self.bins, row.name)
            else:
                values = read_sound(row.content, self.sample_rate, row.name)
            return values, text, content_digest(str(values.shape), values.reshape(-1).view(np.uint8).data)
        except BadRecording as bad:
            return bad


def _versions() -> list[str]:
    """Return the versions of the libraries that decode and resample."""
    soundfile, soxr = (library(*needed) for needed in (SOUNDFILE, SOXR))
    return [soundfile.__libsndfile_version__, soxr.__version__]


def _read(source: SpeechSource, bins: int, skip: bool, split: str | list[Path]) -> Recordings:
    config, recordings = source.config, find_recordings(source, split)
    reading = _Reading(recordings, config.sample_rate, bins if source.features is Features.stored else 0, skip)
    arrays, about, notes = read_cached(
        config.cache, reading.key, ARRAYS, reading.write, "recordings", BadRecording, skip=skip
    )
    content, offsets = arrays["content"], arrays["offsets"]
    if reading.bins:
        content, offsets = content.reshape(-1, bins), offsets // bins
    sound = Ragged.from_offsets(content, offsets)
    texts = [text.lower() for text in about["texts"]] if config.lower_case else about["texts"]
    return Recordings(
        sound, texts, about["names"], arrays["digests"], recordings.origin, notes=(*recordings.notes, *notes)
    )
