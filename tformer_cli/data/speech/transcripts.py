"""Normalisation of transcripts: case, punctuation, numbers, white space and Unicode form, each with a setting.

Training and scoring use the same normal form, so that neither a comma nor the spelling of a number counts as an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import regex

from tformer_cli.config.schema import Case, Numbers, Punctuation, Spaces, UnicodeForm
from tformer_cli.errors import ConfigError, Library, library

if TYPE_CHECKING:
    from tformer_cli.config.schema import TranscriptConfig

NUM2WORDS = Library("num2words", "num2words", "numbers")
"""The library that writes numbers in words."""
FORMS: dict[UnicodeForm, Literal["NFC", "NFKC"]] = {UnicodeForm.nfc: "NFC", UnicodeForm.nfkc: "NFKC"}
DECIMAL_POINT = frozenset(["en", "zh", "ja", "ko", "th", "he", "hi", "bn", "kn", "te", "am", "ms"])
"""Languages that write 3.5 and 1,000; all others write 3,5 and 1.000."""
DOTLESS = frozenset(("tr", "az"))
"""Languages in which the lower case of I is ı, and that of İ is i."""
MOST_DIGITS = 15
"""Numbers with more digits are read digit by digit, like those that begin with 0."""
CODES = {
    "eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr", "spa": "es", "ita": "it", "por": "pt", "nld": "nl",
    "dut": "nl", "rus": "ru", "ukr": "uk", "pol": "pl", "ces": "cs", "cze": "cs", "tur": "tr", "aze": "az", "jpn": "ja",
    "kor": "ko", "tha": "th", "vie": "vi", "ind": "id", "ara": "ar", "heb": "he", "hun": "hu", "fin": "fi", "swe": "sv",
    "dan": "da", "nor": "no", "nb": "no", "nn": "no", "ron": "ro", "rum": "ro", "cat": "ca", "ben": "bn", "fas": "fa",
    "per": "fa", "kk": "kz", "kaz": "kz",
}  # fmt: skip
"""Codes of num2words for language codes that it does not support."""

_NUMBER = regex.compile(r"(?:(?<![\p{L}\p{M}\p{Nd}\p{P}])([-\u2212]))?(\p{Nd}+(?:[.,]\p{Nd}+)*)")
_ENGLISH_ORDINAL = regex.compile(r"(?<![\p{L}\p{Nd}.,])(\p{Nd}+)(?:st|nd|rd|th)(?![\p{L}\p{M}\p{Nd}])", regex.I)
_APOSTROPHES, _WITHIN_WORDS = "'\u2019\u02bc\uff07\u2018`\u00b4", "\u00b7\u05f3\u05f4"
_MARK = regex.compile(r"[\p{P}\p{S}\u02bc\ufe0e\ufe0f]")
_INVISIBLE = regex.compile(
    r"[\p{Cf}--[\u200c\u200d]]|(?<![\p{L}\p{M}])[\u200c\u200d]|[\u200c\u200d](?!\p{L})", regex.V1
)


def normaliser(config: TranscriptConfig, where: str) -> Callable[[str], str]:
    """Return a function that normalises a text; the function is idempotent.

    Args:
        config: the normal form.
        where: its setting, for errors.

    Raises:
        ConfigError: if numbers become words, and the language is missing or unknown, or a library is missing.
    """
    language = _language(config.language)
    steps: list[Callable[[str], str]] = []
    if config.unicode_form is not UnicodeForm.keep:
        steps.append(functools.partial(unicodedata.normalize, FORMS[config.unicode_form]))
    if config.numbers is Numbers.words:
        steps.append(functools.partial(_spelled, spell=_speller(config.language, language, where), language=language))
    if config.case is Case.lower:
        steps.append(_lower_dotless if language in DOTLESS else str.lower)
    if config.punctuation is Punctuation.remove:
        steps.append(_without_punctuation)
    separator = "" if config.spaces is Spaces.remove else " "

    def normalise(text: str) -> str:
        for step in steps:
            text = step(text)
        return separator.join(text.split())

    return normalise


def signature(config: TranscriptConfig) -> str:
    """Return the signature of the normalisation, in the style of sacreBLEU's signatures."""
    numbers = config.numbers.name + (f"-{config.language}" if config.numbers is Numbers.words else "")
    return (
        f"case:{config.case.name}|punct:{config.punctuation.name}|num:{numbers}|space:{config.spaces.name}"
        f"|form:{config.unicode_form.name}"
    )


