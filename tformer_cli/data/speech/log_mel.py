"""Log-mel features as Kaldi's `compute-fbank-feats` defines them, without dither: a batch of recordings at a time.

A frame is cut out of the recording, its mean is subtracted, each sample loses a share of the one before, a window that
is 0 at the first and the last is laid over it, and it is filled up with zeros to a power of two. Triangular filters,
evenly spaced by mel, sum its power spectrum; a feature is the logarithm of a sum, or of float32's epsilon if that is
more. Only whole frames count: (N - window) / hop + 1 of them, none if the recording is shorter than a window.

Samples are in [-1, 1], where Kaldi's own tools have 16-bit whole numbers: it is the same but for a constant and for the
floor, which is then at about what rounding to 16 bits sounds like, so that digital silence is no outlier.

B recordings, N samples, T frames, W samples of a window, F filters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import FeatureConfig, Window
from tformer_cli.errors import ConfigError

__all__ = ["LogMel", "exact", "mask_of"]

FLOOR = torch.finfo(torch.float32).eps
FRAMES_AT_ONCE = 256
"""On a CPU: what is computed of a frame stays in its cache, and a frame's bits do not depend on how many there are, as
a matrix product of another height may sum in another order."""


def mel(hz: Tensor) -> Tensor:
    """Mel of frequencies (O'Shaughnessy 1987, with the natural logarithm), as `hz`."""
    return 1127 * torch.log1p(hz / 700)


def mask_of(counts: Tensor, width: int) -> Tensor:
    """(B, width), bool: True at the first `counts` (B,) places of each row."""
    return torch.arange(width, device=counts.device) < counts[:, None]


def exact(values: Tensor) -> Tensor:
    """As float64, in whose sums the order does not show; as they are where there is no such type (Apple's MPS)."""
    return values if values.device.type == "mps" else values.double()


class LogMel:
    """Logarithms of mel-filtered power, float32.

    Held against kaldi-native-fbank 1.23 (float32, as this is) on sound in [-1, 1]: no value differs by more than 2e-3,
    and 99 of 100 by less than 1e-4, at rates from 8 to 44.1 kHz, 13 to 128 filters, windows of 20 to 64 ms. A recording
    has the same bits alone and in a batch, on a CPU.

    Args:
        config: filters, windows, limits.
        sample_rate: in Hz.

    Raises:
        ConfigError: if the window or hop holds no samples, or a filter lies between two frequencies of the spectrum.
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
        self._kept = {torch.device("cpu"): (self._weights(), self._filters(sample_rate))}

    def frames_of(self, samples: Tensor) -> Tensor:
        """Frames of recordings with so many samples each: of the same shape, int64."""
        return torch.where(samples < self.window, 0, (samples - self.window) // self.hop + 1)

    @torch.no_grad()
    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features of a batch.

        Args:
            waveforms: (B, N), float32 in [-1, 1]; what is after the end of each may be anything.
            lengths: samples of each, (B,), int64.

        Returns:
            (B, T, F), float32, 0 after the last frame of each, T being that of N samples; and their frames, (B,),
            int64, where `lengths` are.
        """
        counts, (rows, samples), bins = self.frames_of(lengths), waveforms.shape, self.config.bins
        longest = int(self.frames_of(torch.tensor(samples)))
        stride = max(1, math.ceil(samples / self.hop))  # frames that begin in a row, as all rows make one line
        line = functional.pad(waveforms, (0, stride * self.hop - samples)).reshape(-1)
        total = stride * rows
        step = FRAMES_AT_ONCE if line.device.type == "cpu" else total
        chunks = math.ceil(total / step)
        line = functional.pad(line, (0, max(0, (chunks * step - 1) * self.hop + self.window - len(line))))
        frames = line.unfold(0, self.window, self.hop)
        found = torch.empty(chunks * step, bins, device=line.device)
        with torch.autocast(line.device.type, enabled=False):
            for start in range(0, chunks * step, step):
                found[start : start + step] = self._features(frames[start : start + step])
        valid = mask_of(counts.to(line.device), longest)
        return found[:total].view(rows, stride, bins)[:, :longest].masked_fill(~valid[:, :, None], 0), counts

    def _features(self, frames: Tensor) -> Tensor:
        """(n, F) of frames (n, W)."""
        weights, filters = self._constants(frames.device)
        frames = frames - frames.mean(1, keepdim=True)
        emphasised = frames - self.config.preemphasis * functional.pad(frames[:, :-1], (1, 0))
        spectrum = torch.view_as_real(torch.fft.rfft(emphasised.mul_(weights), self.size)[:, : self.size // 2])
        return spectrum.square_().sum(2).matmul(filters).clamp_(min=FLOOR).log_()

    def _constants(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._kept:
            weights, filters = self._kept[torch.device("cpu")]
            self._kept[device] = weights.to(device), filters.to(device)
        return self._kept[device]

    def _weights(self) -> Tensor:
        """The window, (W,): Hann's, or Povey's, which is that to a power and nearly Hamming's, but 0 at the ends."""
        hann = torch.hann_window(self.window, periodic=False, dtype=torch.float64)
        return (hann**0.85 if self.config.window is Window.povey else hann).float()

    def _filters(self, sample_rate: int) -> Tensor:
        """Triangles, (size / 2, F): each rises from the middle of that before, and falls to the middle of the next."""
        config, half = self.config, sample_rate / 2
        limits = mel(torch.tensor([config.low_hz, config.high_hz or half], dtype=torch.float64))
        edges = limits[0] + (limits[1] - limits[0]) * torch.arange(config.bins + 2) / (config.bins + 1)
        places = mel(torch.arange(self.size // 2, dtype=torch.float64) * sample_rate / self.size)[:, None]
        left, middle, right = edges[:-2], edges[1:-1], edges[2:]
        rising, falling = (places - left) / (middle - left), (right - places) / (right - middle)
        filters = rising.minimum(falling).clamp_(min=0).float()
        if empty := int((filters.sum(0) == 0).sum()):
            cause = f"features.bins: {empty} of {config.bins} filters are narrower than what a window of "
            cause += f"{config.window_ms:g} ms at data.sample_rate {sample_rate} tells apart"
            raise ConfigError(cause, f"features.bins={config.bins // 2}, or longer windows")
        return filters
