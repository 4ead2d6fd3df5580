"""Generation of Japanese sentences from meanings."""

from __future__ import annotations

from collections.abc import Callable

from tformer_cli.builtin import conjugation
from tformer_cli.builtin.conjugation import Word
from tformer_cli.builtin.lexicon import GIVE_ME, KANJI_NUMERALS
from tformer_cli.builtin.meaning import (
    MANY,
    Action,
    Clause,
    Identity,
    Phrase,
    Placing,
    Quality,
    Sentence,
    is_first_person,
    is_reflexive,
)

_GIVE_ME = Word(GIVE_ME.japanese, GIVE_ME.kind)
_KIN = {"母": "お母さん", "父": "お父さん"}  # the speaker's, and those of others
_THESE = {"this": "この", "that": "その"}


def phrase(item: Phrase, subject: Phrase | None = None, *, floating: bool = False) -> str:
    """Return a noun phrase without particle.

    Args:
        item: the phrase.
        subject: subject of the clause, whose possessions are marked by 自分.
        floating: whether to leave out the number, which floats: it follows the particle.
    """
    noun, owner = item.noun, item.owner
    name = noun.japanese
    if owner is not None and "KIN" in noun.tags and is_first_person(owner):
        return name
    if owner is not None:
        name = _KIN.get(name, name)
    parts = []
    if item.relative is not None:
        parts.append(_relative(item, item.relative))
    if owner is not None:
        parts.append(_owner(owner, subject, kin="KIN" in noun.tags))
    parts.append(_THESE.get(item.determiner, ""))
    if item.number and not floating:
        parts.append(f"{_number(item)}の")
    if item.adjective is not None:
        parts.append(conjugation.plain(Word(item.adjective.japanese, item.adjective.kind)))
    parts.append(name)
    if item.plural and "person" in noun.tags:
        parts.append("たち")
    return "".join(parts)


def _owner(owner: Phrase, subject: Phrase | None, *, kin: bool) -> str:
    if not is_reflexive(owner, subject):
        return f"{phrase(owner, subject)}の"
    if kin:
        return ""
    return "自分たちの" if owner.noun.english in ("we", "they") else "自分の"


def _number(item: Phrase) -> str:
    return "たくさん" if item.number == MANY else f"{KANJI_NUMERALS[item.number]}{item.noun.counter}"


def _relative(head: Phrase, clause: Action | Placing) -> str:
    if isinstance(clause, Placing):
        word, body = _being(head), f"{clause.location.japanese}に"
    else:
        word, body = _action(clause, main=False)
    return _subject(clause, "が") + body + conjugation.plain(word, past=clause.tense == "past", negated=clause.negative)


def _subject(clause: Clause, particle: str = "") -> str:
    """Return the subject with は, or with が if it is new or a question word; `particle` overrides both."""
    subject = clause.subject
    if subject is None:
        return ""
    if not particle:
        particle = "が" if subject.indefinite or subject.noun.english in ("who", "what") else "は"
    return phrase(subject) + particle


def _body(clause: Clause, *, main: bool = False) -> tuple[Word, str]:
    """Return the uninflected predicate, and the words between it and the subject."""
    if isinstance(clause, Action):
        return _action(clause, main=main)
    if isinstance(clause, Quality):
        word = Word(clause.adjective.japanese, clause.adjective.kind)
        return word, f"{phrase(clause.than, clause.subject)}より" if clause.than is not None else ""
    if isinstance(clause, Identity):
        return Word(phrase(clause.value._replace(plural=False)), "no"), ""
    assert clause.subject is not None
    return _being(clause.subject), f"{clause.location.japanese}に"


def _being(subject: Phrase) -> Word:
    """Return the verb of existence: いる for people and animals, ある for things."""
    return Word("いる", "ichidan") if subject.noun.tags & {"person", "animal"} else Word("ある", "godan")


