"""Normalisation of transcripts: each setting has its effect and no other."""

from __future__ import annotations

import itertools
import sys
import unicodedata

import pytest

from tformer_cli.config.schema import Case, Numbers, Punctuation, Spaces, TranscriptConfig, UnicodeForm
from tformer_cli.data.speech.transcripts import combine, normaliser, signature
from tformer_cli.errors import ConfigError

TEXT = "  Don't  PANIC: 42, “Ｆｕｌｌ”\u00a0cafe\u0301!  "


def form(**settings) -> TranscriptConfig:
    return TranscriptConfig(**settings)


def made(text: str, **settings) -> str:
    normalise = normaliser(form(**settings), "transcripts")
    once = normalise(text)
    assert normalise(once) == once
    return once


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, "Don't PANIC: 42, “Ｆｕｌｌ” cafe\u0301!"),
        ({"case": Case.lower}, "don't panic: 42, “ｆｕｌｌ” cafe\u0301!"),
        ({"punctuation": Punctuation.remove}, "Don't PANIC 42 Ｆｕｌｌ cafe\u0301"),
        ({"numbers": Numbers.words, "language": "en"}, "Don't PANIC: forty-two, “Ｆｕｌｌ” cafe\u0301!"),
        ({"spaces": Spaces.remove}, "Don'tPANIC:42,“Ｆｕｌｌ”cafe\u0301!"),
        ({"unicode_form": UnicodeForm.nfc}, "Don't PANIC: 42, “Ｆｕｌｌ” café!"),
        ({"unicode_form": UnicodeForm.nfkc}, "Don't PANIC: 42, “Full” café!"),
    ],
)
def test_each_switch_alone(settings, expected):
    assert made(TEXT, **settings) == expected


def test_all_switches_together():
    everything = {
        "case": Case.lower, "punctuation": Punctuation.remove, "numbers": Numbers.words, "language": "en",
        "unicode_form": UnicodeForm.nfkc,
    }  # fmt: skip
    assert made(TEXT, **everything) == "don't panic forty two full café"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("don’t — well-known", "don't well known"),
        ("'tis the dogs' rock 'n' roll", "tis the dogs rock n roll"),
        ("l’été, aujourd'hui.", "l'été aujourd'hui"),
        ("п\u02bcять", "п'ять"),
        ("col·lecció", "col·lecció"),
        ("צה״ל", "צה״ל"),
        ("हिन्दी। भाषा॥", "हिन्दी भाषा"),
        ("¿Qué? ¡Sí!", "Qué Sí"),
        ("好，的。", "好 的"),
        ("3.5 m, 1,000; 10:30", "3.5 m 1,000 10 30"),
        ("a_b $5 50% C++ @x", "a b 5 50 C x"),
        ("soft\u00adhyphen \u200fright", "softhyphen right"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("yes 👩‍🏫❤️ no", "yes no"),
        ("...", ""),
    ],
)
def test_punctuation_goes_but_not_out_of_words_and_numbers(text, expected):
    assert made(text, punctuation=Punctuation.remove) == expected


@pytest.mark.parametrize(
    "language, text, expected",
    [
        ("en", "5 of 1,234 at 3.5", "five of one thousand two hundred and thirty-four at three point five"),
        ("en-GB", "the 21st, 2ND and 3rd", "the twenty-first, second and third"),
        ("eng", "-5 to 10-12", "minus five to ten-twelve"),
        ("en", "B2B mp3 007 1.2.3", "B two B mp three zero zero seven one two three"),
        ("en", "12345678901234567890", "one two three four five six seven eight nine zero " * 2),
        ("de", "1.234 und 3,5", "eintausendzweihundertvierunddreißig und drei Komma fünf"),
        ("deu_Latn", "7", "sieben"),
        ("fr", "80", "quatre-vingts"),
        ("fr_CH", "80", "huitante"),
        ("pt-BR", "16", "dezesseis"),
        ("hi", "", ""),
        ("ar", "٣", "ثلاثة"),
        ("th", "๑๕", "สิบห้า"),
    ],
)
def test_numbers_become_words_of_the_language(language, text, expected):
    if language == "hi":
        with pytest.raises(ConfigError, match=r"transcripts.language=hi: numbers cannot be written in words.*de, en"):
            made(text, numbers=Numbers.words, language=language)
        return
    assert made(text, numbers=Numbers.words, language=language) == expected.strip()


def test_numbers_need_a_language_and_the_library(monkeypatch):
    with pytest.raises(ConfigError, match="scoring.numbers=words needs a language: scoring.language=en"):
        normaliser(form(numbers=Numbers.words), "scoring")
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(ConfigError, match="this needs num2words, which is not installed: pip install"):
        normaliser(form(numbers=Numbers.words, language="en"), "scoring")


def test_lower_case_is_that_of_the_language():
    assert made("ILIK İZMİR I\u0307Ç", case=Case.lower, language="tr") == "ılık izmir iç"
    assert made("ILIK", case=Case.lower, language="az-Latn") == "ılık"
    assert made("ILIK Straße ΣΟΦΟΣ", case=Case.lower) == "ilik straße σοφος"


def test_every_form_is_written_in_the_signature_and_no_two_alike():
    kinds = itertools.product(Case, Punctuation, Numbers, Spaces, UnicodeForm)
    forms = [form(case=a, punctuation=b, numbers=c, spaces=d, unicode_form=e, language="de") for a, b, c, d, e in kinds]
    assert len({signature(each) for each in forms}) == len(forms) == 48
    assert signature(form()) == "case:keep|punct:keep|num:keep|space:single|form:keep"
    lowered = form(case=Case.lower, numbers=Numbers.words, language="de_CH")
    assert signature(lowered) == "case:lower|punct:keep|num:words-de_CH|space:single|form:keep"


def test_one_form_after_another_is_that_of_both():
    first, second = form(case=Case.lower), form(numbers=Numbers.words, language="en", punctuation=Punctuation.remove)
    both = combine(first, second)
    text = "In 1984, I READ 2 Books"
    assert normaliser(both, "x")(text) == normaliser(second, "x")(normaliser(first, "x")(text))
    assert signature(both) == "case:lower|punct:remove|num:words-en|space:single|form:keep"
    assert combine(form(), form()) == form()


def test_forms_are_stable_over_all_kinds_of_characters():
    """Normalisation is idempotent, so that training and scoring use the same form."""
    characters = [chr(code) for code in range(32, 0x3100) if unicodedata.category(chr(code))[0] != "C"]
    text = " ".join("a" + "b".join(characters[start : start + 7]) for start in range(0, len(characters), 7))
    for unicode_form in UnicodeForm:
        made(text, case=Case.lower, punctuation=Punctuation.remove, unicode_form=unicode_form)
