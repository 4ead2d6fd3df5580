"""The front end: it computes the model's input from sound or stored features, on the device of the batch.

B recordings, N samples, T frames, F features in a frame.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from tformer_cli.config.schema import FeatureConfig, Features, Normalise, SpeechAugmentConfig
from tformer_cli.data.core.device import to_device
from tformer_cli.data.speech.augment import SpeechAugmentation, shares
from tformer_cli.data.speech.log_mel import LogMel, exact, mask_of
from tformer_cli.errors import DataError, RunError, checkpoint_content

__all__ = ["SpeechFeatures", "Statistics"]

MIN_STD = 1e-3
"""Minimum standard deviation, of natural logarithms, so that bins that hardly vary stay near 0."""


@dataclass(frozen=True)
class Statistics:
    """Means and standard deviations of the training data's features.

    Attributes:
        mean: mean of each bin, F numbers.
        std: standard deviation of each bin, F numbers, more than 0.
    """

    mean: list[float]
    std: list[float]

    def to_json(self) -> bytes:
        """Return the content of a checkpoint's file."""
        return json.dumps({"mean": self.mean, "deviation": self.std}, indent=1).encode()

    @classmethod
    def of_json(cls, content: bytes, bins: int, origin: str) -> Statistics:
        """Read the content of a checkpoint's file.

        Raises:
            RunError: if it is not valid; names `origin`.
        """
        with checkpoint_content(origin, "means and deviations of features"):
            value = json.loads(content)
            statistics = cls([float(mean) for mean in value["mean"]], [float(std) for std in value["deviation"]])
        fit = len(statistics.mean) == len(statistics.std) == bins and all(map(math.isfinite, statistics.mean))
        if not fit or not all(0 < value < math.inf for value in statistics.std):
            raise RunError(f"{origin}: not the means and deviations of {bins} numbers a frame")
        return statistics


