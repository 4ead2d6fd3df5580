"""Augmentation of batches of recordings and of their features, on the device of the batch.

The augmentation of a recording is a function of (seed, epoch, sample). It does not depend on the other recordings of
the batch, or on padding. Speed, silence and joining change lengths, and are therefore planned with the batches of an
epoch: see `tformer_cli.data.speech.joining`.

B recordings, N samples, T frames, F features in a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import SpeechAugmentConfig
from tformer_cli.data.core.device import to_device
from tformer_cli.data.core.uniforms import numbers, sequences, uniforms
from tformer_cli.data.speech.log_mel import exact, mask_of

__all__ = ["SpeechAugmentation", "Stream", "shares"]

Stream = IntEnum(
    "Stream",
    "gain noise white time_masks frequency_masks time_warp speed silence join time_masks_2 frequency_masks_2",
    start=128,
)
"""Streams of random numbers, one for each purpose; other data uses those below 128."""
MASKS = (Stream.time_masks, Stream.frequency_masks), (Stream.time_masks_2, Stream.frequency_masks_2)
"""The streams of the masks of each view."""

LOUDEST = 32_768
"""The value of a 16-bit sample that corresponds to 1."""
MOST_MASKS = 20
"""Maximum number of adaptive time masks in an utterance (Park et al. 2020, section 2)."""


def shares(waveforms: Tensor) -> Tensor:
    """Convert int16 samples to float32 in [-1, 1); float32 samples are unchanged."""
    return waveforms.float().div_(LOUDEST) if waveforms.dtype == torch.int16 else waveforms


class SpeechAugmentation:
    """The augmentation of training recordings and of their features.

    Args:
        config: settings of the augmentation.
        seed: seed of the run.
        noises: recordings of noise, (n,) each, n > 0, int16 or float32, at the rate of the speech; none: white noise.
    """

    def __init__(self, config: SpeechAugmentConfig, seed: int, noises: Sequence[np.ndarray] = ()) -> None:
        self.config, self.seed, self.noises = config, seed, noises

    # --- sound ---

    @torch.no_grad()
    def sound(self, waveforms: Tensor, lengths: Tensor, samples: Tensor, epoch: int) -> Tensor:
        """Change the loudness of recordings and add noise.

        Args:
            waveforms: (B, N), float32.
            lengths: number of samples of each, (B,), int64; on the CPU, to avoid a synchronisation with the device.
            samples: indices of the recordings in the data, (B,), int64; on the CPU, like `lengths`.
            epoch: counts from 0.

        Returns:
            (B, N), float32; samples after the end of a recording are arbitrary.
        """
        config, samples = self.config, samples.cpu()
        if config.gain_db:
            change = (2 * uniforms(self.seed, epoch, samples, 1, Stream.gain) - 1) * config.gain_db
            waveforms = waveforms * to_device((10 ** (change.double() / 20)).float(), waveforms.device)
        if config.noise:
            waveforms = self._noisy(waveforms, lengths.cpu(), samples, epoch)
        return waveforms

    def _noisy(self, waveforms: Tensor, lengths: Tensor, samples: Tensor, epoch: int) -> Tensor:
        """Add noise to some recordings, at a signal-to-noise ratio that is uniform in decibels."""
        config = self.config
        chance, level, which, start = uniforms(self.seed, epoch, samples, 4, Stream.noise).double().unbind(1)
        rows = (chance < config.noise).nonzero()[:, 0]
        if not len(rows):
            return waveforms
        device, width = waveforms.device, waveforms.shape[1]
        if len(self.noises):
            noise = to_device(self._recorded(which[rows], start[rows], lengths[rows], width), device)
        else:  # uniform: as a sum over hundreds of samples, the spectrum of a frame is that of Gaussian noise
            keys = to_device(sequences(self.seed, epoch, samples[rows], Stream.white), device)
            noise = numbers(keys[:, None], torch.arange(width, device=device)) - 0.5
        device_rows, valid = to_device(rows, device), mask_of(to_device(lengths[rows], device), width)
        speech = waveforms[device_rows]
        ratio = 10 ** ((config.noise_low_db + (config.noise_high_db - config.noise_low_db) * level[rows]) / 10)
        power = _energy(speech, valid) / (_energy(noise, valid) * to_device(ratio.float(), device)).clamp(min=1e-30)
        return waveforms.index_copy(0, device_rows, speech + noise * power.sqrt().float()[:, None])

    def _recorded(self, which: Tensor, start: Tensor, lengths: Tensor, width: int) -> Tensor:
        """Return recorded noise from random positions on, repeated to the given lengths, as (b, width), float32.

        Args:
            which: random numbers in [0, 1) that select recordings of noise, (b,).
            start: random numbers in [0, 1) that select positions in them, (b,).
            lengths: number of samples, (b,), int64; 0 follows them.
            width: number of columns.
        """
        noises = np.zeros((len(which), width), np.float32)
        drawn = zip(noises, which.tolist(), start.tolist(), lengths.tolist(), strict=True)
        for row, share, position, length in drawn:
            noise = self.noises[int(share * len(self.noises))]
            part = np.take(noise, int(position * len(noise)) + np.arange(length), mode="wrap")
            row[:length] = part / np.float32(LOUDEST) if part.dtype == np.int16 else part
        return torch.from_numpy(noises)

    # --- features ---

    @torch.no_grad()
    def features(self, features: Tensor, counts: Tensor, samples: Tensor, epoch: int, view: int = 0) -> Tensor:
        """Apply SpecAugment (Park et al. 2019, section 2): warp time, mask bands of frequencies and spans of time.

        Args:
            features: (B, T, F), float32, normalised, 0 after the last frame of each.
            counts: number of frames of each, (B,), int64; on the CPU, to avoid a synchronisation with the device.
            samples: indices of the recordings in the data, (B,), int64; on the CPU, like `counts`.
            epoch: counts from 0.
            view: 0 or 1; the views of a recording differ in their masks, and have the same warp (Yao et al. 2025).

        Returns:
            (B, T, F), float32; masked features are 0, the mean of normalised features.
        """
        time_masks, frequency_masks = MASKS[view]
        config, counts, device = self.config, counts.cpu(), features.device
        draw = partial(uniforms, self.seed, epoch, samples.cpu())
        if config.time_warp:
            features = _warp(features, counts, draw(2, Stream.time_warp).double(), config.time_warp)
        if config.frequency_masks:
            bins = torch.full_like(counts, features.shape[2])
            widest, drawn = (
                bins.clamp(max=config.frequency_mask_bins),
                draw(2 * config.frequency_masks, frequency_masks),
            )
            hidden = _spans(drawn, bins, widest, torch.full_like(counts, config.frequency_masks), features.shape[2])
            features = features.masked_fill(to_device(hidden, device)[:, None], 0)
        if config.time_masks or config.adaptive_masks:
            number = torch.full_like(counts, config.time_masks)
            if not config.time_masks:  # Park et al. 2020, section 2
                number = (counts.double() * config.adaptive_masks).long().clamp(max=MOST_MASKS)
            longest = (counts.double() * config.time_mask_share).long()
            if config.time_mask_frames:
                longest = longest.clamp(max=config.time_mask_frames)
            drawn = draw(2 * int(number.max()), time_masks)
            hidden = _spans(drawn, counts, longest, number, features.shape[1])
            features = features.masked_fill(to_device(hidden, device)[:, :, None], 0)
        return features


def _energy(waveforms: Tensor, valid: Tensor) -> Tensor:
    """Return the sum of squares over valid samples, (B,), float64."""
    return (exact(waveforms) * valid).square().sum(1)


def _spans(drawn: Tensor, totals: Tensor, longest: Tensor, number: Tensor, width: int) -> Tensor:
    """Return the mask of random spans of rows of different lengths.

    Args:
        drawn: random numbers in [0, 1), (B, 2 M), which determine length and position of each span.
        totals: length of each row, (B,), int64.
        longest: maximum length of a span of each row, (B,), int64.
        number: number of spans in each row, (B,), int64, at most M.
        width: length of the longest row.

    Returns:
        True inside the spans, (B, width), bool.
    """
    length, position = drawn[:, ::2].double(), drawn[:, 1::2].double()
    length = (length * (longest[:, None] + 1)).long() * mask_of(number, length.shape[1])
    start = (position * (totals[:, None] - length + 1)).long()
    columns = torch.arange(width)
    return ((start[:, :, None] <= columns) & (columns < (start + length)[:, :, None])).any(1)


def _warp(features: Tensor, counts: Tensor, drawn: Tensor, farthest: int) -> Tensor:
    """Shift a point in time, and stretch the frames before and after it (Park et al. 2019, section 2).

    Args:
        features: (B, T, F).
        counts: number of frames of each, (B,), int64, on the CPU; rows with at most 2 `farthest` frames are unchanged.
        drawn: random numbers in [0, 1), (B, 2), float64, which determine the point and its shift.
        farthest: maximum shift in frames.

    Returns:
        (B, T, F), interpolated linearly between frames.
    """
    frames = torch.arange(features.shape[1], dtype=torch.float64)
    last, long = (counts - 1)[:, None], (counts > 2 * farthest)[:, None]
    point = farthest + (drawn[:, :1] * (counts[:, None] - 2 * farthest)).floor()
    target = point + (drawn[:, 1:] * (2 * farthest + 1)).floor() - farthest
    before = frames * point / target.clamp(min=1)
    after = point + (frames - target) * (last - point) / (last - target).clamp(min=1)
    sources = torch.where(long & (frames <= last), torch.where(frames < target, before, after), frames)
    lower = sources.floor()
    weight = to_device((sources - lower).float(), features.device)[:, :, None]
    lower = lower.long()
    upper = torch.where(lower < last, lower + 1, lower)
    rows = torch.arange(len(features), device=features.device)[:, None]
    first, second = (features[rows, to_device(frame, features.device)] for frame in (lower, upper))
    return first + (second - first) * weight
