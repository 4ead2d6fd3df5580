"""Tagging schemes: IO, IOB1, IOB2, IOE1, IOE2, IOBES (BIOES, BMES), BILOU, and plain tags.

Schemes: Ramshaw and Marcus 1995 (IOB1), Tjong Kim Sang and Veenstra 1999 (IOB2, IOE1, IOE2), Ratinov and Roth 2009
(BILOU). A tag consists of a letter, a separator and the type of the entity: B-PER, I_LOC, PER-B.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tformer_cli.config.schema import Scheme
from tformer_cli.errors import DataError

OUTSIDE = ("O", "o", "_", "-", "0", "OUT", "out", "OUTSIDE", "outside", "OTHER", "other", "NONE", "none")
"""Possible tags of a word outside of entities."""
LETTERS = {
    Scheme.io: "I", Scheme.iob1: "IB", Scheme.iob2: "BI", Scheme.ioe1: "IE", Scheme.ioe2: "IE",
    Scheme.iobes: "BIES", Scheme.bilou: "BILU",
}  # fmt: skip
SAME = {"M": "I", "L": "E", "U": "S", "W": "S"}
"""Synonymous letters: middle, last, unit, whole entity."""
PREFIX = re.compile(r"([BIESLUMWbieslumw])([-_:/|.+])(.+)", re.DOTALL)
SUFFIX = re.compile(r"(.+)([-_:/|.+])([BIESLUMWbieslumw])", re.DOTALL)
BARE = re.compile(r"[BIESLUMWbieslumw]")
CLEAR = 0.1
"""A scheme is chosen if its contradicting tags are fewer than this share of those that contradict the other scheme."""
NO_KIND = "_"
"""Type of entities without a type, as in seqeval."""

Entity = tuple[str, int, int]
"""Type, index of the first word, index after the last word."""


@dataclass(frozen=True)
class TagScheme:
    """A tagging scheme and the form of its tags.

    Attributes:
        scheme: the scheme; `plain`: tags do not mark entities.
        outside: tag of a word outside of entities.
        mark: separator of letter and type; "": tags are only letters, or (IO) only types.
        suffix: whether the letter follows the type.
    """

    scheme: Scheme
    outside: str = "O"
    mark: str = "-"
    suffix: bool = False

    @property
    def has_entities(self) -> bool:
        """Return whether the tags mark entities."""
        return self.scheme is not Scheme.plain

    def split(self, tag: str) -> tuple[str, str] | None:
        """Return the letter (B, I, E or S) and the type of a tag; None if it is outside.

        Raises:
            ValueError: if it is not a tag of the scheme.
        """
        if tag == self.outside:
            return None
        if not self.mark and self.scheme is Scheme.io:
            return "I", tag
        parts = _parts(tag, self.suffix) if self.mark else (tag, "", NO_KIND) if BARE.fullmatch(tag) else None
        if parts is None or parts[1] != self.mark:
            raise ValueError(f"{tag!r} is no tag of {self.scheme.name.upper()}")
        letter = parts[0].upper()
        letter = SAME.get(letter, letter)
        if letter not in {SAME.get(known, known) for known in LETTERS[self.scheme]}:
            raise ValueError(f"{tag!r} is no tag of {self.scheme.name.upper()}")
        return letter, parts[2]

    def completed(self, tags: Iterable[str]) -> set[str]:
        """Add the missing letters of every type: if I-PER and B-LOC occur, also B-PER and I-LOC.

        A rare type may have only one-word entities in the training split and longer ones in the test split, such as
        I-LST of CoNLL-2000.
        """
        tags = set(tags)
        if not self.mark or not self.has_entities:
            return tags
        parts = [part for tag in tags if tag != self.outside and (part := _parts(tag, self.suffix))]
        return tags | {
            f"{kind}{self.mark}{letter}" if self.suffix else f"{letter}{self.mark}{kind}"
            for letter, _, _ in parts
            for _, _, kind in parts
        }

    def canonical(self, tags: Sequence[str]) -> list[str]:
        """Return the tags of a sentence in the form `B-PER`, with the letters B, I, E and S and `O`."""
        parts = map(self.split, tags)
        return ["O" if part is None else f"{part[0]}-{part[1]}" for part in parts]

    def entities(self, tags: Sequence[str]) -> list[Entity]:
        """Return the entities of a sentence by the rules of seqeval's strict mode."""
        return entities([self.split(tag) for tag in tags], self.scheme)

    def describe_misplaced(self, sentences: Iterable[Sequence[str]]) -> str:
        """Describe how many tags are in no entity by the rules of the scheme; empty: none, or it has no entities."""
        if not self.has_entities:
            return ""
        tagged = inside = 0
        for tags in sentences:
            tagged += sum(tag != self.outside for tag in tags)
            inside += sum(stop - start for _, start, stop in self.entities(tags))
        return f"{tagged - inside:,} of {tagged:,} tags are in no entity" if inside < tagged else ""

    def to_json(self) -> dict[str, str | bool]:
        """Return the content for a checkpoint."""
        return {**dataclasses.asdict(self), "scheme": self.scheme.name}

    @classmethod
    def from_json(cls, value: dict) -> TagScheme:
        """Read the content of a checkpoint."""
        outside, mark, suffix = value["outside"], value["mark"], value["suffix"]
        if not (isinstance(outside, str) and isinstance(mark, str) and isinstance(suffix, bool)):
            raise TypeError(f"no scheme of tags: {value}")
        return cls(Scheme[value["scheme"]], outside, mark, suffix)


