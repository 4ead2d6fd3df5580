"""Spoken English numbers from 0 to 999, synthesised by espeak-ng with varying accents, voices, rates, pitch and noise.

The training split does not contain the numbers of `held_out`, nor pairs of a number and a voice of the test split.
"""

from __future__ import annotations

import _ctypes
import ctypes
import locale
import sys
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tformer_cli.builtin.draws import Draws, digest
from tformer_cli.errors import DataError, library

SIZES: dict[str, int] = {"train": 4_000, "test": 400}
ACCENTS = {
    "en-us": "gmw/en-US",
    "en-gb": "gmw/en",
    "en-gb-scotland": "gmw/en-GB-scotland",
    "en-gb-x-rp": "gmw/en-GB-x-rp",
    "en-029": "gmw/en-029",
}
VARIANTS = ("", "+f2", "+f3", "+f4", "+Annie", "+m1", "+m3", "+m7")
VOICES = {accent + variant: file + variant for accent, file in ACCENTS.items() for variant in VARIANTS}
"""Files of espeak-ng by name of the voice: five accents with eight voices each."""

_SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_BELOW = (20, 100, 1000, 1000)  # upper bounds of numbers, chosen with equal probability
_HELD_OUT = 90  # of the 900 numbers of three digits
_TEST_ONE_IN = 8  # one in so many pairs of a number and a voice is in the test split
_WORDS_A_MINUTE, _PITCH, _PITCH_RANGE = (120, 210), (30, 70), (30, 70)  # 50, 50: values of the voice's file
_SILENCE_SECONDS, _PEAK, _NOISE_DB = (0.05, 0.25), (0.2, 0.9), (10.0, 40.0)


