"""Generation of English sentences from meanings."""

from __future__ import annotations

import re
from functools import cache

from tformer_cli.builtin.lexicon import NUMERALS, WHAT, WHEN, WHERE, WHERE_IS, WHO, Pronoun, Verb
from tformer_cli.builtin.meaning import (
    MANY,
    Action,
    Clause,
    Identity,
    Phrase,
    Placing,
    Quality,
    Sentence,
)

_WANT = "want to"


@cache
def third(base: str) -> str:
    """Return the third person singular of the present: reads, washes, studies, has."""
    head, space, tail = base.partition(" ")
    if head == "have":
        head = "has"
    elif re.search(r"[^aeiou]y$", head):
        head = head[:-1] + "ies"
    else:
        head += "es" if re.search(r"(s|x|ch|sh|o)$", head) else "s"
    return head + space + tail


@cache
def gerund(base: str) -> str:
    """Return the -ing form: reading, making, swimming."""
    head, space, tail = base.partition(" ")
    if head.endswith("e") and not head.endswith("ee"):
        head = head[:-1]
    elif re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", head):
        head += head[-1]
    return f"{head}ing{space}{tail}"


def phrase(item: Phrase, *, is_object: bool = False) -> str:
    """Return a noun phrase with its relative clause."""
    noun = item.noun
    if isinstance(noun, Pronoun):
        return noun.object if is_object else noun.english
    several = item.several or (item.determiner == "generic" and not noun.tags & {"MASS", "BARE"})
    words = [noun.plural if several else noun.english]
    if item.adjective is not None:
        words.insert(0, item.adjective.english)
    if item.number and noun.measure is not None:
        words.insert(0, f"{noun.measure[item.number != 1]} of")
    if item.number:
        words.insert(0, "many" if item.number == MANY else NUMERALS[item.number])
    if item.owner is not None:
        owner = item.owner.noun
        words.insert(0, owner.possessive if isinstance(owner, Pronoun) else phrase(item.owner) + "'s")
    elif item.determiner in ("this", "that"):
        words.insert(0, {"this": "these", "that": "those"}[item.determiner] if several else item.determiner)
    elif item.determiner == "the":
        words.insert(0, "the")
    elif item.determiner == "a" and not several and not item.number and "MASS" not in noun.tags:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    if item.relative is not None:
        words.append(_relative(item, item.relative))
    return " ".join(words)


def _relative(head: Phrase, clause: Action | Placing) -> str:
    if clause.subject is not None:
        return "that " + _statement(clause)
    who = "who" if "person" in head.noun.tags else "that"
    return f"{who} {_statement(clause, head)}"


def _be(subject: Phrase, tense: str) -> str:
    if subject.several:
        return "were" if tense == "past" else "are"
    if subject.noun.english == "I":
        return "was" if tense == "past" else "am"
    return "was" if tense == "past" else "is"


def _has_base_form(subject: Phrase) -> bool:
    """Return whether the present tense of a verb with this subject has no -s."""
    return subject.several or subject.noun.english == "I"


def _verb(action: Action, subject: Phrase) -> tuple[str, str]:
    """Return the auxiliary ("" if there is none) and the main verb."""
    verb: Verb = action.verb
    if action.modal == "can":
        return ("could" if action.tense == "past" else "can"), verb.english
    if action.tense == "future":
        return "will", verb.english
    if action.progressive:
        return _be(subject, action.tense), gerund(verb.english)
    base, past = verb.english, verb.past
    if action.modal == "want":
        base, past = f"{_WANT} {base}", f"wanted to {base}"
    if action.tense == "past":
        return "", past
    return "", base if _has_base_form(subject) else third(base)


def _with_do(auxiliary: str, main: str, action: Action, subject: Phrase) -> tuple[str, str]:
    """Add "do" to a verb without an auxiliary, for negatives and questions."""
    if auxiliary:
        return auxiliary, main
    base = f"{_WANT} {action.verb.english}" if action.modal == "want" else action.verb.english
    if action.tense == "past":
        return "did", base
    return ("do" if _has_base_form(subject) else "does"), base


_NEGATIVES = {"can": "can't", "will": "won't"}
_BE = ("am", "is", "are", "was", "were")


def _predicate(clause: Clause, subject: Phrase, *, support: bool) -> tuple[str, str]:
    """Return the auxiliary and the rest of the verb; `support` requires an auxiliary (questions)."""
    if isinstance(clause, Action):
        auxiliary, main = _verb(clause, subject)
        if clause.negative or support:
            auxiliary, main = _with_do(auxiliary, main, clause, subject)
        if clause.time is not None and clause.time.kind == "often":
            main = f"{clause.time.english} {main}"
    else:
        auxiliary, main = _be(subject, clause.tense), ""
    if isinstance(clause, Placing) and clause.new:
        return auxiliary, main  # "there is no"
    if clause.negative and auxiliary in _BE:
        auxiliary += " not"
    elif clause.negative:
        auxiliary = _NEGATIVES.get(auxiliary, auxiliary + "n't")
    return auxiliary, main


