"""The utterances of an epoch: recordings that are joined, played faster or slower, and surrounded by silence.

This module contains everything that changes the length of an utterance, since batches are planned by lengths. The draws
are a function of (seed, epoch, row), and the sound is computed when a batch is collated.

A change of speed changes pitch and tempo together (Ko et al. 2015). soxr computes it in the process that collates the
batch. For a second of sound, soxr took 0.26 ms of a core (0.45 ms for short recordings). A strided convolution with a
sinc of six zero crossings, which the device could compute, took 0.1 ms. Both are little compared with training. The
filter of soxr is far better and allows any ratio. A recording has the same samples in any batch, and workers compute
them ahead of training.

M utterances of an epoch, K recordings in the longest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from tformer_cli.config.schema import SpeechAugmentConfig
from tformer_cli.data.core.batching import shuffled
from tformer_cli.data.core.uniforms import uniforms
from tformer_cli.data.speech.augment import Stream
from tformer_cli.errors import library

__all__ = ["Utterances", "change_speed", "fixed_utterances", "training_utterances"]


@dataclass(frozen=True)
class Utterances:
    """The utterances that consist of a split's recordings.

    Attributes:
        parts: rows of the split that are joined, in this order, (M, K) int64; -1 after the last of each.
        speeds: speed of each utterance, (M,) float64.
        silences: number of samples of silence before and after each, (M, 2) int64.
        lengths: number of samples of each, with speed and silences, (M,) int64; or of frames of stored features.
    """

    parts: np.ndarray
    speeds: np.ndarray
    silences: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.parts)

    def sound(self, index: int, gather: Callable[[np.ndarray], Sequence[np.ndarray]]) -> np.ndarray:
        """Return the `lengths[index]` samples, or frames, of an utterance.

        Args:
            index: index of the utterance.
            gather: returns recordings by their rows: (n,) each, int16 or float32; or (T, F).

        Raises:
            ConfigError: if soxr is not installed and the speed is not 1.
        """
        sound = np.concatenate(list(gather(_present(self.parts[index]))))
        if self.speeds[index] != 1:
            sound = change_speed(sound, float(self.speeds[index]))
        before, after = self.silences[index].tolist()
        return np.pad(sound, (before, after)) if before or after else sound

    def without_joining(self, indices: np.ndarray, lengths: np.ndarray) -> Utterances:
        """Return the utterances, some of them reduced to their first recording.

        Args:
            indices: indices of the utterances to reduce, (P,) int64.
            lengths: number of samples of each recording, (N,) int64.
        """
        parts = self.parts.copy()
        parts[indices, 1:] = -1
        return _utterances(lengths, parts, self.speeds, self.silences)

    def text(self, index: int, texts: Sequence[str], separator: str = " ") -> str:
        """Return the transcript of an utterance: those of its recordings, joined by a separator."""
        return separator.join(texts[int(row)] for row in _present(self.parts[index]).tolist())


def _present(parts: np.ndarray) -> np.ndarray:
    return parts[parts >= 0]


def change_speed(sound: np.ndarray, speed: float) -> np.ndarray:
    """Return a recording that is played faster or slower, which changes its pitch too.

    Args:
        sound: (N,), int16 or float32.
        speed: more than 0.

    Returns:
        (round(N / speed),), with the type of `sound`.

    Raises:
        ConfigError: if soxr is not installed.
    """
    soxr, count = library("soxr", "soxr", "speech"), round(len(sound) / speed)
    # As floats, since soxr adds dither to integers, whose seed cannot be set.
    resampled = soxr.resample(sound.astype(np.float32), speed, 1)[:count]
    resampled = np.pad(resampled, (0, count - len(resampled)))
    return resampled.round().clip(-32_768, 32_767).astype(np.int16) if sound.dtype == np.int16 else resampled


def fixed_utterances(lengths: np.ndarray, low: int, high: int, seed: int) -> Utterances:
    """Return the utterances of validation and test: each recording once, joined to utterances of `low` to `high`.

    Args:
        lengths: number of samples of each recording, (N,).
        low: minimum number of recordings in an utterance; the last utterance may have fewer.
        high: maximum number; with 1, recordings are not joined and keep their order. All numbers are equally likely.
        seed: seed of the order in which recordings are joined, and of their numbers.
    """
    count = len(lengths)
    if high == 1:
        return _utterances(lengths, np.arange(count)[:, None])
    drawn = uniforms(seed, 0, torch.arange(count), 1, Stream.join)[:, 0].double().numpy()
    ends = np.cumsum(low + (drawn * (high - low + 1)).astype(np.int64))
    starts = np.concatenate(([0], ends))
    number = int(np.searchsorted(ends, count)) + 1
    indices = starts[:number, None] + np.arange(high)
    within = (indices < ends[:number, None]) & (indices < count)
    order = shuffled(count, seed, Stream.join)
    return _utterances(lengths, np.where(within, order[indices.clip(max=count - 1)], -1))


def training_utterances(
    lengths: np.ndarray, config: SpeechAugmentConfig, sample_rate: int, longest: int, seed: int, epoch: int
) -> Utterances:
    """Return the utterances of training in an epoch: each recording begins one, and randomly drawn ones may follow it.

    Args:
        lengths: number of samples of each recording, (N,) int64; or of frames of stored features, which have neither
            speeds nor silences.
        config: settings of joining, speeds and silences.
        sample_rate: samples per second.
        longest: maximum number of samples of joined recordings, before the change of speed.
        seed: seed of the run.
        epoch: counts from 0.
    """
    count, max_parts = len(lengths), config.join_most
    draw = partial(uniforms, seed, epoch, torch.arange(count))
    parts, speeds, silences = np.arange(count)[:, None], None, None
    if config.join:
        chance, number, *others = draw(max_parts + 1, Stream.join).double().numpy().T
        followers = (np.stack(others, 1) * count).astype(np.int64)
        num_followers = np.where(chance < config.join, 1 + (number * (max_parts - 1)).astype(np.int64), 0)
        parts = np.concatenate((parts, followers), 1)
        fits = (np.cumsum(lengths[parts], 1) <= longest) & (np.arange(max_parts) <= num_followers[:, None])
        fits[:, 0] = True
        parts = np.where(fits, parts, -1)
    if config.speeds != [1.0]:
        which = (draw(1, Stream.speed)[:, 0].double() * len(config.speeds)).long().numpy()
        speeds = np.array(config.speeds)[which]
    if config.shift_ms:
        max_silence = int(config.shift_ms * sample_rate / 1000)
        silences = (draw(2, Stream.silence).double() * (max_silence + 1)).long().numpy()
    return _utterances(lengths, parts, speeds, silences)


def _utterances(
    lengths: np.ndarray, parts: np.ndarray, speeds: np.ndarray | None = None, silences: np.ndarray | None = None
) -> Utterances:
    """Return utterances with their lengths; None: speed 1, no silences."""
    total = np.where(parts >= 0, lengths[parts], 0).sum(1)
    speeds = np.ones(len(parts)) if speeds is None else speeds
    silences = np.zeros((len(parts), 2), np.int64) if silences is None else silences
    return Utterances(parts, speeds, silences, np.round(total / speeds).astype(np.int64) + silences.sum(1))
