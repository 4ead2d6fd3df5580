"""The front end: what the model sees of recordings, alone and together, in training and in evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tformer_cli.config.schema import FeatureConfig, Features, Normalise, SpeechAugmentConfig
from tformer_cli.data.speech.features import SpeechFeatures, Statistics
from tformer_cli.data.speech.log_mel import LogMel
from tformer_cli.errors import DataError, RunError

RATE = 8_000
LENGTHS = torch.tensor([4_000, 9_000, 2_345, 7_777, 12_000])
SAMPLES = torch.tensor([11, 3, 500, 4, 0])
AUGMENT = SpeechAugmentConfig(
    gain_db=6, noise=0.5, time_masks=2, time_mask_share=0.2, frequency_masks=1, frequency_mask_bins=8, time_warp=5
)


def front_end(augment: SpeechAugmentConfig = AUGMENT, seed: int = 1, read_noises=None, **config) -> SpeechFeatures:
    return SpeechFeatures(FeatureConfig(bins=40, **config), augment, RATE, seed, read_noises)


def batch() -> torch.Tensor:
    random = np.random.default_rng(0)
    values = np.cumsum(random.normal(0, 300, (5, 12_000)), 1) % 20_000 - 10_000
    sound = torch.from_numpy(values.astype(np.int16))
    return sound * (torch.arange(12_000) < LENGTHS[:, None])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("normalise", Normalise)
@pytest.mark.parametrize("kind", Features)
def test_a_recording_does_not_depend_on_its_batch(kind, normalise, training):
    augment = AUGMENT
    if kind is Features.stored:
        augment = SpeechAugmentConfig(time_masks=2, frequency_masks=1, frequency_mask_bins=8, time_warp=5)
        random = np.random.default_rng(0)
        inputs, lengths = torch.from_numpy(random.normal(4, 2, (5, 120, 40)).astype(np.float32)), LENGTHS // 100
        inputs *= (torch.arange(120) < lengths[:, None])[:, :, None]
    else:
        inputs, lengths = batch(), LENGTHS
    features = front_end(augment, kind=kind, normalise=normalise)
    if normalise is Normalise.corpus:
        features.measure([(inputs, lengths)])
    together, counts = features(inputs, lengths, SAMPLES, 2, training)
    assert torch.equal(counts, features.frames_of(lengths)) and together.dtype == torch.float32
    for row, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
        part = slice(row, row + 1)
        alone, count_alone = features(inputs[part, :length].clone(), lengths[part], SAMPLES[part], 2, training)
        assert count_alone.tolist() == [count] and torch.equal(alone[0], together[row, :count])
        assert not together[row, count:].any()
    for seed, epoch in ((1, 3), (2, 2)):
        other = front_end(augment, seed, kind=kind, normalise=normalise)
        other.statistics = features.statistics
        assert torch.equal(other(inputs, lengths, SAMPLES, epoch, training)[0], together) is not training


def test_shares_and_whole_numbers_are_the_same_sound():
    sounds = batch()
    features = front_end()
    first, second = (features(sound, LENGTHS, SAMPLES, 0, True)[0] for sound in (sounds, sounds.float() / 32768))
    assert torch.equal(first, second)


def test_utterances_have_mean_0_and_variance_1_in_each_bin():
    features, counts = front_end()(batch(), LENGTHS, SAMPLES, 0, False)
    plain, _ = LogMel(FeatureConfig(bins=40), RATE)(batch() / 32768, LENGTHS)
    for row, count in enumerate(counts.tolist()):
        values = plain[row, :count].double().numpy()
        expected = (values - values.mean(0)) / np.maximum(values.std(0), 1e-3)
        assert np.abs(features[row, :count].numpy() - expected).max() < 1e-4


def test_a_bin_that_does_not_change_is_0():
    features, counts = front_end()(torch.zeros(1, 4_000), torch.tensor([4_000]), torch.tensor([0]), 0, False)
    assert counts.tolist() == [48] and features.abs().max() < 1e-2


def test_a_recording_shorter_than_a_window_has_no_frames():
    for training in (False, True):
        features, counts = front_end()(torch.ones(2, 100), torch.tensor([100, 0]), torch.tensor([0, 1]), 0, training)
        assert tuple(features.shape) == (2, 0, 40) and counts.tolist() == [0, 0]


def test_statistics_are_those_of_all_frames_of_all_batches():
    features, sounds = front_end(normalise=Normalise.corpus), batch()
    statistics = features.measure([(sounds[:2], LENGTHS[:2]), (sounds[2:], LENGTHS[2:])])
    plain, counts = LogMel(FeatureConfig(bins=40), RATE)(sounds / 32768, LENGTHS)
    frames = np.concatenate([plain[row, :count].numpy() for row, count in enumerate(counts)]).astype(np.float64)
    assert np.allclose(statistics.mean, frames.mean(0), atol=1e-5)
    assert np.allclose(statistics.std, frames.std(0), atol=1e-5)
    normalised, _ = features(sounds, LENGTHS, SAMPLES, 0, False)
    again = front_end(normalise=Normalise.corpus)
    again.statistics = Statistics.of_json(statistics.to_json(), 40, "statistics.json")
    assert torch.equal(again(sounds, LENGTHS, SAMPLES, 0, False)[0], normalised)
    valid = normalised[torch.arange(normalised.shape[1]) < counts[:, None]]
    assert valid.mean(0).abs().max() < 1e-4 and (valid.std(0) - 1).abs().max() < 1e-2


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"{}", b'{"mean": 3, "deviation": [1]}', b'{"mean": [0, 0], "deviation": [1, 0]}', b"\xff"]
    + [b'{"mean": [0], "deviation": [1]}', b'{"mean": [0, NaN], "deviation": [1, 1]}']
    + [b"[" * 100_000, b'{"mean": [0, 1' + b"0" * 400 + b'], "deviation": [1, 1]}'],
)
def test_damaged_statistics_are_named(content):
    with pytest.raises(RunError, match=r"^run/statistics\.json: "):
        Statistics.of_json(content, 2, "run/statistics.json")


def test_without_statistics_or_frames_there_is_one_line():
    with pytest.raises(RunError, match="statistics"):
        front_end(normalise=Normalise.corpus)(batch(), LENGTHS, SAMPLES, 0, False)
    with pytest.raises(DataError, match="no frame"):
        front_end().measure([(torch.zeros(1, 10), torch.tensor([10]))])


def test_noises_are_read_once_and_for_training_alone():
    folders = []

    def read(folder: str) -> list[np.ndarray]:
        folders.append(folder)
        return [np.arange(0, 5000, 100, np.int16)]

    features = front_end(SpeechAugmentConfig(noise=1.0, noise_path="noises"), read_noises=read)
    plain = features(batch(), LENGTHS, SAMPLES, 0, False)[0]
    assert not folders
    assert not torch.equal(features(batch(), LENGTHS, SAMPLES, 0, True)[0], plain)
    features(batch(), LENGTHS, SAMPLES, 1, True)
    assert folders == ["noises"]


@pytest.mark.parametrize("noises", [[], [np.zeros(0, np.int16)]])
def test_a_folder_without_noises_is_named(noises):
    config = SpeechAugmentConfig(noise=1.0, noise_path="noises")
    with pytest.raises(DataError, match=r"^augment\.noise_path: noises: "):
        front_end(config, read_noises=lambda folder: noises)(batch(), LENGTHS, SAMPLES, 0, True)


def test_what_is_hidden_is_the_mean():
    features = front_end(SpeechAugmentConfig(time_masks=3, time_mask_share=0.3))
    plain, masked = (features(batch(), LENGTHS, SAMPLES, 0, training)[0] for training in (False, True))
    changed = plain != masked
    assert changed.any() and not masked[changed].any() and math.isclose(float(plain[4].mean()), 0, abs_tol=1e-5)
