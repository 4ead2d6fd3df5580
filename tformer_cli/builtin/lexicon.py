"""What is known of a word, and which words go together: the tables of `words`, read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tformer_cli.builtin import words

NUMERALS = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
KANJI_NUMERALS = ("", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十")


@dataclass(frozen=True, eq=False)
class Noun:
    """A noun, name or pronoun.

    `counter` is the Japanese counter word ("" if it is not counted), `pronoun` the English pronoun for it (""
    if its gender is open), `measure` what English counts it by ("cups of tea").
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
    """Where things happen: English phrases for being there and for going there."""

    english: str
    to: str
    japanese: str
    tags: frozenset[str]


@dataclass(frozen=True, eq=False)
class Location:
    """Where something is: `japanese` is complete but for the particle."""

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
    """A verb sense: an English verb has one for each Japanese verb that it becomes.

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
        """Distinguishes the senses of one English verb."""
        return f"{self.english}/{self.japanese}"


def _lines(table: str) -> list[str]:
    """The rows of a table; what is indented goes on with the row above."""
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
    """The nouns that have one of the tags, or are called so, in the order of the table."""
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
    found = tuple(place for place in PLACES.values() if not place.tags.isdisjoint(places))
    english, past, japanese, kind, *particle = head
    return Verb(english, past, japanese, kind, "".join(particle), tagged(*subjects), tagged(*objects), found,
                frozenset(traits))  # fmt: skip


VERBS: dict[str, Verb] = {verb.name: verb for verb in map(_verb, _lines(words.VERBS))}
GIVE_ME = Verb("give", "gave", "くれる", "ichidan", "を", (), (), (), frozenset())

# Question words stand where the answer would stand; English moves them to the front.
WHO = Noun("who", "who", "誰", "", frozenset({"person"}))
WHAT = Noun("what", "what", "何", "", frozenset())
WHERE = Place("where", "where", "どこ", frozenset())
WHERE_IS = Location("where", "どこ", frozenset())
WHEN = Time("when", "いつ", "past")
THIS = Noun("this", "these", "これ", "", frozenset())
THAT = Noun("that", "those", "それ", "", frozenset())

WALKS = tuple(place for place in PLACES.values() if "near" in place.tags)
