"""The built-in spoken numbers: what is said, how, and what the splits promise."""

from __future__ import annotations

import hashlib
import itertools
import locale
import os
import subprocess
import sys
import time
import types
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tformer_cli.builtin import spoken_numbers as spoken
from tformer_cli.builtin.spoken_numbers import held_out, in_words, split_of, spoken_numbers, synthesise
from tformer_cli.errors import ConfigError, DataError, install_command

espeak = pytest.importorskip("espeakng_loader")
pytest.importorskip("soxr")
RATE = 16_000


def digest(rows) -> str:
    """Of names, samples and transcripts."""
    found = hashlib.sha256()
    for name, wave, text in rows:
        found.update(name.encode() + wave.tobytes() + text.encode())
    return found.hexdigest()


# --- what is said ---


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (7, "seven"),
        (10, "ten"),
        (17, "seventeen"),
        (20, "twenty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (305, "three hundred five"),
        (342, "three hundred forty two"),
        (812, "eight hundred twelve"),
        (990, "nine hundred ninety"),
    ],
)
def test_numbers_in_words(number, words):
    assert in_words(number) == words


def test_each_number_has_its_words():
    assert len({in_words(number) for number in range(1000)}) == 1000
    assert len({word for number in range(1000) for word in in_words(number).split()}) == 20 + 8 + 1


def test_what_an_utterance_is():
    rows = list(spoken_numbers("train", 6, 3, RATE))
    for place, (name, wave, text) in enumerate(rows, 1):
        row, number, voice = name.replace(",", ":").split(": ")
        assert row == f"row {place}"
        assert in_words(int(number.removeprefix("number "))) == text
        assert voice.removeprefix("voice ") in spoken.VOICES
        assert wave.dtype == np.float32
        assert wave.ndim == 1
        low, high = (limit - 1e-6 for limit in spoken._PEAK)
        assert low <= np.abs(wave).max() <= high + 2e-6
        assert 0.4 < len(wave) / RATE < 4


def test_more_words_take_longer():
    lengths = [len(synthesise(in_words(number), "en-us", 175, 50, 50)[0]) for number in (7, 77, 777)]
    assert lengths == sorted(lengths)
    assert lengths[2] > 2 * lengths[0]


def test_each_voice_sounds_its_own_way():
    waves = {voice: synthesise("two", voice, 175, 50, 50)[0].tobytes() for voice in spoken.VOICES}
    assert len(waves) == 40
    assert len(set(waves.values())) == 40


def test_rate_pitch_and_range_are_heard():
    plain = {"words_a_minute": 175, "pitch": 50, "pitch_range": 50}
    wave, rate = synthesise("nine hundred", "en-gb", **plain)
    assert rate == 22_050
    fast, _ = synthesise("nine hundred", "en-gb", **plain | {"words_a_minute": 210})
    assert len(fast) < 0.95 * len(wave)

    def pitch(wave: np.ndarray) -> float:
        """In Hz: the shift at which the loudest 60 ms are most like themselves."""
        loudest = np.convolve(wave**2, np.ones(1323), "valid").argmax()
        part = wave[loudest : loudest + 1323]
        same = np.correlate(part, part, "full")[len(part) :]
        return rate / (np.argmax(same[60:400]) + 61)

    high, _ = synthesise("nine hundred", "en-gb", **plain | {"pitch": 70})
    assert pitch(high) > 1.05 * pitch(wave)
    flat, _ = synthesise("nine hundred", "en-gb", **plain | {"pitch_range": 0})
    assert flat.tobytes() != wave.tobytes()


def test_the_sound_does_not_depend_on_its_rate():
    low, high = (next(spoken_numbers("test", 1, 1, rate))[1] for rate in (8_000, 16_000))
    assert len(high) == pytest.approx(2 * len(low), abs=4)


def test_noise_has_the_level_that_was_drawn():
    said = np.sin(np.arange(32_000) * 0.1).astype(np.float32)
    for noise_db in (10.0, 40.0):
        drawn = spoken._draw("train", 0, 1)._replace(noise_db=noise_db, silences_seconds=(0.25, 0.25))
        wave = spoken._recorded(said, drawn, RATE)
        silence, speech = wave[:4000], wave[4000:-4000]
        found = 20 * np.log10(speech.std() / silence.std())
        assert found == pytest.approx(noise_db, abs=0.5)


# --- one and the same sound ---


def test_an_utterance_depends_on_its_place_alone():
    whole = list(spoken_numbers("train", 6, 1, RATE))
    assert digest(spoken_numbers("train", 3, 1, RATE)) == digest(whole[:3])
    one, other = spoken_numbers("train", 4, 1, RATE), spoken_numbers("test", 4, 2, RATE)
    turns = [row for pair in zip(one, other, strict=True) for row in pair]
    assert digest(turns[::2]) == digest(whole[:4])
    assert digest(turns[1::2]) == digest(spoken_numbers("test", 4, 2, RATE))
    assert digest(spoken_numbers("train", 6, 2, RATE)) != digest(whole)