def entities(parts: Sequence[tuple[str, str] | None], scheme: Scheme) -> list[Entity]:
    """Return the entities in a sentence of letters and types, by the rules of seqeval's strict mode.

    A sequence that breaks the rules of the scheme is not an entity: in IOB2 one that begins with I, in IOBES one
    without E.
    """
    spans: list[Entity] = []
    start = 0
    while start < len(parts):
        stop = _stop(parts, start, scheme)
        if stop:
            spans.append((parts[start][1], start, stop))  # type: ignore[index]
        start = max(stop, start + 1)
    return spans


def _stop(parts: Sequence[tuple[str, str] | None], start: int, scheme: Scheme) -> int:
    """Return the end of the entity that begins at `start`; 0 if none begins there."""
    part = parts[start]
    if part is None:
        return 0
    (letter, kind), before = part, parts[start - 1] if start else None

    def run(stop: int, letters: str) -> int:
        while stop < len(parts) and (inner := parts[stop]) is not None and inner[1] == kind and inner[0] in letters:
            stop += 1
        return stop

    match scheme:
        case Scheme.io:
            return run(start + 1, "I")
        case Scheme.iob1:
            # A B that separates nothing breaks the rules.
            return run(start + 1, "I") if letter == "I" or (before is not None and before[1] == kind) else 0
        case Scheme.iob2:
            return run(start + 1, "I") if letter == "B" else 0
        case Scheme.ioe1 | Scheme.ioe2:
            stop = run(start, "I")
            ends = stop < len(parts) and parts[stop] == ("E", kind)
            return stop + 1 if ends else stop if scheme is Scheme.ioe1 else 0
        case _:
            if letter == "S":
                return start + 1
            stop = run(start + 1, "I") if letter == "B" else 0
            return stop + 1 if stop and stop < len(parts) and parts[stop] == ("E", kind) else 0


def _parts(tag: str, suffix: bool) -> tuple[str, str, str] | None:
    """Return the letter, separator and type of a tag; None if it has another form."""
    match = (SUFFIX if suffix else PREFIX).fullmatch(tag)
    if match is None:
        return None
    return (match[3], match[2], match[1]) if suffix else (match[1], match[2], match[3])


# --- detection of the scheme ---


def find_scheme(
    sentences: Sequence[Sequence[str]], requested: Scheme, origin: str, known: Iterable[str] = ()
) -> TagScheme:
    """Detect the scheme of the training split's tags.

    Args:
        sentences: tags of each sentence.
        requested: `data.scheme`.
        origin: source of the tags, for errors.
        known: further tags of the scheme.

    Raises:
        DataError: if the tags do not fit the requested scheme, or fit several schemes.
    """
    counts = Counter(tag for tags in sentences for tag in tags)
    counts.update(dict.fromkeys(known, 0))
    if requested is Scheme.plain:
        return TagScheme(requested)
    form = _writing(counts, requested, origin)
    if form is None:
        return TagScheme(Scheme.plain)
    if requested is Scheme.auto:
        form = dataclasses.replace(form, scheme=_letters_scheme(form, counts, sentences, origin))
    try:
        for tag in counts:
            form.split(tag)
    except ValueError as error:
        raise DataError(f"{origin}: {error}", "correct it, or name the scheme: data.scheme=...") from error
    return form


