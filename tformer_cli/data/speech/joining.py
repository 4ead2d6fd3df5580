"""Utterances as an epoch shows them: recordings joined to strings, faster or slower, between silences.

All that changes an utterance's length is here, since batches are planned by lengths: what is drawn is a function of
(seed, epoch, row), and the sound itself is made when a batch is.

A change of speed changes pitch and tempo together (Ko et al. 2015), by soxr, in the process that makes the batch: for a
second of sound it took 0.26 ms of a core (0.45 for short recordings), and a strided convolution with a sinc of six zero
crossings, which the device could do, 0.1 ms. Both are little beside training, and soxr's filter is by far the better,
knows any ratio, gives a recording the same samples in any batch, and works ahead of training where there are workers.

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

__all__ = ["Utterances", "at_speed", "fixed_strings", "training_strings"]


@dataclass(frozen=True)
class Utterances:
    """What a split's recordings make up.

    Attributes:
        parts: rows of the split that are joined, in this order, (M, K) int64; -1 after the last of each.
        speeds: at which each is played, (M,) float64.
        silences: samples of silence before and after, (M, 2) int64.
        lengths: samples of each, as it is then, (M,) int64; frames of stored features.
    """

    parts: np.ndarray
    speeds: np.ndarray
    silences: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        """How many."""
        return len(self.parts)

    def sound(self, place: int, gather: Callable[[np.ndarray], Sequence[np.ndarray]]) -> np.ndarray:
        """An utterance's samples, `lengths[place]` of them; or its frames.

        Args:
            place: 0 <= place < M.
            gather: recordings by their rows: (n,) each, int16 or float32; or (T, F).

        Raises:
            ConfigError: if soxr is not installed and the speed not 1.
        """
        sound = np.concatenate(list(gather(_present(self.parts[place]))))
        if self.speeds[place] != 1:
            sound = at_speed(sound, float(self.speeds[place]))
        before, after = self.silences[place].tolist()
        return np.pad(sound, (before, after)) if before or after else sound

    def apart(self, places: np.ndarray, lengths: np.ndarray) -> Utterances:
        """Return the utterances with nothing joined to some of them.

        Args:
            places: of those, (P,) int64.
            lengths: samples of each recording, (N,) int64.
        """
        parts = self.parts.copy()
        parts[places, 1:] = -1
        return _utterances(lengths, parts, self.speeds, self.silences)

    def text(self, place: int, texts: Sequence[str]) -> str:
        """What is said in an utterance: the recordings' transcripts, a space between."""
        return " ".join(texts[int(row)] for row in _present(self.parts[place]).tolist())


def _present(parts: np.ndarray) -> np.ndarray:
    return parts[parts >= 0]


def at_speed(sound: np.ndarray, speed: float) -> np.ndarray:
    """Play a recording faster or slower, with its pitch.

    Args:
        sound: (N,), int16 or float32.
        speed: more than 0.

    Returns:
        (round(N / speed),), as `sound`.

    Raises:
        ConfigError: if soxr is not installed.
    """
    soxr, count = library("soxr", "soxr", "speech"), round(len(sound) / speed)
    # Of floats alone: what soxr makes of whole numbers has dither in it, of a seed that nobody knows.
    found = soxr.resample(sound.astype(np.float32), speed, 1)[:count]
    found = np.pad(found, (0, count - len(found)))
    return found.round().clip(-32_768, 32_767).astype(np.int16) if sound.dtype == np.int16 else found


def fixed_strings(lengths: np.ndarray, low: int, high: int, seed: int) -> Utterances:
    """Validation and test data: each recording once, joined to strings of `low` to `high`, all numbers as often.

    Args:
        lengths: samples of each recording, (N,).
        low: fewest; the last string is of what is left, which may be fewer.
        high: most; where it is 1 the recordings are as they are, in their order.
        seed: of the order in which they are joined, and of how many.
    """
    count = len(lengths)
    if high == 1:
        return _utterances(lengths, np.arange(count)[:, None])
    drawn = uniforms(seed, 0, torch.arange(count), 1, Stream.join)[:, 0].double().numpy()
    ends = np.cumsum(low + (drawn * (high - low + 1)).astype(np.int64))
    starts = np.concatenate(([0], ends))
    strings = int(np.searchsorted(ends, count)) + 1
    places = starts[:strings, None] + np.arange(high)
    within = (places < ends[:strings, None]) & (places < count)
    order = shuffled(count, seed, Stream.join)
    return _utterances(lengths, np.where(within, order[places.clip(max=count - 1)], -1))


def training_strings(
    lengths: np.ndarray, config: SpeechAugmentConfig, sample_rate: int, longest: int, seed: int, epoch: int
) -> Utterances:
    """Training data in an epoch: each recording begins one utterance, and others, drawn from all, may follow it.

    Args:
        lengths: samples of each recording, (N,) int64; frames of stored features, which have no speed and no silence.
        config: how many are joined, speeds, silences.
        sample_rate: in Hz.
        longest: no recording follows that would make an utterance longer than so many samples, at its own speed.
        seed: of the run.
        epoch: from 0.
    """
    count, most = len(lengths), config.join_most
    draw = partial(uniforms, seed, epoch, torch.arange(count))
    parts, speeds, silences = np.arange(count)[:, None], None, None
    if config.join:
        chance, number, *others = draw(most + 1, Stream.join).double().numpy().T
        followers = (np.stack(others, 1) * count).astype(np.int64)
        wanted = np.where(chance < config.join, 1 + (number * (most - 1)).astype(np.int64), 0)
        parts = np.concatenate((parts, followers), 1)
        fits = (np.cumsum(lengths[parts], 1) <= longest) & (np.arange(most) <= wanted[:, None])
        fits[:, 0] = True
        parts = np.where(fits, parts, -1)
    if config.speeds != [1.0]:
        which = (draw(1, Stream.speed)[:, 0].double() * len(config.speeds)).long().numpy()
        speeds = np.array(config.speeds)[which]
    if config.shift_ms:
        most_silence = int(config.shift_ms * sample_rate / 1000)
        silences = (draw(2, Stream.silence).double() * (most_silence + 1)).long().numpy()
    return _utterances(lengths, parts, speeds, silences)


def _utterances(
    lengths: np.ndarray, parts: np.ndarray, speeds: np.ndarray | None = None, silences: np.ndarray | None = None
) -> Utterances:
    """With their lengths; None: at speed 1, without silences."""
    total = np.where(parts >= 0, lengths[parts], 0).sum(1)
    speeds = np.ones(len(parts)) if speeds is None else speeds
    silences = np.zeros((len(parts), 2), np.int64) if silences is None else silences
    return Utterances(parts, speeds, silences, np.round(total / speeds).astype(np.int64) + silences.sum(1))