def test_what_was_said_before_changes_nothing():
    """espeak-ng's flutter, echo and random numbers go on from one utterance to the next, if it is let."""
    voices = ("en-us", "en-gb+f3", "en-029+m1")
    there, back = (
        [synthesise("six hundred", voice, 175, 50, 50)[0] for voice in order] for order in (voices, voices[::-1])
    )
    assert [wave.tobytes() for wave in there] == [wave.tobytes() for wave in back[::-1]]


def test_the_time_changes_nothing():
    """It seeds the breath of a voice, if it is let."""
    before = synthesise("six hundred", "en-us+f3", 175, 50, 50)[0]
    time.sleep(1.1)
    assert synthesise("six hundred", "en-us+f3", 175, 50, 50)[0].tobytes() == before.tobytes()


def test_threads_get_the_same():
    alone = [digest(spoken_numbers("train", 3, seed, RATE)) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: digest(spoken_numbers("train", 3, seed, RATE)), range(4))) == alone


def test_other_processes_get_the_same():
    here = digest(spoken_numbers("train", 3, 1, RATE))
    script = (
        "from tests.builtin.test_spoken_numbers import *\n"
        "list(spoken_numbers('test', 2, 5, 8000))\n"
        "print(digest(spoken_numbers('train', 3, 1, RATE)))"
    )
    root = Path(__file__).resolve().parents[2]
    there = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_gets_the_same():
    here = digest(spoken_numbers("train", 3, 1, RATE))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, digest(spoken_numbers("train", 3, 1, RATE)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        assert stream.read() == here
    assert os.waitpid(child, 0)[1] == 0


def test_the_process_keeps_its_locale():
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    try:
        synthesise("one", "en-us", 175, 50, 50)
        assert locale.setlocale(locale.LC_CTYPE) == "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


# --- splits ---


def drawn(split: str, seed: int, count: int) -> list[tuple[int, str]]:
    """Numbers and voices of a split, unsaid."""
    return [spoken._draw(split, index, seed)[:2] for index in range(count)]


@pytest.mark.parametrize("seed", [1, 2])
def test_splits_share_no_number_in_a_voice(seed):
    train, test = drawn("train", seed, 400), drawn("test", seed, 400)
    assert not set(train) & set(test)
    assert {split_of(*pair, seed) for pair in train} == {"train"}
    assert {number for number, _ in train}.isdisjoint(held_out(seed))
    share = np.mean([number in held_out(seed) for number, _ in test])
    assert 0.2 < share < 0.35  # the rest: numbers that training has in other voices


@pytest.mark.parametrize("seed", [1, 2])
def test_training_has_every_word_in_each_role(seed):
    kept = held_out(seed)
    assert len(kept) == 90
    assert min(kept) >= 100
    shown = [number for number in range(100, 1000) if number not in kept]
    assert {number // 100 for number in shown} == set(range(1, 10))
    assert {number % 100 // 10 for number in shown} == set(range(10))
    assert {number % 100 for number in shown} >= set(range(20))
    assert {number % 10 for number in shown} == set(range(10))
    assert kept != held_out(seed + 1)


def test_numbers_and_voices_are_spread():
    numbers, voices = zip(*drawn("train", 1, 800), strict=True)
    assert 0.25 < np.mean(np.array(numbers) < 20) < 0.40
    assert 0.40 < np.mean(np.array(numbers) >= 100) < 0.50
    counts = [Counter(voices)[voice] for voice in spoken.VOICES]
    assert sum(counts) == 800
    assert 5 < min(counts) < max(counts) < 40  # 20 on average


# --- faults ---


def fault(*arguments) -> str:
    """What is said where the numbers cannot be."""
    with pytest.raises((DataError, ConfigError)) as caught:
        list(itertools.islice(spoken_numbers(*arguments), 1))
    return str(caught.value)


def test_wrong_splits_and_sizes():
    assert "no split 'validation'" in fault("validation", 1, 1, RATE)
    assert "size -1 is negative" in fault("train", -1, 1, RATE)


@pytest.mark.parametrize("module", ["espeakng_loader", "soxr"])
def test_a_missing_library(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    message = fault("train", 1, 1, RATE)
    assert install_command("demo") in message
    assert module.replace("_", "-") in message


def test_a_damaged_library(monkeypatch, tmp_path, capfd):
    (tmp_path / "espeak.so").write_bytes(b"not a library")
    paths = {"get_data_path": espeak.get_data_path, "get_library_path": lambda: str(tmp_path / "espeak.so")}
    monkeypatch.setitem(sys.modules, "espeakng_loader", types.SimpleNamespace(**paths))
    assert "espeak-ng cannot be loaded" in fault("train", 1, 1, RATE)
    paths = {"get_data_path": lambda: str(tmp_path / "nothing"), "get_library_path": espeak.get_library_path}
    monkeypatch.setitem(sys.modules, "espeakng_loader", types.SimpleNamespace(**paths))
    assert f"espeak-ng finds no data in {tmp_path}" in fault("train", 1, 1, RATE)
    monkeypatch.undo()
    monkeypatch.setitem(spoken.VOICES, "en-us", "gmw/nobody")
    with pytest.raises(DataError, match="has no voice gmw/nobody"):
        synthesise("one", "en-us", 175, 50, 50)
    monkeypatch.undo()
    assert len(list(spoken_numbers("train", 1, 1, RATE))) == 1
    capfd.readouterr()
