"""Random choice of sentences: statements, questions, requests, comparisons, and compound sentences."""

from __future__ import annotations

from functools import cache

from tformer_cli.builtin import lexicon
from tformer_cli.builtin.grammar import Chooser
from tformer_cli.builtin.lexicon import (
    ADJECTIVES,
    LOCATIONS,
    NOUNS,
    PRONOUNS,
    TIMES_OF,
    VERBS,
    Adjective,
    Noun,
    Place,
    Verb,
    tagged,
)
from tformer_cli.builtin.meaning import (
    Action,
    Clause,
    Identity,
    Phrase,
    Placing,
    Quality,
    Sentence,
    is_first_person,
)
from tformer_cli.builtin.phrases import ALL_VERBS, Nonsense, are_kindred, is_ambiguous, takes_people

_YOU = Phrase(PRONOUNS["you"])
_DOING = tuple(
    verb for verb in VERBS.values() if not verb.traits & {"STATE", "TO", "FROM", "EVENT"} and takes_people(verb)
)
_WITH_OBJECTS = tuple(verb for verb in ALL_VERBS if verb.objects and takes_people(verb))
_CAUSES = {"busy": True, "sick": True, "free": False}  # adjective: whether it keeps people from doing things
_MOTIONS = tuple(VERBS[name] for name in ("go/行く", "come/来る", "return/帰る"))
_JOBS = tagged("job")
_INANIMATE = tagged("thing", "machine", "furniture", "building")
_WHO_IS = tuple(NOUNS[name] for name in ("man", "woman", "Ken", "Emma", "Mr. Tanaka", "Ms. Sato", "mother", "father"))
_ADJECTIVES = tuple(ADJECTIVES.values())
_LOCATIONS = tuple(LOCATIONS.values())


@cache
def comparable(adjective: Adjective, noun: Noun) -> tuple[Noun, ...]:
    """Return the nouns with which a noun can be compared by an adjective: others of a similar kind."""
    return tuple(item for item in adjective.nouns if are_kindred(item, noun))


def draw(state: int) -> Sentence:
    """Return the meaning of the sentence with a number.

    Raises:
        Nonsense: if it is not plausible.
    """
    chooser = Chooser(state)
    kind = chooser.choose(_KINDS)
    return kind(chooser)


def _statement(chooser: Chooser) -> Sentence:
    return Sentence(chooser.action())


def _yes_no(chooser: Chooser) -> Sentence:
    action = chooser.action(_YOU if chooser.chance(40) else None)
    return _question(action._replace(negative=False))


def _question(clause: Clause) -> Sentence:
    """Return the question of a clause; refuse indefinite subjects, and the first person."""
    if clause.subject is not None and (clause.subject.indefinite or is_first_person(clause.subject)):
        raise Nonsense
    return Sentence(clause, "question")


def _which(chooser: Chooser) -> Sentence:
    """Draw a question with who, what, where or when."""
    verb = chooser.choose(ALL_VERBS)
    kind = chooser.choose(("who", "what", "where", "when"))
    if kind == "who":
        if not takes_people(verb):
            raise Nonsense
        return _question(chooser.action(Phrase(lexicon.WHO), verb)._replace(negative=False, companion=None))
    subject = chooser.subject(verb.subjects, people=takes_people(verb), rich=False) if chooser.chance(70) else _YOU
    action = chooser.action(subject, verb, rich=kind == "what")._replace(negative=False)
    if action.time is not None and action.time.kind == "often":
        action = action._replace(time=None)
    if kind == "what":
        # "What does he play?" and "wear" would leave the Japanese verb open.
        if not verb.objects or verb.english in ("play", "wear", "take"):
            raise Nonsense
        question_word = lexicon.WHO if NOUNS["man"] in verb.objects else lexicon.WHAT
        return _question(action._replace(objects=(Phrase(question_word),)))
    if kind == "where":
        if "GO" in verb.traits:
            return _question(action._replace(goal=lexicon.WHERE, time=action.time))
        if not verb.places or action.goal is not None or action.modal == "want":
            raise Nonsense
        return _question(action._replace(place=lexicon.WHERE))
    if action.time is None or action.progressive or action.tense == "present" or action.modal:
        raise Nonsense
    return _question(action._replace(time=lexicon.WHEN))