class SpeechFeatures:
    """The computation, normalisation and augmentation of features.

    The order is: loudness, noise, log-mel, normalisation, margins, SpecAugment. The features of a recording do not
    depend on the other recordings of the batch, or on padding: to the last bit on a CPU.

    Args:
        config: settings of the features; if `kind` is stored, batches contain features, and steps on sound are skipped.
        augment: settings of the augmentation in training. Speed, silences and joining are applied earlier, when a batch
            is collated: see `data.speech.joining`.
        sample_rate: samples per second.
        seed: seed of the run.
        read_noises: returns the recordings in a folder, `augment.noise_path`, as (n,) int16 or float32 at
            `sample_rate`; called once, and only if training needs them.

    Attributes:
        window_seconds: duration of the sound of a frame.
        hop_seconds: time between the beginnings of two frames.

    Raises:
        ConfigError: if such features cannot be computed.
    """

    def __init__(
        self,
        config: FeatureConfig,
        augment: SpeechAugmentConfig,
        sample_rate: int,
        seed: int,
        read_noises: Callable[[str], Sequence[np.ndarray]] | None = None,
    ) -> None:
        self.config, self._augment, self._seed, self._read_noises = config, augment, seed, read_noises
        self._log_mel = LogMel(config, sample_rate) if config.kind is Features.log_mel else None
        self.window_seconds, self.hop_seconds = config.window_ms / 1000, config.hop_ms / 1000
        if self._log_mel:  # whole numbers of samples
            self.window_seconds, self.hop_seconds = self._log_mel.window / sample_rate, self._log_mel.hop / sample_rate
        self.statistics: Statistics | None = None
        """Statistics for `features.normalise=corpus`, set by `measure` or from a checkpoint."""

    def frames_of(self, lengths: Tensor) -> Tensor:
        """Return the number of frames, with margins, of recordings of the given lengths: of the same shape, int64."""
        return (self._log_mel.frames_of(lengths) if self._log_mel else lengths) + 2 * self.config.margin

    @cached_property
    def augmentation(self) -> SpeechAugmentation:
        """Return the augmentation; its noises are read on first use.

        Raises:
            DataError: if there are none, or one is empty.
        """
        noises, folder = (), self._augment.noise_path
        if self._augment.noise and folder and self._read_noises:
            noises = self._read_noises(folder)
            if not len(noises) or not all(len(noise) for noise in noises):
                raise DataError(f"augment.noise_path: {folder}: no recordings, or an empty one", "or augment.noise=0")
        return SpeechAugmentation(self._augment, self._seed, noises)

    @torch.no_grad()
    def __call__(
        self, waveforms: Tensor, lengths: Tensor, samples: Tensor, epoch: int, training: bool, view: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return the features of a batch, and their numbers of frames.

        Args:
            waveforms: (B, N), int16, or float32 in [-1, 1]; or stored features, (B, T, F), float32.
            lengths: number of samples, or frames, of each, (B,), int64; on the CPU, to avoid a synchronisation with the
                device.
            samples: indices of the recordings in the data, (B,), int64; on the CPU, like `lengths`.
            epoch: counts from 0.
            training: whether the recordings are augmented.
            view: number of the augmented view, see `SpeechAugmentation.features`.

        Returns:
            Features (B, T, F), float32, 0 after the last frame of each, on the device of `waveforms`; and numbers of
            frames (B,), int64, on the device of `lengths`. T is the number of frames, with margins, of N samples.

        Raises:
            DataError: if the noises cannot be read, at their first use.
        """
        features, counts = self._plain(waveforms, lengths, (samples, epoch) if training else None)
        margin = self.config.margin
        features = pad(self._normalise(features, counts), (0, 0, margin, margin))
        counts = counts + 2 * margin
        return self.augmentation.features(features, counts, samples, epoch, view) if training else features, counts

    def _plain(self, waveforms: Tensor, lengths: Tensor, augmented: tuple[Tensor, int] | None) -> tuple[Tensor, Tensor]:
        """Return features (B, T, F) before they are normalised, and their numbers of frames."""
        if not self._log_mel:
            valid = mask_of(to_device(lengths, waveforms.device), waveforms.shape[1])
            return waveforms.masked_fill(~valid[:, :, None], 0), lengths
        sound = shares(waveforms)
        if augmented:
            sound = self.augmentation.sound(sound, lengths, *augmented)
        return self._log_mel(sound, lengths)

    @torch.no_grad()
    def measure(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Statistics:
        """Compute the statistics of all frames of the training data, without augmentation, for normalisation.

        Args:
            batches: waveforms and lengths, see `__call__`.

        Raises:
            DataError: if there are no frames.
        """
        bins = self.config.bins
        total, squares, count = torch.zeros(bins).double(), torch.zeros(bins).double(), 0
        for waveforms, lengths in batches:
            features, counts = self._plain(waveforms, lengths, None)
            sums = _sums(features)
            total, squares = total + sums[0].sum(0).cpu(), squares + sums[1].sum(0).cpu()
            count += int(counts.sum())
        if not count:
            raise DataError("the training data has no frame of sound", "check its recordings and features.window_ms")
        mean, std = _moments(total, squares, torch.tensor(count))
        self.statistics = Statistics(mean.tolist(), std.tolist())
        return self.statistics

    def _normalise(self, features: Tensor, counts: Tensor) -> Tensor:
        """Return features with mean 0 and variance 1 in each bin over valid frames, (B, T, F), 0 after them."""
        device = features.device
        if self.config.normalise is Normalise.none:
            return features
        if self.config.normalise is Normalise.utterance:
            mean, std = _moments(*_sums(features), to_device(counts, device)[:, None].clamp(min=1))
            mean, std = mean.float()[:, None], std.float()[:, None]
        elif self.statistics:
            mean, std = (
                to_device(torch.tensor(value), device) for value in (self.statistics.mean, self.statistics.std)
            )
        else:
            raise RunError("features.normalise: corpus needs the training data's statistics, which were not computed")
        valid = mask_of(to_device(counts, device), features.shape[1])
        return features.sub(mean).div_(std).masked_fill_(~valid[:, :, None], 0)


def _sums(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of features and of their squares over time, (B, F), float64."""
    values = exact(features)
    return values.sum(1), values.square().sum(1)


def _moments(total: Tensor, squares: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of `count` numbers, with the shape of `total`."""
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=MIN_STD)