def combine(first: TranscriptConfig, second: TranscriptConfig) -> TranscriptConfig:
    """Return the normal form that results from the first form followed by the second."""
    plain, language = type(first)(), first.language or second.language
    if first.numbers is Numbers.keep:
        language = second.language or first.language
    changed = {
        field.name: getattr(second, field.name)
        for field in dataclasses.fields(second)
        if getattr(first, field.name) == getattr(plain, field.name)
    }
    return dataclasses.replace(first, **{**changed, "language": language})


def _language(tag: str) -> str:
    base = regex.split(r"[-_]", tag.casefold())[0]
    return CODES.get(base, base)


def _lower_dotless(text: str) -> str:
    return text.replace("I\u0307", "i").replace("İ", "i").replace("I", "ı").lower()


# --- punctuation ---


def _without_punctuation(text: str) -> str:
    """Replace punctuation and symbols by spaces, except within words (don't) and numbers (3.5)."""
    return _INVISIBLE.sub("", _MARK.sub(_replacement, text))


def _replacement(match: Any) -> str:
    mark, text = match[0], match.string
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    if _is_letter(before) and after.isalpha():
        return "'" if mark in _APOSTROPHES else mark if mark in _WITHIN_WORDS else " "
    return mark if mark in ".," and before.isdecimal() and after.isdecimal() else " "


def _is_letter(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LM"


# --- numbers ---


def _speller(tag: str, language: str, where: str) -> Callable[..., str]:
    """Return num2words for a language.

    Raises:
        ConfigError: if it does not support the language.
    """
    if not tag:
        raise ConfigError(f"{where}.numbers=words needs a language", f"{where}.language=en")
    num2words = library(*NUM2WORDS)
    known = num2words.CONVERTER_CLASSES
    full = tag.replace("-", "_").casefold()
    exact = next((name for name in known if name.casefold() == full), language)
    if exact not in known:
        cause = f"{where}.language={tag}: numbers cannot be written in words"
        raise ConfigError(cause, f"num2words knows {', '.join(sorted(known))}")
    return functools.partial(num2words.num2words, lang=exact)


def _spelled(text: str, *, spell: Callable[..., str], language: str) -> str:
    """Return a text with its numbers as words, separated from adjacent letters by spaces."""
    if language == "en":
        text = _ENGLISH_ORDINAL.sub(lambda match: _words(spell, match[1], to="ordinal"), text)

    def put(match: Any) -> str:
        start, end = match.span()
        words = _number(match[2], spell, language, "-" if match[1] else "")
        before = " " if _is_letter(text[start - 1 : start]) else ""
        return before + words + (" " if _is_letter(text[end : end + 1]) else "")

    return _NUMBER.sub(put, text)


def _number(number: str, spell: Callable[..., str], language: str, sign: str) -> str:
    """Return a number as words; if its separators do not form one number (1.2.3), each part is read separately."""
    digits = "".join(c if c in ".," else str(unicodedata.decimal(c)) for c in number)
    point, group = (".", ",") if language in DECIMAL_POINT else (",", ".")
    integer, mark, decimals = digits.partition(point)
    first, *groups = integer.split(group)
    is_number = all(len(part) == 3 for part in groups) and (not groups or len(first) <= 3)
    if not is_number or (mark and not decimals.isdecimal()):
        return " ".join(_words(spell, part) for part in regex.split("[.,]", digits))
    return _words(spell, "".join((sign, first, *groups, *([".", decimals] if mark else []))))


def _words(spell: Callable[..., str], number: str, **options: str) -> str:
    integer = number.removeprefix("-").partition(".")[0]
    if len(integer) <= MOST_DIGITS and (integer == "0" or integer[0] != "0"):
        # a number that the language cannot express is read digit by digit
        with contextlib.suppress(NotImplementedError, ArithmeticError, ValueError, TypeError, LookupError):
            return spell(Decimal(number) if "." in number else int(number), **options).replace(",", "")
    return " ".join(spell(int(digit)) for digit in number if digit.isdecimal())
