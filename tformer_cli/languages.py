"""Recognition of languages by their usual names, and of scripts by the characters of a text.

A language may be named by an ISO 639 code (`zh`, `zho`, `chi`, `cmn`), or by its English or native name. Tags with
script, region or variant are accepted in any spelling (`zh-CN`, `zh_Hant_TW`, `zho_Hans`, `ja_XX`). If the data names
no language (columns `source` and `target`), the script is detected from the text.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import regex

HAN, KANA, HANGUL = r"\p{Han}", r"\p{Hiragana}\p{Katakana}\u30fc\uff70", r"\p{Hangul}"
_OTHERS = """Thai Lao Khmer Myanmar Tibetan Javanese Balinese Buginese Batak Rejang Makasar Kawi Ahom Bopomofo Yi
Nushu Tangut Khitan_Small_Script Tai_Le New_Tai_Lue Tai_Tham Tai_Viet"""
OTHERS = "".join(rf"\p{{{script}}}" for script in _OTHERS.split())
"""Further scripts without spaces between words."""
UNSPACED = HAN + KANA + OTHERS + HANGUL
"""Character class, for regular expressions, of scripts without spaces between words. Korean is included, since its
spaces separate phrases, and answers to questions are often parts of phrases."""

CODES = {
    "zh": "zh zho chi cmn cn yue wuu nan hak gan hsn cdo cjy cpx czh czo mnp lzh och ltc zhx",
    "ja": "ja jpn jp ojp ryu",
    "ko": "ko kor okm oko jje",
    "th": "th tha tts nod sou",
    "lo": "lo lao",
    "km": "km khm",
    "my": "my mya bur shn mnw rki ksw blk kht",
    "bo": "bo bod tib dz dzo lbj sip adx khg",
    "ii": "ii iii",
    "und": "khb tdd blt",
}
"""Languages usually written without spaces between words (and Korean), with the codes of related languages."""
NAMES = {
    "zh": "chinese mandarin cantonese putonghua hokkien hakka 中文 汉语 漢語 华语 華語 国语 國語"
    " 普通话 普通話 简体中文 繁体中文 簡體中文 繁體中文 粤语 粵語",
    "ja": "japanese nihongo 日本語",
    "ko": "korean hangugeo 한국어 조선말",
    "th": "thai isan ไทย ภาษาไทย",
    "lo": "lao laotian ລາວ ພາສາລາວ",
    "km": "khmer cambodian ខ្មែរ ភាសាខ្មែរ",
    "my": "burmese myanmar shan မြန်မာ မြန်မာဘာသာ",
    "bo": "tibetan dzongkha བོད རྫོང",
}
SCRIPTS = {
    "zh": "hans hant hani hanb",
    "ja": "jpan hrkt hira kana",
    "ko": "kore hang",
    "th": "thai",
    "lo": "laoo",
    "km": "khmr",
    "my": "mymr",
    "bo": "tibt",
    "ii": "yiii",
    "und": "talu tale tavt lana java bali bugi batk",
    "": "latn cyrl arab aran hebr grek deva beng taml telu knda mlym gujr guru orya sinh geor armn ethi mong tfng thaa",
}
"""Languages by codes of scripts; "" for scripts with spaces between words."""


def _inverted(table: dict[str, str]) -> dict[str, str]:
    return {name.casefold(): language for language, names in table.items() for name in names.split()}


_CODES, _NAMES, _SCRIPTS = map(_inverted, (CODES, NAMES, SCRIPTS))


def unspaced_language(tag: str) -> str:
    """Return the base language of a tag, if it is usually written without spaces between words, or in Hangul.

    Args:
        tag: a code, a tag with subtags in any spelling, or a name.

    Returns:
        `zh`, `ja`, `ko`, `th`, `lo`, `km`, `my`, `bo`, `ii`, or `und` for rarer scripts. "" for all other languages,
        for tags with another script (`zh_Latn`), and for tags that name no language.
    """
    first, *others = regex.findall(r"[\w--[_\d]]+", tag.casefold(), flags=regex.VERSION1) or [""]
    language = _CODES.get(first, "")
    for part in others:
        if part in _SCRIPTS and (first in _CODES or len(first) in (2, 3)):
            script = _SCRIPTS[part]
            return language if language == script or (language == "ja" and script == "zh") else script
    return language or next((_NAMES[part] for part in (first, *others) if part in _NAMES), "")


def script_shares(texts: Sequence[str], max_texts: int = 2000) -> dict[str, float]:
    """Return the shares of scripts among the letters of texts.

    Args:
        texts: any number of texts; of many, evenly spaced ones are used.
        max_texts: approximate number of texts to use; fewer than twice as many are used.

    Returns:
        Shares of all letters by script: `han`, `kana`, `hangul`, and `other` for other scripts without spaces; empty
        if there are no letters.
    """
    text = " ".join(texts[row] for row in range(0, len(texts), max(1, len(texts) // max_texts)))
    letters = len(regex.findall(r"\p{L}", text))
    if not letters:
        return {}
    scripts = {"han": HAN, "kana": KANA, "hangul": HANGUL, "other": OTHERS}
    return {
        name: len(regex.findall(rf"[{characters}&&\p{{L}}]", text, flags=regex.VERSION1)) / letters
        for name, characters in scripts.items()
    }


_SEGMENT = regex.compile(rf"(?=[{UNSPACED}])\X|[^\s{UNSPACED}]+")
_SPACED = rf"(?![_{UNSPACED}])"
_WORD = rf"{_SPACED}[\w\p{{N}}](?:{_SPACED}[\w\p{{N}}\p{{M}}\u200c\u200d])*+"
_UNIT = regex.compile(rf"(?=[{UNSPACED}])\X|{_WORD}|(?!\s)\X")


def segments(text: str) -> list[str]:
    """Split text at white space and, in scripts without spaces, after each character with its marks."""
    return _SEGMENT.findall(text)


@functools.lru_cache(256)
def units(text: str) -> tuple[tuple[int, int], ...]:
    """Return the beginnings and ends of the units at which an answer may begin or end.

    A unit is a word with its combining marks and joiners, or a character with its marks in scripts without spaces. Any
    other user-perceived character is a unit too: a punctuation mark, a symbol, an emoji of several code points.
    """
    return tuple(match.span() for match in _UNIT.finditer(text))
