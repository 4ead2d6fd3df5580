"""The lexicon: the entries of the tables of `words`, and the words that may be combined."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tformer_cli.builtin import words

NUMERALS = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
KANJI_NUMERALS = ("", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十")


@dataclass(frozen=True, eq=False)
class Noun:
    """A noun, name or pronoun.

    `counter` is the Japanese counter word ("" if the noun is not counted). `pronoun` is the English pronoun for it (""
    if its gender is open). `measure` is the unit by which English counts it ("cups of tea"), singular and plural.
    """

    english: str
    plural: str
    japanese: str
    counter: str
    tags: frozenset[str]
    pronoun: str = ""
    measure: tuple[str, str] | None = None


@dataclass(frozen=True, eq=False)
class Pronoun(Noun):
    """A personal pronoun: `english` is its subject form."""

    object: str = ""
    possessive: str = ""


@dataclass(frozen=True, eq=False)
class Place:
    """A place of actions: English phrases for being there and for going there."""

    english: str
    to: str
    japanese: str
    tags: frozenset[str]


@dataclass(frozen=True, eq=False)
class Location:
    """A location of things; `japanese` is complete except for the particle."""

    english: str
    japanese: str
    items: frozenset[str]


@dataclass(frozen=True, eq=False)
class Time:
    """A time adverbial; `kind` is past, habit, future, now, hour, or often (before the English verb)."""

    english: str
    japanese: str
    kind: str


@dataclass(frozen=True, eq=False)
class Adjective:
    """An adjective: `kind` is its Japanese class, i, na or no."""

    english: str
    comparative: str
    japanese: str
    kind: str
    nouns: tuple[Noun, ...]


@dataclass(frozen=True, eq=False)
class Verb:
    """A sense of a verb: an English verb has one for each of its Japanese translations.

    `kind` is the Japanese class (see `conjugation.Word`); `particle` marks the object.
    """

    english: str
    past: str
    japanese: str
    kind: str
    particle: str
    subjects: tuple[Noun, ...]
    objects: tuple[Noun, ...]
    places: tuple[Place, ...]
    traits: frozenset[str]

    @property
    def name(self) -> str:
        """Return a name that distinguishes the senses of an English verb."""
        return f"{self.english}/{self.japanese}"


def _lines(table: str) -> list[str]:
    """Return the rows of a table; an indented line continues the previous row."""
    return table.strip().replace("\n    ", " ").split("\n")


def _rows(table: str) -> list[list[str]]:
    return [[cell.replace("_", " ").strip("-") for cell in line.split()] for line in _lines(table)]


_MEASURES = {"bread": ("slice", "slices"), "water": ("glass", "glasses"), "milk": ("glass", "glasses"),
             "tea": ("cup", "cups"), "coffee": ("cup", "cups"), "shoes": ("pair", "pairs")}  # fmt: skip


def _noun(english: str, plural: str, japanese: str, counter: str, *tags: str) -> Noun:
    pronoun = "he" if "male" in tags else "she" if "female" in tags else ""
    return Noun(english, plural or english, japanese, counter, frozenset(tags), pronoun, _MEASURES.get(english))


NOUNS: dict[str, Noun] = {row[0]: _noun(*row) for row in _rows(words.NOUNS)}


def _pronoun(english: str, object: str, possessive: str, japanese: str, *tags: str) -> Pronoun:
    return Pronoun(english, "", japanese, "", frozenset(("person", *tags)), english, None, object, possessive)


PRONOUNS: dict[str, Pronoun] = {row[0]: _pronoun(*row) for row in _rows(words.PRONOUNS)}


@cache
def tagged(*tags: str) -> tuple[Noun, ...]:
    """Return the nouns with one of the tags or names, in the order of the table."""
    return tuple(noun for noun in NOUNS.values() if noun.english in tags or not noun.tags.isdisjoint(tags))


PLACES: dict[str, Place] = {row[0]: Place(row[0], row[1], row[2], frozenset(row[3:])) for row in _rows(words.PLACES)}


def _location(english: str, japanese: str, *items: str) -> Location:
    return Location(english, japanese, frozenset(items))


LOCATIONS: dict[str, Location] = {row[0]: _location(*row) for row in _rows(words.LOCATIONS)}

TIMES: dict[str, Time] = {row[0]: Time(*row) for row in _rows(words.TIMES)}
TIMES_OF: dict[str, tuple[Time, ...]] = {
    kind: tuple(time for time in TIMES.values() if time.kind == kind)
    for kind in ("past", "habit", "future", "now", "often")
}
HOURS: tuple[Time, ...] = tuple(
    Time(f"at {NUMERALS[hour]} o'clock", f"{KANJI_NUMERALS[hour]}時に", "hour") for hour in range(1, 11)
)


def _adjective(english: str, comparative: str, japanese: str, kind: str, *nouns: str) -> Adjective:
    return Adjective(english, comparative, japanese, kind, tagged(*nouns))


ADJECTIVES: dict[str, Adjective] = {row[0]: _adjective(*row) for row in _rows(words.ADJECTIVES)}
OPPOSITES = (
    ("big", "small"),
    ("new", "old"),
    ("expensive", "cheap"),
    ("hot", "cold"),
    ("white", "black"),
    ("busy", "free"),
)


def _verb(line: str) -> Verb:
    head, *lists = ([cell.replace("_", " ") for cell in part.split() if cell != "-"] for part in line.split("|"))
    subjects, objects, places, traits = lists
    verb_places = tuple(place for place in PLACES.values() if not place.tags.isdisjoint(places))
    english, past, japanese, kind, *particle = head
    return Verb(english, past, japanese, kind, "".join(particle), tagged(*subjects), tagged(*objects), verb_places,
                frozenset(traits))  # fmt: skip


VERBS: dict[str, Verb] = {verb.name: verb for verb in map(_verb, _lines(words.VERBS))}
GIVE_ME = Verb("give", "gave", "くれる", "ichidan", "を", (), (), (), frozenset())

# Question words have the position of the answer; English moves them to the front.
WHO = Noun("who", "who", "誰", "", frozenset({"person"}))
WHAT = Noun("what", "what", "何", "", frozenset())
WHERE = Place("where", "where", "どこ", frozenset())
WHERE_IS = Location("where", "どこ", frozenset())
WHEN = Time("when", "いつ", "past")
THIS = Noun("this", "these", "これ", "", frozenset())
THAT = Noun("that", "those", "それ", "", frozenset())

WALKS = tuple(place for place in PLACES.values() if "near" in place.tags)