def in_words(number: int) -> str:
    """Return a number from 0 to 999 in English words: "three hundred forty two"."""
    hundreds, rest = divmod(number, 100)
    parts = [_SMALL[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        parts.append(_TENS[rest // 10 - 2])
        rest %= 10
    if rest or not parts:
        parts.append(_SMALL[rest])
    return " ".join(parts)


def in_japanese(number: int) -> str:
    """Return a number from 0 to 999 in Japanese: "三百四十二"."""
    digits = "零一二三四五六七八九"
    hundreds, tens, ones = number // 100, number // 10 % 10, number % 10
    parts = [digits[count] * (count > 1) + unit for count, unit in ((hundreds, "百"), (tens, "十")) if count]
    return "".join(parts) + (digits[ones] if ones or not parts else "")


def writer(language: str) -> Callable[[int], str]:
    """Return the function that writes numbers in a language.

    Raises:
        DataError: if there is none.
    """
    if language not in LANGUAGES:
        cause = f"built-in numbers are not written in {language!r}"
        raise DataError(cause, f"take one of {', '.join(LANGUAGES)}")
    return LANGUAGES[language]


LANGUAGES: dict[str, Callable[[int], str]] = {"en": in_words, "ja": in_japanese}


@lru_cache(maxsize=8)
def held_out(seed: int) -> frozenset[int]:
    """Return the numbers that the training split does not contain: a tenth of those of three digits, chosen by a hash.

    The training split contains all numbers below 100, and some of each hundred, so that it has each word in each
    position.
    """
    return frozenset(sorted(range(100, 1000), key=lambda number: digest(f"{seed}/{number}"))[:_HELD_OUT])


def split_of(number: int, voice: str, seed: int) -> str:
    """Return the split of a pair of a number and a voice, which is in only one of them."""
    is_test = number in held_out(seed) or digest(f"{seed}/{number}/{voice}") % _TEST_ONE_IN == 0
    return "test" if is_test else "train"


def spoken_numbers(
    split: str, size: int, seed: int, sample_rate: int, language: str = "en"
) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yield synthesised numbers.

    Args:
        split: train or test.
        size: number of recordings; 0: that of `SIZES`. A smaller set is the beginning of a larger one.
        seed: seed of the numbers, their pronunciation and their division into splits.
        sample_rate: sample rate in Hz.
        language: language of the texts, one of `LANGUAGES`; the speech is English.

    Yields:
        Name, waveform (N,) in [-1, 1], float32, and transcript; they depend only on seed, split and index.

    Raises:
        ConfigError: if espeakng-loader or soxr is not installed.
        DataError: if there is no such split, the size is negative, or espeak-ng does not work.
    """
    if split not in SIZES:
        raise DataError(f"built-in numbers have no split {split!r}", f"take one of {', '.join(SIZES)}")
    if size < 0:
        raise DataError(f"built-in numbers: size {size} is negative", "give how many, or 0 for the default")
    write = writer(language)
    resample = library("soxr", "soxr", "demo").resample
    for index in range(size or SIZES[split]):
        utterance = _draw(split, index, seed)
        speech, rate = synthesise(
            in_words(utterance.number), utterance.voice, utterance.words_a_minute, utterance.pitch, utterance.range
        )
        wave = _recorded(resample(speech, rate, sample_rate), utterance, sample_rate)
        yield f"row {index + 1}: number {utterance.number}, voice {utterance.voice}", wave, write(utterance.number)


class _Utterance(NamedTuple):
    """A number and the parameters of its synthesis; `random` generates the noise."""

    number: int
    voice: str
    words_a_minute: int
    pitch: int
    range: int
    silences_seconds: tuple[float, float]
    peak: float
    noise_db: float
    random: np.random.Philox


def _draw(split: str, index: int, seed: int) -> _Utterance:
    """Return the utterance at an index of a split."""
    draws, voices = Draws(f"{seed}/{split}/{index}"), list(VOICES)
    while split_of(number := draws.choose(range(draws.choose(_BELOW))), voice := draws.choose(voices), seed) != split:
        pass
    rate, pitch, pitch_range = (round(draws.between(*limits)) for limits in (_WORDS_A_MINUTE, _PITCH, _PITCH_RANGE))
    silences = draws.between(*_SILENCE_SECONDS), draws.between(*_SILENCE_SECONDS)
    peak, noise_db = draws.between(*_PEAK), draws.between(*_NOISE_DB)
    return _Utterance(number, voice, rate, pitch, pitch_range, silences, peak, noise_db, draws.random)


def _recorded(speech: np.ndarray, utterance: _Utterance, sample_rate: int) -> np.ndarray:
    """Return the waveform with silence before and after, uniform white noise and a random peak."""
    before, after = (round(seconds * sample_rate) for seconds in utterance.silences_seconds)
    level = np.sqrt(np.mean(np.square(speech))) * 10 ** (-utterance.noise_db / 20)
    wave = np.pad(speech, (before, after))
    noise = (utterance.random.random_raw(len(wave)) >> 11) * 2.0**-52 - 1  # in [-1, 1), of variance 1/3
    wave = wave + level * 3**0.5 * noise
    return (wave * (utterance.peak / np.abs(wave).max())).astype(np.float32)


# --- espeak-ng, through its C interface (speak_lib.h) ---

_SYNCHRONOUS, _DO_NOT_EXIT, _UTF8 = 2, 0x8000, 1
_PARAMETERS = 1, 3, 4  # rate, pitch, range of pitch
_SILENT = 1e-3  # maximum amplitude of silence
_RECEIVER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_lock = threading.Lock()  # the library has one state for the process
if sys.platform == "win32":
    _unload = _ctypes.FreeLibrary
else:
    _unload = _ctypes.dlclose


def synthesise(text: str, voice: str, words_a_minute: int, pitch: int, pitch_range: int) -> tuple[np.ndarray, int]:
    """Return synthesised speech without silence at its beginning and end.

    espeak-ng keeps a state of pitch flutter, echo and random numbers. Only the random numbers can be reset, so that an
    utterance depends on the previous ones. The library is therefore loaded for each utterance and unloaded after it,
    which takes about as long as the utterance. There is no state between calls, so that a process may fork.

    Args:
        text: English text.
        voice: one of `VOICES`.
        words_a_minute: rate from 80 to 450.
        pitch: from 0 to 100; 50 is the default of the voice.
        pitch_range: from 0 to 100; 50 is the default of the voice.

    Returns:
        Waveform (N,), float32 in [-1, 1], and its sample rate in Hz.

    Raises:
        ConfigError: if espeakng-loader is not installed.
        DataError: if espeak-ng cannot be loaded or lacks its data or the voice.
    """
    loader = library("espeakng_loader", "espeakng-loader", "demo")
    chunks: list[bytes] = []

    @_RECEIVER
    def receive(samples: int | None, count: int, _: int | None) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    with _lock:
        try:
            data, espeak = Path(loader.get_data_path()).parent, ctypes.CDLL(loader.get_library_path())
        except (OSError, RuntimeError) as error:  # the loader looks for the data
            raise _broken(f"cannot be loaded: {error}") from error
        before = locale.setlocale(locale.LC_CTYPE)
        try:
            rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DO_NOT_EXIT)
            if rate <= 0:
                raise _broken(f"finds no data in {data}")
            espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))  # the time, otherwise
            espeak.espeak_SetSynthCallback(receive)
            if espeak.espeak_SetVoiceByName(VOICES[voice].encode()):
                raise _broken(f"has no voice {VOICES[voice]}")
            for parameter, value in zip(_PARAMETERS, (words_a_minute, pitch, pitch_range), strict=True):
                espeak.espeak_SetParameter(parameter, value, 0)
            content = text.encode()
            if espeak.espeak_Synth(content, ctypes.c_size_t(len(content) + 1), 0, 0, 0, _UTF8, None, None):
                raise _broken(f"cannot say {text!r}")
        finally:
            espeak.espeak_Terminate()
            locale.setlocale(locale.LC_CTYPE, before)  # which espeak_Initialize sets
            _unload(espeak._handle)
    wave = np.frombuffer(b"".join(chunks), np.int16).astype(np.float32) / 2**15
    sounding = np.flatnonzero(np.abs(wave) > _SILENT)
    if not len(sounding):
        raise _broken(f"says nothing for {text!r}")
    return wave[sounding[0] : sounding[-1] + 1], rate


def _broken(what: str) -> DataError:
    return DataError(f"espeak-ng {what}", "install it again: pip install --force-reinstall espeakng-loader")
