"""Conjugation of Japanese predicates, derived from the dictionary form.

A predicate is a `Word`: a form and its class. -tai or -te iru form a new word of another class: "doesn't want to read"
is 読む + たい + がる + ている + (polite, negative), in which each step is a rule.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

# Godan verbs by their last kana: the a-, i-, and te-forms. 行く is the one exception among them.
_GODAN = {
    "う": ("わ", "い", "って"),
    "く": ("か", "き", "いて"),
    "ぐ": ("が", "ぎ", "いで"),
    "す": ("さ", "し", "して"),
    "つ": ("た", "ち", "って"),
    "ぬ": ("な", "に", "んで"),
    "ぶ": ("ば", "び", "んで"),
    "む": ("ま", "み", "んで"),
    "る": ("ら", "り", "って"),
}
_VERBS = ("godan", "ichidan", "irregular")


class Word(NamedTuple):
    """A predicate in its dictionary form, and its class: godan, ichidan, irregular; i, na, no (not verbs)."""

    form: str
    kind: str


def _parts(word: Word) -> tuple[str, str, str]:
    """Return the stems of a verb for negation and politeness, and its te-form: 読ま, 読み, 読んで."""
    form, kind = word
    if kind == "ichidan":
        return form[:-1], form[:-1], form[:-1] + "て"
    if kind == "irregular" and form.endswith("する"):
        return form[:-2] + "し", form[:-2] + "し", form[:-2] + "して"
    if kind == "irregular" and form == "来る":
        return "来", "来", "来て"
    if kind in ("godan", "irregular") and form[-1:] in _GODAN:
        negative, polite, te = (form[:-1] + ending for ending in _GODAN[form[-1]])
        if form == "行く":
            return negative, polite, "行って"
        # ある has no form あらない: its plain negative is the adjective ない.
        return ("" if form == "ある" else negative), polite, te
    raise ValueError(f"{form} is no {kind} verb")


def stem(word: Word) -> str:
    """Return the form before ます and たい: 読み, 食べ, し."""
    return _parts(word)[1]


def te(word: Word) -> str:
    """Return the conjunctive form: 読んで, 食べて, 大きくて, 静かで."""
    if word.kind == "i":
        return _adverb(word.form) + "て"
    return word.form + "で" if word.kind in ("na", "no") else _parts(word)[2]


def _adverb(form: str) -> str:
    """Return the adverb of an i-adjective: 大きく of 大きい, よく of いい."""
    return "よく" if form == "いい" else form[:-1] + "く"


def negative(word: Word) -> Word:
    """Return the plain negative, which is an i-adjective: 読まない, 大きくない, 静かではない."""
    if word.kind == "i":
        return Word(_adverb(word.form) + "ない", "i")
    if word.kind in _VERBS:
        return Word(_parts(word)[0] + "ない", "i")
    return Word(word.form + "ではない", "i")


def progressive(word: Word) -> Word:
    """Return the progressive: 読んでいる."""
    return Word(te(word) + "いる", "ichidan")


def desire(word: Word) -> Word:
    """Return the desiderative, for a speaker's wish: 読みたい."""
    return Word(stem(word) + "たい", "i")


def showing(word: Word) -> Word:
    """Return the form for the feelings of others: 読みたがっている of 読みたい, 欲しがっている of 欲しい."""
    return progressive(Word(word.form[:-1] + "がる", "godan"))


def ability(word: Word) -> Word:
    """Return the potential: 読むことができる."""
    return Word(word.form + "ことができる", "ichidan")


@cache
def polite(word: Word, *, past: bool = False, negated: bool = False) -> str:
    """Return the form at the end of a sentence: 読みます, 大きくないです, 静かではありませんでした."""
    if word.kind in _VERBS:
        ending = ("ませんでした" if past else "ません") if negated else ("ました" if past else "ます")
        return stem(word) + ending
    if word.kind == "i":
        return plain(word, past=past, negated=negated) + "です"
    if negated:
        return word.form + ("ではありませんでした" if past else "ではありません")
    return word.form + ("でした" if past else "です")


@cache
def plain(word: Word, *, past: bool = False, negated: bool = False) -> str:
    """Return the form before a noun or a conjunction: 読む, 読まなかった, 大きかった, 静かな, 病気の."""
    if negated:
        return plain(negative(word), past=past)
    if word.kind in _VERBS:
        # The past shares the te-form's stem: 読んで, 読んだ.
        form = te(word)
        return form[:-1] + ("た" if form[-1] == "て" else "だ") if past else word.form
    if word.kind == "i":
        return _adverb(word.form)[:-1] + "かった" if past else word.form
    return word.form + ("だった" if past else "な" if word.kind == "na" else "の")
