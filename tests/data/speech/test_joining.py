"""Utterances of an epoch: who is joined to whom, at which speed, and how long that is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tformer_cli.config.schema import SpeechAugmentConfig
from tformer_cli.data.core.batching import LengthBatches
from tformer_cli.data.speech.joining import Utterances, change_speed, fixed_utterances, training_utterances

LENGTHS = np.random.default_rng(0).integers(50, 400, 600)
TEXTS = [f"word{row}" for row in range(len(LENGTHS))]
SETTINGS = {
    "none": {},
    "join": {"join": 0.5, "join_most": 4},
    "speed": {"speeds": [0.9, 1.0, 1.1]},
    "silence": {"shift_ms": 20.0},
    "all": {"join": 0.5, "join_most": 4, "speeds": [0.9, 1.0, 1.1], "shift_ms": 20.0},
}


def tone(length: int, row: int = 0) -> np.ndarray:
    """At 1/40 of the rate, int16; the number of the row is in its loudness."""
    return np.round((1000 + row) * np.sin(np.arange(length) * 2 * np.pi / 40)).astype(np.int16)


def gather(rows: np.ndarray) -> list[np.ndarray]:
    return [tone(LENGTHS[row], row) for row in rows]


def strings(seed: int = 1, epoch: int = 0, longest: int = 10_000, **config) -> Utterances:
    return training_utterances(LENGTHS, SpeechAugmentConfig(**config), 8_000, longest, seed, epoch)


def equal(first: Utterances, second: Utterances) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in vars(first))


@pytest.mark.parametrize("name", SETTINGS)
def test_they_are_a_function_of_seed_and_epoch_and_as_long_as_they_say(name):
    utterances = strings(**SETTINGS[name])
    assert equal(utterances, strings(**SETTINGS[name])) and len(utterances) == len(LENGTHS)
    if name != "none":
        assert not equal(utterances, strings(epoch=1, **SETTINGS[name]))
        assert not equal(utterances, strings(2, **SETTINGS[name]))
    assert (utterances.parts[:, 0] == np.arange(len(LENGTHS))).all()
    for index in range(100):
        sound = utterances.sound(index, gather)
        assert sound.dtype == np.int16 and len(sound) == utterances.lengths[index]


def test_one_setting_does_not_change_what_another_draws():
    everything = strings(**SETTINGS["all"])
    assert np.array_equal(everything.parts, strings(**SETTINGS["join"]).parts)
    assert np.array_equal(everything.speeds, strings(**SETTINGS["speed"]).speeds)
    assert np.array_equal(everything.silences, strings(**SETTINGS["silence"]).silences)
    drawn = (everything.speeds, *everything.silences.T, (everything.parts >= 0).sum(1))
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 4.5 / np.sqrt(len(everything))


def test_as_many_are_joined_as_was_said_and_by_all_as_often():
    numbers, followers = np.zeros(4), np.zeros(len(LENGTHS))
    for epoch in range(20):
        parts = strings(epoch=epoch, **SETTINGS["join"]).parts
        numbers += np.bincount((parts >= 0).sum(1), minlength=5)[1:]
        followers += np.bincount(parts[:, 1:][parts[:, 1:] >= 0], minlength=len(LENGTHS))
    assert stats.chisquare(numbers, numbers.sum() * np.array([1 / 2, 1 / 6, 1 / 6, 1 / 6])).pvalue > 1e-3
    assert stats.chisquare(followers).pvalue > 1e-3


def test_sound_and_text_are_joined_in_one_order():
    utterances = strings(join=1.0, join_most=3)
    for index in range(20):
        rows = utterances.parts[index][utterances.parts[index] >= 0]
        assert 2 <= len(rows) <= 3
        assert np.array_equal(utterances.sound(index, gather), np.concatenate(gather(rows)))
        assert utterances.text(index, TEXTS) == " ".join(TEXTS[row] for row in rows)
        assert utterances.text(index, TEXTS, "") == "".join(TEXTS[row] for row in rows)
    frames = utterances.sound(0, lambda rows: [np.full((3, 2), row, np.float32) for row in rows])
    assert frames.tolist() == np.repeat(utterances.parts[0][utterances.parts[0] >= 0], 3)[:, None].repeat(2, 1).tolist()


def test_nothing_longer_than_allowed_is_joined():
    utterances = strings(longest=500, join=1.0, join_most=5)
    joined = (utterances.parts >= 0).sum(1) > 1
    assert 0.3 < joined.mean() < 1 and utterances.lengths.max() <= 500
    assert ((utterances.parts[:, :-1] >= 0) >= (utterances.parts[:, 1:] >= 0)).all()


def test_speeds_and_silences_are_as_often_as_each_other():
    utterances = strings(**SETTINGS["all"])
    assert stats.chisquare(np.unique(utterances.speeds, return_counts=True)[1]).pvalue > 1e-3
    assert set(utterances.speeds) == {0.9, 1.0, 1.1}
    assert utterances.silences.min() == 0 and utterances.silences.max() == 160
    assert stats.kstest(utterances.silences.ravel() / 161, "uniform").pvalue > 1e-3
    index = int(np.argmax(utterances.silences.min(1)))
    before, after = utterances.silences[index]
    sound = utterances.sound(index, gather)
    assert not sound[:before].any() and not sound[-after:].any() and np.abs(sound[before:-after]).max() > 900


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("speed", [0.9, 1.1, 2.0, 0.737])
def test_a_faster_recording_is_shorter_and_higher(speed, dtype):
    sound = tone(8_000).astype(dtype)
    resampled = change_speed(sound, speed)
    assert resampled.dtype == dtype and len(resampled) == round(8_000 / speed)
    expected = 1000 * np.sin(np.arange(len(resampled)) * speed * 2 * np.pi / 40)
    assert np.abs(resampled - expected)[100:-100].max() < 2
    assert np.array_equal(change_speed(sound, speed), resampled)


def test_a_loud_recording_is_cut_off_and_does_not_turn_over():
    square = np.where(np.arange(4_000) % 100 < 50, 32_767, -32_768).astype(np.int16)
    exact = change_speed(square.astype(np.float32), 0.9)
    assert exact.max() > 33_000 and exact.min() < -33_000
    assert np.abs(change_speed(square, 0.9) - exact.clip(-32_768, 32_767)).max() <= 0.5


def test_of_whole_numbers_there_is_no_dither():
    """soxr draws it from the time and from where its memory lies."""
    sound = tone(4_000)
    exact = change_speed(sound.astype(np.float32), 1.1)
    assert np.array_equal(change_speed(sound, 1.1), exact.round().astype(np.int16))


def test_fixed_utterances_hold_each_recording_once():
    utterances = fixed_utterances(LENGTHS, 3, 7, seed=4)
    parts = utterances.parts[utterances.parts >= 0]
    assert np.array_equal(np.sort(parts), np.arange(len(LENGTHS))) and not np.array_equal(parts, np.sort(parts))
    numbers = (utterances.parts >= 0).sum(1)
    assert numbers[:-1].min() >= 3 and numbers.max() == 7 and numbers[-1] >= 1
    assert stats.chisquare(np.bincount(numbers[:-1])[3:]).pvalue > 1e-3
    assert equal(utterances, fixed_utterances(LENGTHS, 3, 7, seed=4))
    assert not np.array_equal(utterances.parts[:50], fixed_utterances(LENGTHS, 3, 7, seed=5).parts[:50])
    assert [len(utterances.sound(index, gather)) for index in range(9)] == utterances.lengths[:9].tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 20])
@pytest.mark.parametrize(("low", "high"), [(1, 2), (2, 2), (3, 7), (1, 30)])
def test_fixed_utterances_of_few_recordings(count, low, high):
    utterances = fixed_utterances(LENGTHS[:count], low, high, seed=0)
    assert np.array_equal(np.sort(utterances.parts[utterances.parts >= 0]), np.arange(count))
    assert ((utterances.parts >= 0).sum(1) > 0).all() and utterances.lengths.sum() == LENGTHS[:count].sum()


def test_single_recordings_stay_as_they_are():
    utterances = fixed_utterances(LENGTHS, 1, 1, seed=4)
    assert np.array_equal(utterances.parts[:, 0], np.arange(len(LENGTHS)))
    assert np.array_equal(utterances.lengths, LENGTHS)


def test_batches_are_planned_by_the_lengths_of_their_epoch():
    batches = LengthBatches(lambda epoch: strings(epoch=epoch, **SETTINGS["all"]).lengths, batch_tokens=8_000, seed=1)
    for epoch in (0, 3):
        lengths = strings(epoch=epoch, **SETTINGS["all"]).lengths
        seen = [batches.indices(epoch, index) for index in range(len(batches))]
        assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(len(LENGTHS)))
        assert all(len(rows) * lengths[rows].max() <= 8_000 for rows in seen)