def _action(action: Action, *, main: bool) -> tuple[Word, str]:
    word, particle = _inflected(action)
    verb, subject, traits = action.verb, action.subject, action.verb.traits
    parts = []
    if action.time is not None:
        often = "あまり" if action.time.japanese == "よく" and action.negative else action.time.japanese
        parts.append(often if main else often.rstrip("、"))
    if action.companion is not None:
        parts.append(f"{phrase(action.companion, subject)}と")
    if action.vehicle is not None:
        parts.append(f"{action.vehicle.japanese}で")
    if action.place is not None:
        at = "に" if verb.particle == "に" and not verb.objects else "を" if "THROUGH" in traits else "で"
        parts.append(action.place.japanese + at)
    if action.origin is not None:
        parts.append(f"{action.origin.japanese}から")
    if action.goal is not None:
        parts.append(action.goal.japanese + ("まで" if action.origin is not None else verb.particle))
    if action.other is not None:
        parts.append(phrase(action.other, subject) + ("に" if "TO" in traits else "から"))
    if action.objects:
        floats = len(action.objects) == 1 and action.objects[0].number > 0 and action.objects[0].indefinite
        parts.append("と".join(phrase(item, subject, floating=floats) for item in action.objects) + particle)
        if floats:
            parts.append(_number(action.objects[0]))
    return word, "".join(parts)


def _inflected(action: Action) -> tuple[Word, str]:
    """Return the verb with its modality and aspect, and the particle of its object."""
    verb, particle = Word(action.verb.japanese, action.verb.kind), action.verb.particle
    speaker = is_first_person(action.subject) or (action.subject is not None and action.subject.noun.english == "you")
    if action.modal == "can":
        return conjugation.ability(verb), particle
    if action.modal == "want":
        wish = conjugation.desire(verb)
        return (wish if speaker else conjugation.showing(wish)), particle
    if verb.kind == "i" and not speaker:
        return conjugation.showing(verb), "を"
    if action.other is not None and "TO" in action.verb.traits and _is_for_us(action):
        return (
            _GIVE_ME if action.verb.english == "give" else Word(conjugation.te(verb) + _GIVE_ME.form, _GIVE_ME.kind)
        ), particle
    if action.progressive or ("STATE" in action.verb.traits and action.tense != "future"):
        return conjugation.progressive(verb), particle
    return verb, particle


def _is_for_us(action: Action) -> bool:
    """Return whether others do something for the speaker or the speaker's family: くれる, not あげる."""
    other = action.other
    assert other is not None
    ours = is_first_person(other) or (
        other.owner is not None and is_first_person(other.owner) and "KIN" in other.noun.tags
    )
    return ours and not is_first_person(action.subject)


def _introduction(clause: Placing) -> str:
    """Return location and subject of a sentence of existence, in this order: テーブルの上に本が三冊."""
    subject = clause.subject
    assert subject is not None
    floats = subject.number > 0
    topic = phrase(subject, floating=floats) + ("は" if clause.negative else "が")
    return f"{clause.location.japanese}に{topic}{_number(subject) if floats else ''}"


def _clause(clause: Clause, end: Callable[[Word], str], *, topic: bool = True) -> str:
    """Return a main clause; `end` inflects its predicate."""
    word, body = _body(clause, main=True)
    if isinstance(clause, Placing) and clause.new:
        return _introduction(clause) + end(word)
    return (_subject(clause) if topic else "") + body + end(word)


def _polite(clause: Clause) -> Callable[[Word], str]:
    return lambda word: conjugation.polite(word, past=clause.tense == "past", negated=clause.negative)


def _request(clause: Clause) -> Callable[[Word], str]:
    if clause.negative:
        return lambda word: conjugation.negative(word).form + "でください"
    return lambda word: conjugation.te(word) + "ください"


def sentence(meaning: Sentence) -> str:
    """Return the Japanese sentence of a meaning."""
    clause, second = meaning.clause, meaning.second
    if meaning.mood == "please":
        return _clause(clause, _request(clause)) + "。"
    if meaning.mood == "let's":
        return _clause(clause, lambda word: conjugation.stem(word) + "ましょう") + "。"
    if second is None:
        return _clause(clause, _polite(clause)) + ("か。" if meaning.mood == "question" else "。")
    if meaning.link == "but":
        return f"{_clause(clause, _polite(clause))}が、{_clause(second, _polite(second))}。"
    if meaning.link == "and":
        return f"{_clause(clause, conjugation.te)}、{_clause(second, _polite(clause), topic=False)}。"
    word, body = _body(second)
    reason = body + conjugation.plain(word, past=second.tense == "past", negated=second.negative)
    if meaning.link == "because":
        # The cause comes first, and the subject occurs once, as the topic of both clauses.
        return f"{_subject(clause)}{reason}ので、{_clause(clause, _polite(clause), topic=False)}。"
    return f"{_subject(second, 'が')}{reason}時、{_clause(clause, _polite(clause))}。"
