"""Augmentation of recordings and of their features, a batch at a time, on whatever device the batch is on.

What becomes of a recording is a function of (seed, epoch, sample): its batch mates and the padding do not matter.
What changes lengths (speed, silence, joining) is planned with an epoch's batches: `tformer_cli.data.speech.joining`.

B recordings, N samples, T frames, F numbers a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import SpeechAugmentConfig
from tformer_cli.data.core.uniforms import numbers, sequences, uniforms
from tformer_cli.data.speech.log_mel import exact, mask_of

__all__ = ["SpeechAugmentation", "Stream", "shares"]

Stream = IntEnum("Stream", "gain noise white time_masks frequency_masks time_warp speed silence join", start=128)
"""What numbers are drawn for; pictures have those below 128."""

LOUDEST = 32_768
"""A 16-bit sample that stands for 1."""
MOST_MASKS = 20
"""Of adaptive time masks in an utterance (Park et al. 2020, section 2)."""


def shares(waveforms: Tensor) -> Tensor:
    """Samples as shares of the loudest: of int16 in [-1, 1), float32; float32 as it is."""
    return waveforms.float().div_(LOUDEST) if waveforms.dtype == torch.int16 else waveforms


class SpeechAugmentation:
    """What is done to recordings of given lengths, and to their features, before training sees them.

    Args:
        config: what, and how much.
        seed: of the run.
        noises: recordings of noise, (n,) each, n > 0, int16 or float32, at the rate of the speech; none: white noise.
    """

    def __init__(self, config: SpeechAugmentConfig, seed: int, noises: Sequence[np.ndarray] = ()) -> None:
        self.config, self.seed, self.noises = config, seed, noises

    # --- sound ---

    @torch.no_grad()
    def sound(self, waveforms: Tensor, lengths: Tensor, samples: Tensor, epoch: int) -> Tensor:
        """Change loudness, add noise.

        Args:
            waveforms: (B, N), float32.
            lengths: samples of each, (B,), int64; on the CPU the host does not have to wait for the device.
            samples: their numbers in the data, (B,), int64; as `lengths`.
            epoch: from 0.

        Returns:
            As `waveforms`; what is after the end of each is of no meaning.
        """
        config, samples = self.config, samples.cpu()
        if config.gain_db:
            change = (2 * uniforms(self.seed, epoch, samples, 1, Stream.gain) - 1) * config.gain_db
            waveforms = waveforms * (10 ** (change.double() / 20)).float().to(waveforms.device)
        if config.noise:
            waveforms = self._noisy(waveforms, lengths.cpu(), samples, epoch)
        return waveforms

    def _noisy(self, waveforms: Tensor, lengths: Tensor, samples: Tensor, epoch: int) -> Tensor:
        """Add noise to some, at a ratio of powers that is uniform in decibels."""
        config = self.config
        chance, level, which, start = uniforms(self.seed, epoch, samples, 4, Stream.noise).double().unbind(1)
        rows = (chance < config.noise).nonzero()[:, 0]
        if not len(rows):
            return waveforms
        device, width = waveforms.device, waveforms.shape[1]
        if len(self.noises):
            noise = self._recorded(which[rows], start[rows], lengths[rows], width).to(device)
        else:  # uniform: a frame's spectrum, a sum over hundreds of samples, is as of Gaussian noise
            keys = sequences(self.seed, epoch, samples[rows], Stream.white).to(device)
            noise = numbers(keys[:, None], torch.arange(width, device=device)) - 0.5
        there, valid = rows.to(device), mask_of(lengths[rows].to(device), width)
        speech = waveforms[there]
        ratio = 10 ** ((config.noise_low_db + (config.noise_high_db - config.noise_low_db) * level[rows]) / 10)
        power = _energy(speech, valid) / (_energy(noise, valid) * ratio.float().to(device)).clamp(min=1e-30)
        return waveforms.index_copy(0, there, speech + noise * power.sqrt().float()[:, None])

    def _recorded(self, which: Tensor, start: Tensor, lengths: Tensor, width: int) -> Tensor:
        """Recordings of noise from somewhere on, over and over: (b, width), float32, 0 after `lengths` samples."""
        found = np.zeros((len(which), width), np.float32)
        drawn = zip(found, which.tolist(), start.tolist(), lengths.tolist(), strict=True)
        for row, share, place, length in drawn:
            noise = self.noises[int(share * len(self.noises))]
            part = np.take(noise, int(place * len(noise)) + np.arange(length), mode="wrap")
            row[:length] = part / np.float32(LOUDEST) if part.dtype == np.int16 else part
        return torch.from_numpy(found)

    # --- features ---

    @torch.no_grad()
    def features(self, features: Tensor, counts: Tensor, samples: Tensor, epoch: int) -> Tensor:
        """SpecAugment (Park et al. 2019, section 2): warp time, hide bands of frequency, hide stretches of time.

        Args:
            features: (B, T, F), float32, normalised, 0 after the last frame of each.
            counts: frames of each, (B,), int64; on the CPU the host does not have to wait for the device.
            samples: their numbers in the data, (B,), int64; as `counts`.
            epoch: from 0.

        Returns:
            As `features`; what is hidden is 0, the mean.
        """
        config, counts, device = self.config, counts.cpu(), features.device
        draw = partial(uniforms, self.seed, epoch, samples.cpu())
        if config.time_warp:
            features = _warp(features, counts, draw(2, Stream.time_warp).double(), config.time_warp)
        if config.frequency_masks:
            bins = torch.full_like(counts, features.shape[2])
            widest, drawn = (
                bins.clamp(max=config.frequency_mask_bins),
                draw(2 * config.frequency_masks, Stream.frequency_masks),
            )
            hidden = _stretches(drawn, bins, widest, torch.full_like(counts, config.frequency_masks), features.shape[2])
            features = features.masked_fill(hidden.to(device)[:, None], 0)
        if config.time_masks or config.adaptive_masks:
            number = torch.full_like(counts, config.time_masks)
            if not config.time_masks:  # Park et al. 2020, section 2
                number = (counts.double() * config.adaptive_masks).long().clamp(max=MOST_MASKS)
            longest = (counts.double() * config.time_mask_share).long()
            if config.time_mask_frames:
                longest = longest.clamp(max=config.time_mask_frames)
            drawn = draw(2 * int(number.max()), Stream.time_masks)
            hidden = _stretches(drawn, counts, longest, number, features.shape[1])
            features = features.masked_fill(hidden.to(device)[:, :, None], 0)
        return features


def _energy(waveforms: Tensor, valid: Tensor) -> Tensor:
    """Sums of squares over valid samples, (B,), float64."""
    return (exact(waveforms) * valid).square().sum(1)


def _stretches(drawn: Tensor, totals: Tensor, longest: Tensor, number: Tensor, width: int) -> Tensor:
    """Random stretches of rows of different lengths.

    Args:
        drawn: (B, 2 M), uniform in [0, 1): length and place of each.
        totals: length of each row, (B,), int64: stretches lie within.
        longest: of each row's stretches, (B,), int64.
        number: of stretches in each row, (B,), int64, at most M.
        width: of the longest row.

    Returns:
        True inside of them, (B, width), bool.
    """
    length, place = drawn[:, ::2].double(), drawn[:, 1::2].double()
    length = (length * (longest[:, None] + 1)).long() * mask_of(number, length.shape[1])
    start = (place * (totals[:, None] - length + 1)).long()
    places = torch.arange(width)
    return ((start[:, :, None] <= places) & (places < (start + length)[:, :, None])).any(1)


def _warp(features: Tensor, counts: Tensor, drawn: Tensor, farthest: int) -> Tensor:
    """Shift one point in time, and what is before and after it in proportion (Park et al. 2019, section 2).

    Args:
        features: (B, T, F).
        counts: frames of each, (B,), int64, on the CPU; those of 2 `farthest` or fewer stay as they are.
        drawn: (B, 2), float64 in [0, 1): the point, and how far it is shifted.
        farthest: most frames that it is shifted by.

    Returns:
        As `features`, between whose frames it interpolates.
    """
    frames = torch.arange(features.shape[1], dtype=torch.float64)
    last, long = (counts - 1)[:, None], (counts > 2 * farthest)[:, None]
    point = farthest + (drawn[:, :1] * (counts[:, None] - 2 * farthest)).floor()
    target = point + (drawn[:, 1:] * (2 * farthest + 1)).floor() - farthest
    before = frames * point / target.clamp(min=1)
    after = point + (frames - target) * (last - point) / (last - target).clamp(min=1)
    sources = torch.where(long & (frames <= last), torch.where(frames < target, before, after), frames)
    lower = sources.floor()
    weight = (sources - lower).float().to(features.device)[:, :, None]
    lower = lower.long()
    upper = torch.where(lower < last, lower + 1, lower)
    rows = torch.arange(len(features), device=features.device)[:, None]
    first, second = (features[rows, place.to(features.device)] for place in (lower, upper))
    return first + (second - first) * weight