def _quality(chooser: Chooser) -> Sentence:
    adjective = chooser.choose(_ADJECTIVES)
    noun = chooser.choose(adjective.nouns)
    people = NOUNS["man"] in adjective.nouns
    subject = chooser.subject((noun,), people=people)._replace(adjective=None)
    than = None
    if adjective.comparative and chooser.chance(60):
        rival = chooser.choose(comparable(adjective, noun))
        than = chooser.subject((rival,), people=False, rich=False)._replace(adjective=None)
        if subject.plural or subject.number or "KIN" in subject.noun.tags:
            raise Nonsense
    tense = "past" if chooser.chance(30) else "present"
    quality = Quality(subject, adjective, than, tense, chooser.chance(25))
    return _question(quality._replace(negative=False)) if chooser.chance(15) else Sentence(quality)


def _identity(chooser: Chooser) -> Sentence:
    negative = chooser.chance(25)
    if chooser.chance(50):
        subject = chooser.subject(_WHO_IS, people=True, rich=False)._replace(adjective=None)
        question = chooser.chance(25)
        if question and chooser.chance(30):
            subject = _YOU
        if subject.number:
            raise Nonsense
        several = subject.several and subject is not _YOU
        job = Phrase(chooser.choose(_JOBS), "a", plural=several)
        identity = Identity(subject, job, "past" if chooser.chance(25) else "present", negative)
    else:
        noun = chooser.choose(_INANIMATE)
        if "PAIR" in noun.tags:
            raise Nonsense
        value = Phrase(noun, adjective=chooser.adjective(noun, 20), owner=chooser.owner())
        question = chooser.chance(25)
        identity = Identity(Phrase(chooser.choose((lexicon.THIS, lexicon.THAT))), value, "present", negative)
    return _question(identity._replace(negative=False)) if question else Sentence(identity)


def _existence(chooser: Chooser) -> Sentence:
    """Draw a sentence of existence: "there is a book on the table"."""
    location = chooser.choose(_LOCATIONS)
    noun = chooser.choose(tagged(*location.items))
    if noun.tags & {"BARE", "KIN"}:
        raise Nonsense
    negative = chooser.chance(15)
    number = chooser.count(noun) if noun.counter and not negative and chooser.chance(65) else 0
    subject = Phrase(noun, "" if number else "a", number, adjective=chooser.adjective(noun, 25))
    tense = "past" if chooser.chance(30) else "present"
    mood = "question" if not negative and chooser.chance(15) else "statement"
    return Sentence(Placing(subject, location, True, tense, negative), mood)


def _placing(chooser: Chooser) -> Sentence:
    """Draw the location of something: "the book is on the table"."""
    location = chooser.choose(_LOCATIONS)
    nouns = tagged(*location.items)
    subject = chooser.subject(nouns, people=NOUNS["man"] in nouns)
    if subject.relative is not None and isinstance(subject.relative, Placing):
        raise Nonsense
    tense = "past" if chooser.chance(30) else "present"
    question = chooser.chance(25)
    if question and chooser.chance(60):
        return _question(Placing(subject, lexicon.WHERE_IS, tense=tense))
    placing = Placing(subject, location, tense=tense, negative=not question and chooser.chance(20))
    return _question(placing) if question else Sentence(placing)


def _request(chooser: Chooser) -> Sentence:
    mood = chooser.choose(("please", "let's"))
    verb = chooser.choose(_DOING if chooser.chance(80) else _MOTIONS)
    action = chooser.surroundings(Action(None, verb, tense="present"), rich=True)
    if mood == "let's":
        if verb.english in ("wear", "come", "look for") or is_first_person(action.companion):
            raise Nonsense
        if any(item.owner is not None or is_first_person(item) for item in action.objects):
            raise Nonsense
    else:
        # Requests are about things in view: "Please open the box".
        objects = tuple(item._replace(determiner="the") if item.determiner == "a" else item for item in action.objects)
        negative = not any(item.number for item in objects) and chooser.chance(25)
        if any(item.owner is not None and item.owner.noun is _YOU.noun for item in objects):
            raise Nonsense
        action = action._replace(objects=objects, negative=negative)
    closed = any(item.relative is not None for item in action.objects)
    if not closed and not action.negative and chooser.chance(35):
        action = action._replace(time=chooser.choose((*TIMES_OF["future"], *lexicon.HOURS[5:])))
    return Sentence(action, mood)


