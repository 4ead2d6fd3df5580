"""Log-mel features as Kaldi's `compute-fbank-feats` defines them, without dither: a batch of recordings at a time.

The mean of a frame is subtracted, and a share of the previous sample from each sample (pre-emphasis). The frame is
multiplied by a window whose first and last value are 0, and padded with zeros to a power of two. Triangular filters,
which are evenly spaced by mel, sum its power spectrum. A feature is the logarithm of a sum, or of float32's epsilon if
that is larger. Only complete frames count: there are floor((N - W) / hop) + 1, or none if the recording is shorter than
a window.

Samples are in [-1, 1], whereas Kaldi's tools use 16-bit integers. The features therefore differ by a constant, and by
the floor. Here it is about the noise of rounding to 16 bits, so that digital silence is no outlier.

B recordings, N samples, T frames, W samples of a window, F filters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import FeatureConfig, Window
from tformer_cli.data.core.device import to_device
from tformer_cli.errors import ConfigError

__all__ = ["LogMel", "exact", "mask_of"]

FLOOR = torch.finfo(torch.float32).eps
FRAMES_AT_ONCE = 256
"""Number of frames that a CPU processes at once.

They fit into its cache. As the number is constant, the features of a frame do not depend on the number of frames to the
last bit: a matrix product with another number of rows may sum in another order.
"""


def mel(hz: Tensor) -> Tensor:
    """Convert frequencies in Hz to mel (O'Shaughnessy 1987, with the natural logarithm)."""
    return 1127 * torch.log1p(hz / 700)


def mask_of(counts: Tensor, width: int) -> Tensor:
    """Return the mask, (B, width), bool, that is True in the first `counts`, (B,), columns of each row."""
    return torch.arange(width, device=counts.device) < counts[:, None]


def exact(values: Tensor) -> Tensor:
    """Convert to float64, so that the order of summation hardly matters; on Apple's MPS, which lacks it, do nothing."""
    return values if values.device.type == "mps" else values.double()


class LogMel:
    """The computation of log-mel features, float32.

    On sound in [-1, 1], no value differs by more than 2e-3 from kaldi-native-fbank 1.23 (float32 too), and 99 of 100
    differ by less than 1e-4. The comparison covers rates from 8 to 44.1 kHz, 13 to 128 filters and windows of 20 to
    64 ms. On a CPU, the features of a recording are the same alone and in a batch, to the last bit.

    Args:
        config: filters, windows, limits.
        sample_rate: samples per second.

    Raises:
        ConfigError: if the window has fewer than 2 samples, the hop has none, or a filter is between two frequencies of
            the spectrum.
    """

    def __init__(self, config: FeatureConfig, sample_rate: int) -> None:
        self.config = config
        self.window, self.hop = (int(sample_rate * ms / 1000) for ms in (config.window_ms, config.hop_ms))
        if self.window < 2 or self.hop < 1:
            cause = (
                f"features.window_ms, hop_ms: {self.window} and {self.hop} samples at data.sample_rate {sample_rate}"
            )
            raise ConfigError(cause, "features.window_ms=25 features.hop_ms=10")
        self.size = 1 << (self.window - 1).bit_length()
        self._constants_by_device = {torch.device("cpu"): (self._weights(), self._filters(sample_rate))}

    def frames_of(self, samples: Tensor) -> Tensor:
        """Return the number of frames of recordings with the given numbers of samples: of the same shape, int64."""
        return torch.where(samples < self.window, 0, (samples - self.window) // self.hop + 1)

    @torch.no_grad()
    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of a batch, and their numbers of frames.

        Args:
            waveforms: (B, N), float32 in [-1, 1]; samples after the end of a recording are ignored.
            lengths: number of samples of each, (B,), int64.

        Returns:
            Features (B, T, F), float32, 0 after the last frame of each, where T is the number of frames of N samples;
            and numbers of frames (B,), int64, on the device of `lengths`.
        """
        counts, (rows, samples), bins = self.frames_of(lengths), waveforms.shape, self.config.bins
        longest = int(self.frames_of(torch.tensor(samples)))
        stride = max(1, math.ceil(samples / self.hop))  # frames that begin in a row of the concatenated rows
        line = functional.pad(waveforms, (0, stride * self.hop - samples)).reshape(-1)
        total = stride * rows
        step = FRAMES_AT_ONCE if line.device.type == "cpu" else total
        chunks = math.ceil(total / step)
        line = functional.pad(line, (0, max(0, (chunks * step - 1) * self.hop + self.window - len(line))))
        frames = line.unfold(0, self.window, self.hop)
        features = torch.empty(chunks * step, bins, device=line.device)
        with torch.autocast(line.device.type, enabled=False):
            for start in range(0, chunks * step, step):
                features[start : start + step] = self._features(frames[start : start + step])
        valid = mask_of(to_device(counts, line.device), longest)
        return features[:total].view(rows, stride, bins)[:, :longest].masked_fill(~valid[:, :, None], 0), counts

    def _features(self, frames: Tensor) -> Tensor:
        """Return the features, (n, F), of frames, (n, W)."""
        weights, filters = self._constants(frames.device)
        frames = frames - frames.mean(1, keepdim=True)
        emphasised = frames - self.config.preemphasis * functional.pad(frames[:, :-1], (1, 0))
        spectrum = torch.view_as_real(torch.fft.rfft(emphasised.mul_(weights), self.size)[:, : self.size // 2])
        return spectrum.square_().sum(2).matmul(filters).clamp_(min=FLOOR).log_()

    def _constants(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._constants_by_device:
            weights, filters = self._constants_by_device[torch.device("cpu")]
            self._constants_by_device[device] = weights.to(device), filters.to(device)
        return self._constants_by_device[device]

    def _weights(self) -> Tensor:
        """Return the window, (W,): Hann's, or Povey's, which is its power 0.85: like Hamming's, but 0 at the ends."""
        hann = torch.hann_window(self.window, periodic=False, dtype=torch.float64)
        return (hann**0.85 if self.config.window is Window.povey else hann).float()

    def _filters(self, sample_rate: int) -> Tensor:
        """Return the triangular filters, (size / 2, F), each from the centre of the previous to the centre of the next.

        Raises:
            ConfigError: if a filter is between two frequencies of the spectrum.
        """
        config, half = self.config, sample_rate / 2
        limits = mel(torch.tensor([config.low_hz, config.high_hz or half], dtype=torch.float64))
        edges = limits[0] + (limits[1] - limits[0]) * torch.arange(config.bins + 2) / (config.bins + 1)
        frequencies = mel(torch.arange(self.size // 2, dtype=torch.float64) * sample_rate / self.size)[:, None]
        left, middle, right = edges[:-2], edges[1:-1], edges[2:]
        rising, falling = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
        filters = rising.minimum(falling).clamp_(min=0).float()
        if empty := int((filters.sum(0) == 0).sum()):
            cause = f"features.bins: {empty} of {config.bins} filters are narrower than what a window of "
            cause += f"{config.window_ms:g} ms at data.sample_rate {sample_rate} tells apart"
            raise ConfigError(cause, f"features.bins={config.bins // 2}, or longer windows")
        return filters
