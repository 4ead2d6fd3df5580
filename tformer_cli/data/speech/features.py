"""The front end: from sound, or from stored features, to what the model sees, on whatever device the batch is on.

B recordings, N samples, T frames, F numbers a frame.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from tformer_cli.config.schema import FeatureConfig, Features, Normalise, SpeechAugmentConfig
from tformer_cli.data.speech.augment import SpeechAugmentation, shares
from tformer_cli.data.speech.log_mel import LogMel, exact, mask_of
from tformer_cli.errors import DataError, RunError, checkpoint_content

__all__ = ["SpeechFeatures", "Statistics"]

LEAST_DEVIATION = 1e-3
"""Of natural logarithms: a bin that does not change, as above an old recording's highest frequency, stays near 0."""


@dataclass(frozen=True)
class Statistics:
    """Of the training data's features.

    Attributes:
        mean: of each bin, F numbers.
        deviation: of each bin, F numbers, more than 0.
    """

    mean: list[float]
    deviation: list[float]

    def to_json(self) -> bytes:
        """What a run keeps."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def of_json(cls, content: bytes, bins: int, origin: str) -> Statistics:
        """What `to_json` gave.

        Raises:
            RunError: if that is not what it is; names `origin`.
        """
        with checkpoint_content(origin, "means and deviations of features"):
            value = json.loads(content)
            statistics = cls([float(mean) for mean in value["mean"]], [float(std) for std in value["deviation"]])
        fit = len(statistics.mean) == len(statistics.deviation) == bins and all(map(math.isfinite, statistics.mean))
        if not fit or not all(0 < value < math.inf for value in statistics.deviation):
            raise RunError(f"{origin}: not the means and deviations of {bins} numbers a frame")
        return statistics


class SpeechFeatures:
    """What the model sees of recordings.

    The order is: loudness, noise, log-mel, normalisation, margins, SpecAugment. A recording's features do not depend on
    its batch mates, nor on how much padding there is: to the last bit on a CPU.

    Args:
        config: which features; of `kind` stored there is no sound, and what is said of it below is left out.
        augment: what training sees. Speed, silences and joining are done when a batch is made: `data.joining`.
        sample_rate: in Hz.
        seed: of the run.
        read_noises: gives the recordings in a folder, `augment.noise_path`, as (n,) int16 or float32 at `sample_rate`;
            called once, and only if training needs them.

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
        self.statistics: Statistics | None = None
        """Of `normalise` corpus: given by `measure`, or by who knows them from the run."""

    def frames_of(self, lengths: Tensor) -> Tensor:
        """Frames of recordings of such lengths, margins included: of the same shape, int64."""
        return (self._log_mel.frames_of(lengths) if self._log_mel else lengths) + 2 * self.config.margin

    @cached_property
    def augmentation(self) -> SpeechAugmentation:
        """What is done in training; noises are read at its first use.

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
        self, waveforms: Tensor, lengths: Tensor, samples: Tensor, epoch: int, training: bool
    ) -> tuple[Tensor, Tensor]:
        """Features of a batch.

        Args:
            waveforms: (B, N), int16, or float32 in [-1, 1]; or stored features, (B, T, F), float32.
            lengths: samples of each, or frames, (B,), int64; on the CPU the host does not have to wait for the device.
            samples: their numbers in the data, (B,), int64; as `lengths`.
            epoch: from 0.
            training: whether they are augmented.

        Returns:
            (B, T, F), float32, 0 after the last frame of each, where `waveforms` are; and their frames, (B,), int64,
            where `lengths` are. T is that of N samples, margins included.

        Raises:
            DataError: from the first use of noises.
        """
        features, counts = self._plain(waveforms, lengths, (samples, epoch) if training else None)
        margin = self.config.margin
        features = pad(self._normalise(features, counts), (0, 0, margin, margin))
        counts = counts + 2 * margin
        return self.augmentation.features(features, counts, samples, epoch) if training else features, counts

    def _plain(self, waveforms: Tensor, lengths: Tensor, augmented: tuple[Tensor, int] | None) -> tuple[Tensor, Tensor]:
        """Features (B, T, F) before they are normalised, and their frames."""
        if not self._log_mel:
            valid = mask_of(lengths.to(waveforms.device), waveforms.shape[1])
            return waveforms.masked_fill(~valid[:, :, None], 0), lengths
        sound = shares(waveforms)
        if augmented:
            sound = self.augmentation.sound(sound, lengths, *augmented)
        return self._log_mel(sound, lengths)

    @torch.no_grad()
    def measure(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Statistics:
        """Take statistics of all frames of training data, without augmentation; they are what normalises from then on.

        Args:
            batches: waveforms and lengths, as those of a call.

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
            raise DataError("the training data has no frame of sound", "look at its recordings, or features.window_ms")
        mean, deviation = _moments(total, squares, torch.tensor(count))
        self.statistics = Statistics(mean.tolist(), deviation.tolist())
        return self.statistics

    def _normalise(self, features: Tensor, counts: Tensor) -> Tensor:
        """To mean 0 and variance 1 of each bin, over the valid frames: (B, T, F), 0 after them."""
        device = features.device
        if self.config.normalise is Normalise.none:
            return features
        if self.config.normalise is Normalise.utterance:
            mean, deviation = _moments(*_sums(features), counts.to(device)[:, None].clamp(min=1))
            mean, deviation = mean.float()[:, None], deviation.float()[:, None]
        elif self.statistics:
            mean, deviation = (torch.tensor(value).to(device) for value in asdict(self.statistics).values())
        else:
            raise RunError("features.normalise: corpus needs the training data's statistics, which were not taken")
        valid = mask_of(counts.to(device), features.shape[1])
        return features.sub(mean).div_(deviation).masked_fill_(~valid[:, :, None], 0)


def _sums(features: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of features and of their squares over time, (B, F), float64."""
    values = exact(features)
    return values.sum(1), values.square().sum(1)


def _moments(total: Tensor, squares: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of `count` numbers, as `total`."""
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=LEAST_DEVIATION)
