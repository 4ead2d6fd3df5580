"""Log-mel features: Kaldi's, and the same alone as in a padded batch."""

from __future__ import annotations

import kaldi_native_fbank
import numpy as np
import pytest
import torch

from tformer_cli.config.schema import FeatureConfig, Window
from tformer_cli.data.speech.log_mel import FLOOR, LogMel
from tformer_cli.errors import ConfigError

KALDI_WINDOWS = {Window.povey: "povey", Window.hann: "hanning"}


def speech(samples: int, seed: int = 0) -> np.ndarray:
    """Something with a tone, coloured and white noise, a constant, and digital silence at the beginning."""
    random = np.random.default_rng(seed)
    drift = np.cumsum(random.standard_normal(samples)) * 0.002
    sound = drift + 0.1 * np.sin(np.arange(samples) * 0.3) + random.standard_normal(samples) * 0.003 + 0.2
    sound[: samples // 8] = 0
    return (sound / max(1, np.abs(sound).max())).astype(np.float32)


def kaldi(sound: np.ndarray, rate: int, config: FeatureConfig) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    frames, mels = options.frame_opts, options.mel_opts
    frames.samp_freq, frames.dither, frames.preemph_coeff = rate, 0, config.preemphasis
    frames.frame_length_ms, frames.frame_shift_ms = config.window_ms, config.hop_ms
    frames.window_type = KALDI_WINDOWS[config.window]
    mels.num_bins, mels.low_freq, mels.high_freq = config.bins, config.low_hz, config.high_hz
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(rate, sound.tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(frame) for frame in range(computer.num_frames_ready)])


@pytest.mark.parametrize(
    ("rate", "settings"),
    [
        (16_000, {}),
        (8_000, {"bins": 80}),
        (8_000, {"bins": 40, "window": Window.hann, "high_hz": 3800.0}),
        (11_025, {"bins": 40, "window_ms": 32.0, "low_hz": 0.0}),
        (22_050, {"window_ms": 20.0, "hop_ms": 12.5, "preemphasis": 0.0}),
        (44_100, {"bins": 128, "window_ms": 64.0, "window": Window.hann}),
        (48_000, {"bins": 13, "high_hz": 8000.0}),
    ],
)
def test_they_are_those_of_kaldi(rate, settings):
    config, sound = FeatureConfig(**settings), speech(int(1.37 * rate))
    features, counts = LogMel(config, rate)(torch.from_numpy(sound)[None], torch.tensor([len(sound)]))
    expected = kaldi(sound, rate, config)
    assert tuple(features.shape) == (1, *expected.shape) and counts.tolist() == [len(expected)]
    difference = np.abs(features[0].numpy() - expected)
    assert difference.max() < 2e-3 and np.quantile(difference, 0.99) < 1e-4
    assert expected.min() == pytest.approx(np.log(FLOOR), abs=1e-5) and expected.std() > 1


def test_a_recording_alone_has_the_bits_it_has_in_a_padded_batch():
    lengths = torch.tensor([16_000, 40_001, 399, 400, 5_000, 0, 401, 9_999, 123_456])
    waveforms = torch.full((9, 123_456), float("nan"))  # what is after a recording's end must not be seen
    for row, length in enumerate(lengths.tolist()):
        waveforms[row, :length] = torch.from_numpy(speech(length, seed=row)) if length > 1 else 0
    log_mel = LogMel(FeatureConfig(), 16_000)
    together, counts = log_mel(waveforms, lengths)
    assert counts.tolist() == [98, 248, 0, 1, 29, 0, 1, 60, 770] and together.shape == (9, 770, 80)
    assert torch.equal(log_mel.frames_of(lengths), counts)
    for row, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
        alone, count_alone = log_mel(waveforms[row : row + 1, :length].clone(), lengths[row : row + 1])
        assert count_alone.tolist() == [count] and alone.shape[1] == count
        assert torch.equal(alone[0], together[row, :count]) and not together[row, count:].any()


def test_half_precision_around_it_changes_nothing():
    sound, length = torch.from_numpy(speech(8_000))[None], torch.tensor([8_000])
    log_mel = LogMel(FeatureConfig(), 16_000)
    with torch.autocast("cpu", torch.bfloat16):
        features = log_mel(sound, length)[0]
    assert torch.equal(features, log_mel(sound, length)[0])


@pytest.mark.parametrize(
    ("rate", "settings", "message"),
    [
        (8_000, {"bins": 200}, r"features\.bins: \d+ of 200 filters are narrower than .*: features\.bins=100"),
        (1_000, {"window_ms": 1.0}, r"features\.window_ms, hop_ms: 1 and 10 samples at data\.sample_rate 1000: "),
    ],
)
def test_filters_and_windows_that_hold_nothing_are_refused(rate, settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        LogMel(FeatureConfig(**settings), rate)
    assert "\n" not in str(error.value)