def _complements(clause: Clause) -> list[str]:
    """Return the words after the verb, in order, except question words."""
    if isinstance(clause, Quality):
        if clause.than is None:
            return [clause.adjective.english]
        return [clause.adjective.comparative, "than", phrase(clause.than)]
    if isinstance(clause, Identity):
        return [phrase(clause.value)]
    if isinstance(clause, Placing):
        return [] if clause.location is WHERE_IS else [clause.location.english]
    words = []
    objects = " and ".join(phrase(item, is_object=True) for item in clause.objects if item.noun not in (WHO, WHAT))
    if clause.other is not None and "TO" in clause.verb.traits:
        words.append(phrase(clause.other, is_object=True))
    if objects:
        words.append(objects)
    if clause.other is not None and "FROM" in clause.verb.traits:
        words.append(f"from {phrase(clause.other, is_object=True)}")
    if clause.origin is not None:
        words.append(clause.origin.to.replace("to ", "from ", 1))
    if clause.goal is not None and clause.goal is not WHERE:
        # "return" is intransitive, but "return home" and "return to school" are both correct.
        words.append(clause.goal.to)
    if clause.place is not None and clause.place is not WHERE:
        words.append(clause.place.english)
    if clause.vehicle is not None:
        words.append(f"by {clause.vehicle.english}")
    if clause.companion is not None:
        words.append(f"with {phrase(clause.companion, is_object=True)}")
    if clause.time is not None and clause.time.kind != "often" and clause.time is not WHEN:
        words.append(clause.time.english)
    return words


def _statement(clause: Clause, head: Phrase | None = None) -> str:
    """Return a clause in declarative order; `head` is the missing subject of a relative clause."""
    subject = clause.subject or head
    assert subject is not None
    words = [*_predicate(clause, subject, support=False), *_complements(clause)]
    if isinstance(clause, Placing) and clause.new:
        noun_phrase = "no " + phrase(subject._replace(determiner="")) if clause.negative else phrase(subject)
        words = ["there", words[0], noun_phrase, *words[2:]]
    elif clause.subject is not None:
        words.insert(0, phrase(subject))
    return " ".join(word for word in words if word)


def _question(clause: Clause) -> str:
    subject = clause.subject
    assert subject is not None
    if subject.noun in (WHO, WHAT):
        return _statement(clause)
    auxiliary, main = _predicate(clause, subject, support=True)
    words = [auxiliary, "there" if isinstance(clause, Placing) and clause.new else "", phrase(subject), main]
    return " ".join(word for word in [_question_word(clause), *words, *_complements(clause)] if word)


def _question_word(clause: Clause) -> str:
    if isinstance(clause, Placing):
        return "where" if clause.location is WHERE_IS else ""
    if not isinstance(clause, Action):
        return ""
    if WHERE in (clause.goal, clause.place):
        return "where"
    if clause.time is WHEN:
        return "when"
    return next((item.noun.english for item in clause.objects if item.noun in (WHO, WHAT)), "")


def _imperative(action: Action) -> str:
    return " ".join(["don't"] * action.negative + [action.verb.english, *_complements(action)])


def _goes_on(action: Action, subject: Phrase) -> str:
    """Return the second half of "went to the shop and bought a hat", which has tense but no subject or auxiliary."""
    auxiliary, main = _verb(action, subject)
    return " ".join([main, *_complements(action)])


def sentence(meaning: Sentence) -> str:
    """Return the English sentence of a meaning."""
    clause, second, mark = meaning.clause, meaning.second, "."
    if meaning.mood == "question":
        text, mark = _question(clause), "?"
    elif meaning.mood in ("please", "let's"):
        assert isinstance(clause, Action)
        text = f"{meaning.mood} {_imperative(clause)}"
    elif second is None:
        text = _statement(clause)
    elif meaning.link == "when":
        text = f"when {_statement(second)}, {_statement(clause)}"
    elif meaning.link == "and":
        assert isinstance(clause, Action) and isinstance(second, Action) and clause.subject is not None
        # The time holds for both and comes last.
        text = f"{_statement(clause._replace(time=None))} and {_goes_on(second, clause.subject)}"
        text += f" {clause.time.english}" if clause.time is not None else ""
    else:
        comma = "," if meaning.link == "but" else ""
        text = f"{_statement(clause)}{comma} {meaning.link} {_statement(second)}"
    return text[0].upper() + text[1:] + mark
