"""Random choice of plausible noun phrases, with relative clauses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from tformer_cli.builtin.lexicon import (
    ADJECTIVES,
    LOCATIONS,
    NOUNS,
    PRONOUNS,
    TIMES_OF,
    VERBS,
    Adjective,
    Location,
    Noun,
    Place,
    Pronoun,
    Verb,
    tagged,
)
from tformer_cli.builtin.meaning import MANY, Action, Phrase, Placing, is_first_person

T = TypeVar("T")

NAMES = tagged("name")
KIN = tagged("KIN")
PEOPLE = tuple(noun for noun in tagged("person") if noun not in KIN)
SPEAKERS = tuple(Phrase(PRONOUNS[name]) for name in ("I", "I", "he", "she", "we", "they"))
ADJECTIVES_OF: dict[Noun, tuple[Adjective, ...]] = {
    noun: tuple(item for item in ADJECTIVES.values() if noun in item.nouns and item.english != "free")
    for noun in NOUNS.values()
}
LOCATIONS_OF: dict[Noun, tuple[Location, ...]] = {
    noun: tuple(item for item in LOCATIONS.values() if noun in tagged(*item.items)) for noun in NOUNS.values()
}
_PLAIN = tuple(verb for verb in VERBS.values() if not verb.traits & {"TO", "FROM", "GENERIC"} and verb.kind != "i")
ALL_VERBS = tuple(VERBS.values())
VERBS_WITH: dict[Noun, tuple[Verb, ...]] = {
    noun: tuple(verb for verb in _PLAIN if noun in verb.objects) for noun in NOUNS.values()
}
VERBS_BY: dict[Noun, tuple[Verb, ...]] = {
    noun: tuple(verb for verb in _PLAIN if noun in verb.subjects and verb.name != "understand/分かる")
    for noun in NOUNS.values()
}


class Nonsense(Exception):
    """A combination of random choices that is not plausible; another sentence must be drawn."""


@cache
def takes_people(verb: Verb) -> bool:
    """Return whether any person can be the subject of a verb."""
    return NOUNS["doctor"] in verb.subjects and NOUNS["child"] in verb.subjects


@cache
def places_for(verb: Verb, noun: Noun) -> tuple[Place, ...]:
    """Return the places of an action of `noun`; animals act in parks, gardens and water only."""
    if "animal" not in noun.tags:
        return verb.places
    return tuple(place for place in verb.places if place.tags & {"outdoor", "water"})


@cache
def objects_for(verb: Verb, noun: Noun) -> tuple[Noun, ...]:
    """Return the possible objects of an action of `noun`; for animals, some food and living beings only."""
    if "animal" not in noun.tags:
        return verb.objects
    return tuple(item for item in verb.objects if item.tags & {"fodder", "lap", "alive"})


_BROAD = frozenset({"thing", "goods", "made", "wash", "tool", "work", "alive", "BARE", "MASS", "KIN", "PAIR"})


def are_kindred(first: Noun, second: Noun) -> bool:
    """Return whether two nouns are of a similar kind, so that they can be compared or listed."""
    return first is not second and not (first.tags & second.tags) <= _BROAD


class PhraseChooser:
    """A chooser of phrases, whose random choices are the digits of a large integer.

    A sentence is therefore a function of a single number.
    """

    def __init__(self, state: int) -> None:
        """Start with a number that has many more digits than choices are made."""
        self.state = state

    def choose(self, options: Sequence[T]) -> T:
        """Choose one of the options.

        Raises:
            Nonsense: if there are none.
        """
        if not options:
            raise Nonsense
        self.state, index = divmod(self.state, len(options))
        return options[index]

    def chance(self, percent: int) -> bool:
        """Return True with the given probability in percent."""
        self.state, digit = divmod(self.state, 100)
        return digit < percent

    def person(self, avoid: Phrase | None = None, *, pronouns: bool = True) -> Phrase:
        """Choose a definite person other than `avoid`."""
        if pronouns and self.chance(30):
            phrase = self.choose(SPEAKERS)
        else:
            noun = self.choose(PEOPLE)
            phrase = Phrase(noun, "" if "BARE" in noun.tags else "the")
        if avoid is not None:
            same_pronoun = isinstance(phrase.noun, Pronoun) and phrase.noun.pronoun == avoid.noun.pronoun
            if phrase.noun is avoid.noun or same_pronoun or (is_first_person(phrase) and is_first_person(avoid)):
                raise Nonsense
        return phrase

    def kin(self, noun: Noun, subject: Phrase | None = None) -> Phrase:
        """Return a mother or father with a random owner."""
        if subject is not None and ("KIN" in subject.noun.tags or subject.several):
            raise Nonsense
        return Phrase(noun, owner=self.owner(subject, close=True))

    def owner(self, subject: Phrase | None = None, *, close: bool = False) -> Phrase:
        """Choose an owner; ambiguous pronouns, which may or may not refer to the subject, are excluded."""
        options = [Phrase(PRONOUNS["I"]), Phrase(PRONOUNS["you"])]
        if subject is None:
            options += [Phrase(PRONOUNS["he"]), Phrase(PRONOUNS["she"])]
        elif not subject.plural and subject.noun.pronoun in ("he", "she"):
            options += [Phrase(PRONOUNS["he"]), Phrase(PRONOUNS["she"])]
            options += [Phrase(PRONOUNS["they"])] * (0 if close else 2)
            options += [Phrase(PRONOUNS[subject.noun.pronoun])] * 4
        elif subject.noun.pronoun in ("we", "they"):
            options = [Phrase(subject.noun)] * 3
        options += [Phrase(PRONOUNS["we"])] * (not close)
        if self.chance(40):
            noun = self.choose(NAMES if close else PEOPLE)
            if subject is not None and noun is subject.noun:
                raise Nonsense
            return Phrase(noun, "" if "BARE" in noun.tags else "the")
        owner = self.choose(options)
        if subject is not None and owner.noun.english == "I" and subject.noun.english == "we":
            raise Nonsense
        return owner

    def adjective(self, noun: Noun, percent: int) -> Adjective | None:
        """Choose a fitting adjective with a probability of `percent`; otherwise return None."""
        fitting = ADJECTIVES_OF[noun]
        return self.choose(fitting) if fitting and self.chance(percent) else None

    def count(self, noun: Noun) -> int:
        """Choose a number for a noun."""
        if noun.measure is not None:
            return self.choose((1, 1, 1, 1, 1, *range(2, 8)))
        if self.chance(12):
            return MANY
        return self.choose(range(1, 6 if noun.tags & {"person", "animal", "machine", "furniture"} else 11))

    def subject(self, nouns: Sequence[Noun], *, people: bool, new: bool = False, rich: bool = True) -> Phrase:
        """Choose a subject; `new` allows indefinite ones, and `rich` relative clauses."""
        if people and self.chance(28):
            return self.choose(SPEAKERS)
        noun = self.choose(nouns)
        tags = noun.tags
        if "BARE" in tags:
            return Phrase(noun)
        if "KIN" in tags:
            return self.kin(noun)
        adjective = self.adjective(noun, 28)
        if new and self.chance(25) and noun.counter:
            number = self.count(noun) if self.chance(50) else 0
            return Phrase(noun, "" if number else "a", number, adjective=adjective)
        if rich and self.chance(20):
            return self.with_relative(Phrase(noun, "the", adjective=adjective), timed=True)
        if self.chance(15):
            number = self.choose(range(2, 8)) if noun.counter and not noun.measure and self.chance(35) else 0
            return Phrase(noun, self.choose(("this", "that")), number, adjective=adjective)
        if "person" not in tags and "animal" not in tags and self.chance(30):
            return Phrase(noun, adjective=adjective, owner=self.owner())
        plural = "person" in tags and self.chance(20)
        return Phrase(noun, "the", plural=plural, adjective=adjective)

    def object(self, verb: Verb, subject: Phrase | None, *, rich: bool = True) -> Phrase:
        """Choose an object of a verb; `rich` allows modifiers."""
        actor = subject.noun if subject is not None else NOUNS["man"]
        if rich and "HUMAN" in verb.traits and self.chance(12):
            phrase = self.choose(SPEAKERS)
            if phrase.noun.pronoun == actor.pronoun or (is_first_person(phrase) and is_first_person(subject)):
                raise Nonsense
            return phrase
        noun = self.choose(objects_for(verb, actor))
        if noun is actor:
            raise Nonsense
        if "BARE" in noun.tags:
            return Phrase(noun)
        if "KIN" in noun.tags:
            return self.kin(noun, subject)
        definite = "THE" in verb.traits or bool(noun.tags & {"alive", "transport"})
        usual = "generic" if "GENERIC" in verb.traits else "the" if definite and verb.kind != "i" else "a"
        if not rich:
            return Phrase(noun, usual)
        item = self.described(noun, usual, subject, verb)
        if item.relative is not None:
            self._check_relative(item.relative, verb, actor)
        return item

    def _check_relative(self, clause: Action | Placing, verb: Verb, actor: Noun) -> None:
        """Refuse "he reads the book that he reads", and relative clauses next to a receiver, which are hard to read."""
        if verb.traits & {"TO", "FROM"}:
            raise Nonsense
        if isinstance(clause, Action):
            subject = clause.subject
            if clause.verb is verb or (subject is not None and subject.noun is actor):
                raise Nonsense

    def described(self, noun: Noun, usual: str, subject: Phrase | None, verb: Verb) -> Phrase:
        """Choose the number, owner, adjective or relative clause of an object."""
        adjective = self.adjective(noun, 28)
        if "COUNT" in verb.traits and noun.counter and self.chance(80 if noun.measure else 38):
            return Phrase(noun, "", self.count(noun), adjective=adjective)
        if "NEW" in verb.traits:
            return Phrase(noun, usual, adjective=adjective)
        if self.chance(12):
            return self.with_relative(Phrase(noun, "the", adjective=adjective))
        if self.chance(12):
            return Phrase(noun, self.choose(("this", "that")), adjective=adjective)
        if "person" not in noun.tags and self.chance(20):
            return Phrase(noun, adjective=adjective, owner=self.owner(subject))
        return Phrase(noun, usual, adjective=adjective)

    def with_relative(self, head: Phrase, *, timed: bool = False) -> Phrase:
        """Add a random relative clause to `head`; `timed` allows a time at its end, which must be unambiguous."""
        noun = head.noun
        if LOCATIONS_OF[noun] and self.chance(20):
            clause: Action | Placing = Placing(None, self.choose(LOCATIONS_OF[noun]))
        elif "alive" in noun.tags and self.chance(50):
            clause = self._doing(head)
        else:
            subject = self.choose(SPEAKERS) if self.chance(25) else self.person(head, pronouns=False)
            verb = self.choose(VERBS_WITH[noun])
            if subject.noun not in verb.subjects and not takes_people(verb):
                raise Nonsense
            time = self.choose(TIMES_OF["past"]) if timed and self.chance(12) else None
            clause = self.aspect(Action(subject, verb, time=time))
        if isinstance(clause, Action) and is_ambiguous(clause, head):
            raise Nonsense
        return head._replace(relative=clause)

    def _doing(self, head: Phrase) -> Action:
        """Choose a relative clause whose subject is the head."""
        verb = self.choose(VERBS_BY[head.noun])
        objects = (self.object(verb, head, rich=False),) if verb.objects else ()
        if any("KIN" in item.noun.tags for item in objects):
            raise Nonsense
        spots = places_for(verb, head.noun)
        goal = self.choose(spots) if "GO" in verb.traits else None
        place = self.choose(spots) if spots and not objects and goal is None else None
        return self.aspect(Action(None, verb, objects, goal=goal, place=place))

    def aspect(self, action: Action) -> Action:
        """Choose the tense and aspect of a relative clause: past, negative or progressive."""
        if "STATE" in action.verb.traits and action.time is None:
            return action._replace(tense="present")
        if action.time is None and self.chance(15):
            return action._replace(negative=True)
        if action.time is None and not action.verb.traits & {"EVENT", "STATE"} and self.chance(20):
            return action._replace(tense="present", progressive=True)
        if "STATE" in action.verb.traits:
            raise Nonsense
        return action


def is_ambiguous(action: Action, head: Phrase | None) -> bool:
    """Return whether an action may be past or present, like "they read", and thus has two translations."""
    subject = action.subject or head
    if action.verb.english != action.verb.past or action.progressive or action.negative or action.modal:
        return False
    if action.tense == "future" or (action.time is not None and action.time.kind in ("past", "habit")):
        return False
    return subject is None or subject.several or subject.noun.english == "I"