def _writing(counts: Counter[str], requested: Scheme, origin: str) -> TagScheme | None:
    """Return the form of the tags; None if they are plain."""
    outside = next((tag for tag in OUTSIDE if tag in counts), "O")
    inner = [tag for tag in counts if tag != outside]
    for suffix in (False, True):
        parts = [_parts(tag, suffix) for tag in inner]
        marks = {part[1] for part in parts if part}
        if inner and None not in parts and len(marks) == 1:
            return TagScheme(requested, outside, marks.pop(), suffix)
    if inner and all(map(BARE.fullmatch, inner)) and _are_letters(inner, outside in counts):
        return TagScheme(requested, outside, "")
    if requested is not Scheme.auto:
        return TagScheme(requested, outside, "" if requested is Scheme.io else "-")
    some = [tag for tag in inner if _parts(tag, False)]
    kinds = Counter(part[2] for tag in some if (part := _parts(tag, False)))
    if outside in counts and len(some) >= len(inner) / 2 and (len(kinds) < len(some) or len(some) > 2):
        other = next((tag for tag in inner if tag not in some), some[-1])
        cause = f"{origin}: tag {other!r} does not have the form of the others, such as {some[0]!r}"
        raise DataError(cause, "correct it, or use data.scheme=plain if the tags are not entities")
    others = [tag for tag in inner if tag not in some]
    if outside not in counts and len(others) == 1 and len(kinds) < len(some):
        cause = f"{origin}: tag {others[0]!r} may mean no entity, or may be a type without a letter, unlike {some[0]!r}"
        raise DataError(cause, "write O for no entity, or use data.scheme=plain if the tags are not entities")
    if outside not in ("O", "o") or outside not in counts:
        return None
    if counts.most_common(1)[0][0] == outside:
        return TagScheme(Scheme.io, outside, "")
    cause = f"{origin}: the tags, among them {outside!r}, may be types of entities or parts of speech"
    raise DataError(cause, "use data.scheme=io for entities, data.scheme=plain for others")


def _are_letters(tags: Sequence[str], has_outside: bool) -> bool:
    """Return whether bare letters mark entities without a type, as for keywords or Chinese word segmentation."""
    letters = {SAME.get(tag.upper(), tag.upper()) for tag in tags}
    return bool(letters & {"B", "I"}) and (has_outside or letters >= {"B", "E"} or letters == {"B", "I"})


def _letters_scheme(form: TagScheme, counts: Counter[str], sentences: Sequence[Sequence[str]], origin: str) -> Scheme:
    """Return the scheme that has the letters of the tags and the fewest contradictions."""
    if form.scheme is Scheme.io:
        return Scheme.io
    loose = dataclasses.replace(form, scheme=Scheme.iobes)
    letters = {part[0] for tag in counts if (part := loose.split(tag))}
    raw = {part[0].upper() for tag in counts if (part := _parts(tag, form.suffix))}
    if letters == {"I"}:
        return Scheme.io
    if letters <= {"B", "I"}:
        return _fitting((Scheme.iob2, Scheme.iob1), loose, sentences, origin)
    if letters <= {"I", "E"}:
        return _fitting((Scheme.ioe2, Scheme.ioe1), loose, sentences, origin)
    return Scheme.bilou if raw & {"L", "U"} else Scheme.iobes


def _fitting(
    schemes: tuple[Scheme, Scheme], loose: TagScheme, sentences: Sequence[Sequence[str]], origin: str
) -> Scheme:
    """Return which of two schemes fewer tags contradict.

    An I that begins an entity contradicts IOB2; a B that follows no entity of its type contradicts IOB1. An I that ends
    an entity contradicts IOE2; an E that precedes no entity of its type contradicts IOE1.
    """
    strict, loosely = schemes
    edge = "B" if strict is Scheme.iob2 else "E"
    against = {strict: 0, loosely: 0}
    for tags in sentences:
        parts = [loose.split(tag) for tag in tags]
        parts = parts if edge == "B" else parts[::-1]
        before = None
        for part in parts:
            same = part is not None and before is not None and part[1] == before[1]
            if part is not None and not same:
                against[loosely if part[0] == edge else strict] += 1
            before = part
    best, other = sorted(schemes, key=lambda scheme: against[scheme])
    if against[best] > CLEAR * against[other]:
        names = " and ".join(scheme.name.upper() for scheme in schemes)
        counted = f"{against[strict]:,} contradict {strict.name}, {against[loosely]:,} contradict {loosely.name}"
        raise DataError(
            f"{origin}: tags mix {names}: {counted}", f"use data.scheme={strict.name} or data.scheme={loosely.name}"
        )
    return best
