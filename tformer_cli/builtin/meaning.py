"""Meanings, from which `english` and `japanese` each generate a sentence."""

from __future__ import annotations

from typing import NamedTuple

from tformer_cli.builtin.lexicon import Adjective, Location, Noun, Place, Pronoun, Time, Verb

MANY = -1
_QUESTION_WORDS = frozenset({"who", "what", "where"})
_PLURAL = frozenset({"PAIR", "PLURAL"})


class Phrase(NamedTuple):
    """The meaning of a noun phrase.

    Attributes:
        noun: the noun.
        determiner: the, a, this, that, generic ("I like dogs") or "" (with an owner, or a noun without articles).
        number: 1 to 10, or MANY; 0: not specified.
        plural: whether a phrase without a number is plural.
        adjective: an adjective before the noun.
        owner: the possessor.
        relative: a relative clause after the noun.
    """

    noun: Noun
    determiner: str = ""
    number: int = 0
    plural: bool = False
    adjective: Adjective | None = None
    owner: Phrase | None = None
    relative: Action | Placing | None = None

    @property
    def indefinite(self) -> bool:
        """Return whether it is new to the listener: Japanese marks it with が, not は, and its number floats."""
        return self.determiner == "a" or (self.number != 0 and not self.determiner and self.owner is None)

    @property
    def several(self) -> bool:
        """Return whether English uses the plural."""
        if self.number:
            return self.number != 1
        return self.plural or not self.noun.tags.isdisjoint(_PLURAL)


class Action(NamedTuple):
    """An action: "Ken reads a book". In a relative clause, the phrase that it modifies is None.

    `other` is the person who receives something, or from whom it is borrowed. `tense` is past, present or future;
    `modal` is "", can or want.
    """

    subject: Phrase | None
    verb: Verb
    objects: tuple[Phrase, ...] = ()
    other: Phrase | None = None
    goal: Place | None = None
    origin: Place | None = None
    place: Place | None = None
    companion: Phrase | None = None
    vehicle: Noun | None = None
    time: Time | None = None
    tense: str = "past"
    progressive: bool = False
    negative: bool = False
    modal: str = ""


class Quality(NamedTuple):
    """A quality or comparison: "the house is old", "the house is older than the school"."""

    subject: Phrase
    adjective: Adjective
    than: Phrase | None = None
    tense: str = "present"
    negative: bool = False


class Identity(NamedTuple):
    """An identity: "Ken is a teacher"."""

    subject: Phrase
    value: Phrase
    tense: str = "present"
    negative: bool = False


class Placing(NamedTuple):
    """A location: "the book is on the table"; with `new`, "there is a book on the table"."""

    subject: Phrase | None
    location: Location
    new: bool = False
    tense: str = "present"
    negative: bool = False


Clause = Action | Quality | Identity | Placing


class Sentence(NamedTuple):
    """The meaning of a sentence: a clause, and optionally a second one.

    `mood` is statement, question, please or let's. `link` is the conjunction before `second`: but, when, and, because.
    The last two join clauses with the same subject.
    """

    clause: Clause
    mood: str = "statement"
    link: str = ""
    second: Clause | None = None


def is_first_person(phrase: Phrase | None) -> bool:
    """Return whether a phrase is "I" or "we"."""
    return phrase is not None and "FIRST" in phrase.noun.tags


def is_reflexive(owner: Phrase, subject: Phrase | None) -> bool:
    """Return whether the owner is the subject of the clause, as in "Ken washed his car"."""
    return subject is not None and isinstance(owner.noun, Pronoun) and subject.noun.pronoun == owner.noun.english


def combinations(sentence: Sentence) -> set[tuple[str, str]]:
    """Return the pairs of words that a sentence combines: verb and object, adjective and noun, location and thing.

    A verb without objects is paired with its goal, its place or its subject instead, and with its subject if the
    partner is a question word.
    """
    pairs: set[tuple[str, str]] = set()
    for clause in (sentence.clause, sentence.second):
        if clause is not None:
            _clause_pairs(clause, None, pairs)
    return pairs


def _clause_pairs(clause: Clause, head: Noun | None, pairs: set[tuple[str, str]]) -> None:
    """Add the pairs of a clause; `head` is the noun that a relative clause modifies."""
    subject = head if clause.subject is None else clause.subject.noun
    if clause.subject is not None:
        _phrase_pairs(clause.subject, pairs)
    if isinstance(clause, Action):
        for phrase in (*clause.objects, clause.other, clause.companion):
            if phrase is not None:
                _phrase_pairs(phrase, pairs)
        pairs.update(_verb_pairs(clause, head))
    elif isinstance(clause, Quality):
        pairs.add((clause.adjective.english, clause.subject.noun.english))
        if clause.than is not None:
            _phrase_pairs(clause.than, pairs)
            pairs.add((clause.adjective.english, clause.than.noun.english))
    elif isinstance(clause, Identity):
        _phrase_pairs(clause.value, pairs)
        pairs.add((clause.subject.noun.english, clause.value.noun.english))
    elif subject is not None:
        pairs.add((clause.location.english, subject.english))


def _verb_pairs(action: Action, head: Noun | None) -> list[tuple[str, str]]:
    """Return the pairs of a verb and its objects, or its goal, place or subject."""
    name = action.verb.name
    subject = action.subject.noun.english if action.subject is not None else head.english if head is not None else ""
    partners = [phrase.noun.english for phrase in action.objects]
    if not partners and action.subject is not None and action.verb.objects and head is not None:
        partners = [head.english]
    place = action.goal or action.place
    if not partners:
        partners = [place.english if place is not None else subject]
    return [("? " + name, subject) if partner in _QUESTION_WORDS else (name, partner) for partner in partners]


def _phrase_pairs(phrase: Phrase, pairs: set[tuple[str, str]]) -> None:
    if phrase.adjective is not None:
        pairs.add((phrase.adjective.english, phrase.noun.english))
    if phrase.owner is not None:
        _phrase_pairs(phrase.owner, pairs)
    if phrase.relative is not None:
        _clause_pairs(phrase.relative, phrase.noun, pairs)
