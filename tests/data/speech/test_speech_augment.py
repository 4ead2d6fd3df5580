"""Augmentation of speech: a function of seed, epoch and sample alone, and what each setting does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from tformer_cli.config.schema import SpeechAugmentConfig
from tformer_cli.data.image import augment
from tformer_cli.data.image.inputs import PARTNER_STREAM
from tformer_cli.data.speech.augment import SpeechAugmentation, Stream, shares
from tformer_cli.objectives.masked_patches import MASKING_STREAM

NOISES = [(1000 * np.sin(np.arange(4_001) / 3)).astype(np.int16), np.linspace(-0.5, 0.5, 77, dtype=np.float32)]
SOUND = {
    "gain": {"gain_db": 12.0},
    "white": {"noise": 0.6},
    "recorded": {"noise": 0.6, "noise_path": "somewhere"},
    "both": {"gain_db": 12.0, "noise": 1.0},
}
FEATURES = {
    "time": {"time_masks": 2, "time_mask_share": 0.3},
    "adaptive": {"adaptive_masks": 0.04, "time_mask_frames": 0},
    "frequency": {"frequency_masks": 2, "frequency_mask_bins": 5},
    "warp": {"time_warp": 6},
    "all": {"time_masks": 2, "time_mask_share": 0.3, "frequency_masks": 1, "frequency_mask_bins": 5, "time_warp": 6},
}


def augmentation(seed: int = 5, **config) -> SpeechAugmentation:
    return SpeechAugmentation(SpeechAugmentConfig(**config), seed, NOISES if "noise_path" in config else ())


def sounds(rows: int, samples: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (rows, samples)).astype(np.float32))


def frames(rows: int, count: int, bins: int = 20) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(3, 0.1, (rows, count, bins)).astype(np.float32))


def test_no_two_uses_share_a_stream():
    used = [*map(int, augment.Stream), PARTNER_STREAM, MASKING_STREAM, *map(int, Stream)]
    assert len(used) == len(set(used))


@pytest.mark.parametrize(
    ("kind", "config"),
    [("sound", config) for config in SOUND.values()] + [("features", config) for config in FEATURES.values()],
    ids=[*SOUND, *FEATURES],
)
def test_an_utterance_does_not_depend_on_its_batch(kind, config):
    """Alone it becomes the same, to the last bit, as among others in a longer batch; and something else elsewhere."""
    random = np.random.default_rng(3)
    lengths, samples = torch.from_numpy(random.integers(20, 90, 30)), torch.from_numpy(random.permutation(1000)[:30])
    inputs = sounds(30, 101) if kind == "sound" else frames(30, 101)
    for row, length in enumerate(lengths.tolist()):
        inputs[row, length:] = 9 if kind == "sound" else 0
    original = inputs.clone()
    together = getattr(augmentation(**config), kind)(inputs, lengths, samples, 2)
    assert torch.equal(inputs, original) and together.shape == inputs.shape and together.isfinite().all()
    for i, length in enumerate(lengths.tolist()):
        part = slice(i, i + 1)
        alone = getattr(augmentation(**config), kind)(inputs[part, :length].clone(), lengths[part], samples[part], 2)
        assert torch.equal(alone[0], together[i, :length])
        if kind == "features":
            assert not together[i, length:].any()
    for seed, epoch in ((5, 3), (6, 2)):
        other = getattr(augmentation(seed, **config), kind)(inputs, lengths, samples, epoch)
        assert (other != together).flatten(1).any(1).float().mean() > 0.5


def test_nothing_set_changes_nothing():
    inputs, lengths, samples = sounds(4, 50), torch.full((4,), 50), torch.arange(4)
    assert torch.equal(augmentation().sound(inputs, lengths, samples, 0), inputs)
    assert torch.equal(augmentation().features(inputs[:, :, None], lengths, samples, 0), inputs[:, :, None])


def test_loudness_and_noise_are_unrelated():
    inputs, lengths, samples = sounds(1, 40).expand(1000, -1), torch.full((1000,), 40), torch.arange(1000)
    louder = augmentation(gain_db=6.0).sound(inputs, lengths, samples, 0)[:, 0] / inputs[:, 0]
    noise = (augmentation(noise=0.5).sound(inputs, lengths, samples, 0) - inputs).square().sum(1)
    assert np.abs(np.corrcoef((louder.log(), noise, noise > 0))[0, 1:]).max() < 4.5 / np.sqrt(1000)


def test_loudness_is_uniform_in_decibels():
    inputs = sounds(1, 40).expand(2000, -1)
    augmented = augmentation(gain_db=6.0).sound(inputs, torch.full((2000,), 40), torch.arange(2000), 0)
    ratio = augmented / inputs
    assert (ratio - ratio[:, :1]).abs().max() < 1e-5
    decibels = 20 * ratio[:, 0].double().log10().numpy()
    assert stats.kstest(decibels, stats.uniform(-6, 12).cdf).pvalue > 1e-3


@pytest.mark.parametrize("path", ["", "somewhere"])
def test_noise_comes_as_often_and_as_loud_as_was_said(path):
    rows, length = 3000, 900
    inputs = sounds(1, 1000).expand(rows, -1).clone()
    inputs[:, length:] = 0
    settings = {"noise": 0.3, "noise_low_db": 5.0, "noise_high_db": 15.0} | ({"noise_path": path} if path else {})
    augmented = augmentation(**settings).sound(inputs, torch.full((rows,), length), torch.arange(rows), 0)
    noise = (augmented - inputs)[:, :length]
    noisy = noise.abs().amax(1) > 0
    assert stats.binomtest(int(noisy.sum()), rows, 0.3).pvalue > 1e-3
    ratio = inputs[noisy, :length].double().square().sum(1) / noise[noisy].double().square().sum(1)
    decibels = (10 * ratio.log10()).numpy()
    assert decibels.min() > 4.999 and decibels.max() < 15.001
    assert stats.kstest(decibels, stats.uniform(5, 10).cdf).pvalue > 1e-3
    if path:
        starts = [np.arange(len(noise_recording))[:, None] + np.arange(length) for noise_recording in NOISES]
        stretches = [
            noise_recording.astype(np.float32)[indices % len(noise_recording)]
            for noise_recording, indices in zip(NOISES, starts, strict=True)
        ]
        stretches = torch.from_numpy(np.concatenate(stretches))
        likeness = torch.nn.functional.cosine_similarity(stretches, noise[noisy][:1], dim=1)
        assert likeness.max() > 0.9999  # a stretch of one of them, over and over
    else:
        neighbours = [float(np.corrcoef(row[1:], row[:-1])[0, 1]) for row in noise[noisy].numpy()]
        assert abs(np.mean(neighbours)) < 0.01
        spectrum = torch.fft.rfft(noise[noisy]).abs().square()[:, 1:-1]
        flat = (spectrum / spectrum.mean(1, keepdim=True)).mean(0)
        assert flat.min() > 0.8 and flat.max() < 1.2


def test_silence_stays_silent():
    augmented = augmentation(noise=1.0).sound(torch.zeros(3, 50), torch.full((3,), 50), torch.arange(3), 0)
    assert not augmented.any()


def hidden(count: int, rows: int = 4000, total: int = 0, **config) -> np.ndarray:
    """What is hidden of utterances of `count` frames in a batch of `total`: (rows, total, bins), bool."""
    inputs = frames(rows, total or count)
    inputs[:, count:] = 0
    augmented = augmentation(**config).features(inputs, torch.full((rows,), count), torch.arange(rows), 0)
    assert torch.equal(augmented[augmented != 0], inputs[augmented != 0])
    return ((augmented == 0) & (inputs != 0)).numpy()


def test_time_masks_are_stretches_of_all_bins_of_each_length_as_often():
    mask = hidden(50, time_masks=1, time_mask_frames=10, time_mask_share=0.5, total=70)
    assert (mask == mask[:, :, :1]).all()
    mask = mask[:, :50, 0]
    lengths, starts = mask.sum(1), mask.argmax(1)
    assert ((np.diff(mask.astype(int), axis=1, prepend=0) == 1).sum(1) == (lengths > 0)).all()
    assert stats.chisquare(np.bincount(lengths, minlength=11)).pvalue > 1e-3 and lengths.max() == 10
    assert stats.chisquare(np.bincount(starts[lengths == 10], minlength=41)).pvalue > 1e-3


def test_time_masks_are_no_longer_than_their_share_of_the_utterance():
    assert hidden(50, time_masks=1, time_mask_frames=40, time_mask_share=0.1)[:, :, 0].sum(1).max() == 5
    assert hidden(50, time_masks=1, time_mask_frames=0, time_mask_share=0.5)[:, :, 0].sum(1).max() == 25


def test_adaptive_masks_follow_the_length():
    settings = {"adaptive_masks": 0.04, "time_mask_frames": 0, "time_mask_share": 0.02}
    for count, most in ((100, 4), (24, 0), (1000, 20)):
        mask = hidden(count, rows=300, **settings)[:, :, 0].astype(int)
        stretches = (np.diff(mask, axis=1, prepend=0) == 1).sum(1)
        assert stretches.max() <= most and (not most or stretches.mean() > most / 3)


def test_frequency_masks_are_bands_of_all_frames():
    mask = hidden(8, frequency_masks=1, frequency_mask_bins=6)
    assert (mask == mask[:, :1]).all()
    widths = mask[:, 0].sum(1)
    assert stats.chisquare(np.bincount(widths, minlength=7)).pvalue > 1e-3 and widths.max() == 6
    starts = mask[:, 0].argmax(1)[widths == 6]
    assert stats.chisquare(np.bincount(starts, minlength=15)).pvalue > 1e-3
    two = hidden(8, frequency_masks=2, frequency_mask_bins=6)[:, 0].sum(1)
    assert two.max() > 6


def test_a_warp_moves_one_point_and_keeps_the_ends():
    """Features that are the time itself show where each frame is from."""
    rows, count, farthest = 2000, 60, 8
    time = torch.arange(70.0) * (torch.arange(70) < count)
    inputs = time[None, :, None].expand(rows, -1, 1)
    warped = augmentation(time_warp=farthest).features(inputs, torch.full((rows,), count), torch.arange(rows), 0)
    moved = warped[:, :count, 0].numpy()
    assert not warped[:, count:].any()
    assert (np.diff(moved, axis=1) >= 0).all() and (moved[:, -1] <= count - 1).all()
    inner = np.abs(moved - np.arange(count)).max(1)
    assert inner.max() <= farthest + 1e-4 and inner.max() > farthest - 0.5
    assert (inner < 1e-4).mean() == pytest.approx(1 / 17, abs=0.025)
    # Two straight lines: the slope changes once, over at most two steps.
    bends = (np.abs(np.diff(moved, n=2, axis=1)) > 1e-3).sum(1)
    assert bends.max() <= 2
    short = inputs[:, : 2 * farthest]
    unchanged = augmentation(time_warp=farthest).features(
        short, torch.full((rows,), 2 * farthest), torch.arange(rows), 0
    )
    assert torch.equal(unchanged, short)


def test_shares_of_whole_numbers():
    samples = shares(torch.tensor([[-32768, 0, 16384]], dtype=torch.int16))
    assert samples.tolist() == [[-1, 0, 0.5]]