def _contrast(chooser: Chooser) -> Sentence:
    """Draw a contrast: the same verb with different objects, or opposite adjectives."""
    if chooser.chance(40):
        adjective, opposite = (ADJECTIVES[name] for name in chooser.choose(lexicon.OPPOSITES))
        nouns = tuple(noun for noun in adjective.nouns if noun in opposite.nouns)
        if chooser.chance(50):
            adjective, opposite = opposite, adjective
        first = chooser.subject((chooser.choose(nouns),), people=False, rich=False)._replace(adjective=None)
        rivals = tuple(noun for noun in comparable(opposite, first.noun) if noun in nouns)
        second = chooser.subject((chooser.choose(rivals),), people=False, rich=False)._replace(adjective=None)
        if first.noun is second.noun and (first == second or not (first.owner and second.owner)):
            raise Nonsense
        tense = "past" if chooser.chance(30) else "present"
        qualities = Quality(first, adjective, tense=tense), Quality(second, opposite, tense=tense)
        return Sentence(qualities[0], "statement", "but", qualities[1])
    verb = chooser.choose(_WITH_OBJECTS)
    tense = chooser.choose(("past", "present"))
    progressive = not verb.traits & {"EVENT", "STATE"} and chooser.chance(30)
    first = chooser.person()
    clauses = [
        chooser.action(item, verb, tense=tense, bare=True, rich=False) for item in (first, chooser.person(first))
    ]
    clauses = [item._replace(progressive=progressive, place=None, companion=None) for item in clauses]
    objects = [item.noun for clause in clauses for item in clause.objects]
    if objects[0] is objects[1] or any(is_ambiguous(clause, None) for clause in clauses):
        raise Nonsense
    return Sentence(clauses[0], "statement", "but", clauses[1])


def _sequence(chooser: Chooser) -> Sentence:
    """Draw a sequence of two actions: "Ken went to the shop and bought a hat"."""
    tense = chooser.choose(("past", "past", "present", "future"))
    motion = chooser.choose(_MOTIONS)
    first = chooser.action(None, motion, tense=tense, bare=True, rich=False)._replace(companion=None)
    assert first.goal is not None
    verb = chooser.choose(_verbs_at(first.goal))
    second = chooser.action(first.subject, verb, tense=tense, bare=True, rich=False)._replace(
        place=None, companion=None, origin=None)  # fmt: skip
    times = TIMES_OF["future"] if tense == "future" else TIMES_OF["past"] if tense == "past" else TIMES_OF["habit"]
    if is_ambiguous(second, None):
        raise Nonsense
    time = chooser.choose(times) if tense == "future" or chooser.chance(40) else None
    return Sentence(first._replace(time=time), "statement", "and", second._replace(subject=None))


@cache
def _verbs_at(place: Place) -> tuple[Verb, ...]:
    """Return the verbs of people's actions at a place."""
    return tuple(
        verb for verb in ALL_VERBS
        if place in verb.places and not verb.traits & {"STATE", "GO", "WAY"} and takes_people(verb)
    )  # fmt: skip


def _because(chooser: Chooser) -> Sentence:
    """Draw an action with its cause: "Emma did not go to school because she was sick"."""
    adjective = ADJECTIVES[chooser.choose(tuple(_CAUSES))]
    verb = chooser.choose(_DOING if chooser.chance(60) else _MOTIONS)
    action = chooser.action(None, verb, tense="past", bare=True, rich=False)
    subject = action.subject
    assert subject is not None
    pronoun = "they" if subject.plural else subject.noun.pronoun
    if not pronoun or subject.indefinite or subject.number or "animal" in subject.noun.tags:
        raise Nonsense
    quality = Quality(Phrase(PRONOUNS[pronoun]), adjective, tense="past")
    action = action._replace(subject=subject._replace(adjective=None))
    return Sentence(action._replace(negative=_CAUSES[adjective.english]), "statement", "because", quality)


def _when(chooser: Chooser) -> Sentence:
    """Draw two actions at the same time: "when Ken came home, Emma was reading a book"."""
    first = chooser.person()
    motion = chooser.action(first, chooser.choose(_MOTIONS), tense="past", bare=True, rich=False)
    action = chooser.action(chooser.person(first), chooser.choose(_DOING), tense="past", bare=True, rich=False)
    action = action._replace(progressive=True)
    return Sentence(action, "statement", "when", motion._replace(companion=None, vehicle=None))


_KINDS = (
    (_statement,) * 40 + (_yes_no,) * 8 + (_which,) * 8 + (_quality,) * 16 + (_identity,) * 4
    + (_existence,) * 11 + (_placing,) * 6 + (_request,) * 5 + (_contrast,) * 5 + (_sequence,) * 4
    + (_because,) * 4 + (_when,) * 4
)  # fmt: skip
