"""Numbers from 0 to 999 in spoken English, synthesised by espeak-ng: several accents and voices, rates, pitches, noise.

Training never shows the numbers that `held_out` names, nor any number in a voice that `split_of` keeps for the test.
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
"""What each voice is called, and the files that espeak-ng makes it of: five accents, each said by eight people."""

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
_BELOW = (20, 100, 1000, 1000)  # as many numbers are drawn below each
_HELD_OUT = 90  # of the 900 numbers of three digits
_TEST_ONE_IN = 8  # of so many pairs of a number and a voice, one is for the test
_WORDS_A_MINUTE, _PITCH, _PITCH_RANGE = (120, 210), (30, 70), (30, 70)  # 50, 50: as the voice's file has them
_SILENCE_SECONDS, _PEAK, _NOISE_DB = (0.05, 0.25), (0.2, 0.9), (10.0, 40.0)


def in_words(number: int) -> str:
    """A number from 0 to 999 as it is spoken: "three hundred forty two"."""
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
    """The numbers that training never shows, a tenth of those of three digits; a hash of the seed decides.

    All numbers below 100 stay, and some of each hundred, so that training has every word in each of its roles.
    """
    return frozenset(sorted(range(100, 1000), key=lambda number: digest(f"{seed}/{number}"))[:_HELD_OUT])


def split_of(number: int, voice: str, seed: int) -> str:
    """Whether training or the test has a number in a voice: no pair is in both."""
    is_test = number in held_out(seed) or digest(f"{seed}/{number}/{voice}") % _TEST_ONE_IN == 0
    return "test" if is_test else "train"


def spoken_numbers(
    split: str, size: int, seed: int, sample_rate: int, language: str = "en"
) -> Iterator[tuple[str, np.ndarray, str]]:
    """Spoken numbers that come with tformer.

    Args:
        split: train or test.
        size: how many; 0: as many as `SIZES` says. A smaller set is the beginning of a larger one.
        seed: decides the numbers and how they are said, and which of them, in which voices, are for the test.
        sample_rate: samples a second.
        language: language of the texts, one of `LANGUAGES`; the speech is English.

    Yields:
        Name, waveform (N,) in [-1, 1], float32, and transcript; each is a pure function of seed, split and its place.

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
        drawn = _draw(split, index, seed)
        said, rate = synthesise(in_words(drawn.number), drawn.voice, drawn.words_a_minute, drawn.pitch, drawn.range)
        wave = _recorded(resample(said, rate, sample_rate), drawn, sample_rate)
        yield f"row {index + 1}: number {drawn.number}, voice {drawn.voice}", wave, write(drawn.number)


class _Utterance(NamedTuple):
    """What is said, and how; `random` goes on to its noise."""

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
    """The utterance at a place of a split."""
    draws, voices = Draws(f"{seed}/{split}/{index}"), list(VOICES)
    while split_of(number := draws.choose(range(draws.choose(_BELOW))), voice := draws.choose(voices), seed) != split:
        pass
    rate, pitch, pitch_range = (round(draws.between(*limits)) for limits in (_WORDS_A_MINUTE, _PITCH, _PITCH_RANGE))
    silences = draws.between(*_SILENCE_SECONDS), draws.between(*_SILENCE_SECONDS)
    peak, noise_db = draws.between(*_PEAK), draws.between(*_NOISE_DB)
    return _Utterance(number, voice, rate, pitch, pitch_range, silences, peak, noise_db, draws.random)


def _recorded(said: np.ndarray, drawn: _Utterance, sample_rate: int) -> np.ndarray:
    """As from a microphone: silence before and after, white noise (uniform) over all of it, some loudness."""
    before, after = (round(seconds * sample_rate) for seconds in drawn.silences_seconds)
    level = np.sqrt(np.mean(np.square(said))) * 10 ** (-drawn.noise_db / 20)
    wave = np.pad(said, (before, after))
    noise = (drawn.random.random_raw(len(wave)) >> 11) * 2.0**-52 - 1  # in [-1, 1), of variance 1/3
    wave = wave + level * 3**0.5 * noise
    return (wave * (drawn.peak / np.abs(wave).max())).astype(np.float32)


# --- espeak-ng, through its C interface (speak_lib.h) ---

_SYNCHRONOUS, _DO_NOT_EXIT, _UTF8 = 2, 0x8000, 1
_PARAMETERS = 1, 3, 4  # rate, pitch, range of pitch
_SILENT = 1e-3  # as loud as that is no speech
_RECEIVER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_alone = threading.Lock()  # the library has one state, of the process
if sys.platform == "win32":
    _let_go = _ctypes.FreeLibrary
else:
    _let_go = _ctypes.dlclose


def synthesise(text: str, voice: str, words_a_minute: int, pitch: int, pitch_range: int) -> tuple[np.ndarray, int]:
    """Speech, without silence around it.

    espeak-ng keeps where it is in its flutter of the pitch, in its echo and in its random numbers, and offers to reset
    only the last, so that what it says depends on what it said before. The library is therefore loaded for each
    utterance and let go of after it, which takes about as long as the utterance. Between calls nothing is kept, so that
    a process may fork.

    Args:
        text: English.
        voice: one of `VOICES`.
        words_a_minute: from 80 to 450.
        pitch: from 0 to 100; 50 is the voice's own.
        pitch_range: from 0 to 100; 50 is the voice's own.

    Returns:
        Waveform (N,), float32 in [-1, 1], and how many samples a second has.

    Raises:
        ConfigError: if espeakng-loader is not installed.
        DataError: if espeak-ng cannot be loaded or lacks its data or the voice.
    """
    loader = library("espeakng_loader", "espeakng-loader", "demo")
    heard: list[bytes] = []

    @_RECEIVER
    def receive(samples: int | None, count: int, _: int | None) -> int:
        if samples and count > 0:
            heard.append(ctypes.string_at(samples, 2 * count))
        return 0

    with _alone:
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
            _let_go(espeak._handle)
    wave = np.frombuffer(b"".join(heard), np.int16).astype(np.float32) / 2**15
    sounding = np.flatnonzero(np.abs(wave) > _SILENT)
    if not len(sounding):
        raise _broken(f"says nothing for {text!r}")
    return wave[sounding[0] : sounding[-1] + 1], rate


def _broken(what: str) -> DataError:
    return DataError(f"espeak-ng {what}", "install it again: pip install --force-reinstall espeakng-loader")
