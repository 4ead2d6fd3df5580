"""Decoding of one recording, from a file or its bytes, to samples.

soundfile (libsndfile) decodes, and soxr resamples. `audio_heads`, `sound_streams` and `mp3_frames` detect what
libsndfile ignores silently: files that are shorter or longer than their header says, and several files concatenated
into one.
"""

from __future__ import annotations

import contextlib
import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tformer_cli.data.core.media import BadItem, files_below, opened, reason
from tformer_cli.data.speech import audio_heads, sound_parts
from tformer_cli.errors import Library, TformerError, library

if TYPE_CHECKING:
    from tformer_cli.config.schema import SpeechDataConfig

FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "NIST", "FLAC", "OGG", "MP3")
"""Supported formats, by libsndfile's names."""
ENDINGS = (
    ".wav", ".wave", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".sph", ".flac", ".ogg", ".oga",
    ".opus", ".mp3",
)  # fmt: skip
KINDS = "WAV, AIFF, CAF, AU, SPHERE, FLAC, OGG (Vorbis, Opus, FLAC), MP3"
SOUNDFILE, SOXR = Library("soundfile", "soundfile", "speech"), Library("soxr", "soxr", "speech")
"""The libraries that decode and resample."""
UNRECOGNISED = 1
"""Error code of libsndfile for an unknown format."""
LEAST_RATE, MOST_RATE = 1000, 768_000
MOST_HOURS = 4
BLOCK_VALUES = 1 << 20
"""Number of values decoded at once, of all channels."""
UNKNOWN_FRAMES = 1 << 62
MP3_FRAME = 1152
"""Samples in a frame; the length that an MP3 gives may be wrong by two frames."""
FULL_SCALE = 1 << 15


class BadRecording(BadItem):
    """A recording that cannot be read."""


def read_recording(source: Path | str | bytes, config: SpeechDataConfig, name: str = "") -> np.ndarray:
    """Decode a recording, see `read_sound`, to floating-point samples.

    Returns:
        (N,) float32 in [-1, 1), at `data.sample_rate`.

    Raises:
        BadRecording: if it cannot be read, see `read_sound`.
    """
    return waveform(read_sound(source, config.sample_rate, name))


def waveform(sound: np.ndarray) -> np.ndarray:
    """Convert 16-bit samples to float32 in [-1, 1)."""
    return sound.astype(np.float32) / FULL_SCALE


def to_sound(samples: np.ndarray) -> np.ndarray:
    """Convert samples in [-1, 1] to 16 bits; a recording that exceeds this range is scaled to a peak of 1."""
    peak = float(np.abs(samples).max(initial=0))
    scale = FULL_SCALE / max(1.0, peak)
    return np.rint(samples * scale).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def read_sound(source: Path | str | bytes, sample_rate: int, name: str = "") -> np.ndarray:
    """Decode a recording, mix its channels and resample it.

    16-bit samples of one channel at the same rate are unchanged, bit for bit. Channels are averaged. Samples beyond
    full scale, which occur in floating-point files and after resampling, scale the recording down.

    Args:
        source: a file, or its content: WAV (RF64, W64), AIFF, CAF, AU, SPHERE, FLAC, OGG (Vorbis, Opus, FLAC) or MP3,
            whatever its name. If a file contains several, all are read.
        sample_rate: samples per second of the output.
        name: name in error messages; empty: that of the file.

    Returns:
        (N,) int16.

    Raises:
        BadRecording: (a `DataError`) if it is missing, empty, truncated, not a recording, without samples, not finite
            or longer than 4 hours. Rates under 1,000 and over 768,000 samples per second are errors too.
        ConfigError: if soundfile or soxr is not installed.
    """
    soundfile = library(*SOUNDFILE)
    name = name or (str(source) if not isinstance(source, bytes) else "the recording")
    try:
        with opened(source, name, BadRecording) as stream:
            blocks, max_samples = [np.zeros(0, np.float32)], MOST_HOURS * 3600 * sample_rate
            for part in audio_heads.parts(stream):
                with soundfile.SoundFile(sound_parts.PartFile(stream, part)) as file:
                    _check_head(file, name)
                    blocks += _resampled(file, sample_rate, name)
                if sum(map(len, blocks)) > max_samples:
                    raise BadRecording(name, f"longer than {MOST_HOURS} hours: cut it into utterances")
            samples = np.concatenate(blocks)
    except TformerError:
        raise
    except sound_parts.Fault as error:
        raise BadRecording(name, str(error)) from error
    except soundfile.LibsndfileError as error:
        raise BadRecording(name, _reason(error)) from error
    except Exception as error:  # decoders raise various exceptions for damaged files
        raise BadRecording(name, reason(error)) from error
    if not len(samples):
        raise BadRecording(name, "no samples")
    if not np.isfinite(samples).all():
        raise BadRecording(name, "samples that are not finite")
    return to_sound(samples)


def _reason(error: Any) -> str:
    if error.code == UNRECOGNISED:
        return f"not a recording in a supported format ({KINDS})"
    return f"damaged: {error.error_string.strip().rstrip('.')[:120]}"


def _check_head(file: Any, name: str) -> None:
    if file.format not in FORMATS:
        raise BadRecording(name, f"{file.format} is not a supported format ({KINDS})")
    if not LEAST_RATE <= file.samplerate <= MOST_RATE:
        raise BadRecording(
            name, f"a rate of {file.samplerate:,} samples a second: must be {LEAST_RATE:,} to {MOST_RATE:,}"
        )
    if file.frames >= UNKNOWN_FRAMES:
        raise BadRecording(name, "its header gives no length, or it has no samples: write it to a file, not to a pipe")
    if file.frames > MOST_HOURS * 3600 * file.samplerate:
        raise BadRecording(name, f"longer than {MOST_HOURS} hours: cut it into utterances")


def _resampled(file: Any, sample_rate: int, name: str) -> Iterator[np.ndarray]:
    """Yield blocks of samples at another rate, (n,) float32 each."""
    if file.samplerate == sample_rate:
        yield from _mixed(file, name)
        return
    soxr = library(*SOXR)
    stream = soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32")
    for block in _mixed(file, name):
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _mixed(file: Any, name: str) -> Iterator[np.ndarray]:
    """Yield blocks of samples with averaged channels, (n,) float32 each."""
    is_mp3, read = file.format == "MP3", 0
    # soundfile seeks after each block, which is not exact in an MP3, so an MP3 is read at once.
    at_once = file.frames if is_mp3 else max(1, BLOCK_VALUES // file.channels)
    while read < file.frames:
        block = file.read(min(at_once, file.frames - read), dtype="float32", always_2d=True)
        if not len(block):
            break
        read += len(block)
        yield block[:, 0] if file.channels == 1 else block.mean(1)
    if read < file.frames - 2 * MP3_FRAME * is_mp3:
        raise BadRecording(name, f"cut off: its header declares {file.frames:,} samples, but it has {read:,}")


def wav(sound: np.ndarray, sample_rate: int) -> bytes:
    """Return the content of a WAV file with 16-bit samples of one channel, (N,)."""
    stream = io.BytesIO()
    with contextlib.closing(wave.open(stream, "wb")) as file:
        file.setparams((1, 2, sample_rate, len(sound), "NONE", ""))
        file.writeframes(np.asarray(sound, "<i2").tobytes())
    return stream.getvalue()


def recording_files(path: Path) -> list[Path]:
    """Return the sorted recordings in a folder and those below it; or `path` itself if it is a file.

    Raises:
        DataError: if there is no such path, or no recording in the folder.
    """
    return files_below(path, ENDINGS, "recording")
