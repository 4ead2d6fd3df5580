"""Built-in data, so that a first run needs no network.

`en-ja` is a synchronous grammar: a meaning is drawn, and expressed in English and in Japanese. Validation and test
contain combinations of words (verb and object, adjective and noun, thing and place) that do not occur in training,
although training contains every construction, and every word in each of its roles.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from tformer_cli.builtin import english, japanese
from tformer_cli.builtin.lexicon import ADJECTIVES, LOCATIONS, VERBS, tagged
from tformer_cli.builtin.meaning import Sentence, combinations
from tformer_cli.builtin.phrases import Nonsense
from tformer_cli.builtin.sentences import draw
from tformer_cli.errors import DataError

NAMES: dict[str, str] = {"en-ja": "English-Japanese sentences about everyday life, from a grammar"}
SIZES: dict[str, int] = {"train": 20_000, "validation": 500, "test": 500}

_WORDS = 4  # 64-bit random words for a sentence
_BLOCK = 256  # sentences drawn at a time
_ENOUGH = 7  # minimum number of partners of a predicate for some of them to be held out
_PATIENCE = 50_000  # draws without a new sentence after which the search ends


def parallel(name: str, split: str, *, size: int = 0, seed: int = 1) -> list[tuple[str, str]]:
    """Return built-in sentence pairs, without duplicates.

    Args:
        name: one of `NAMES`.
        split: train, validation or test.
        size: number of pairs; 0: that of `SIZES`. A smaller set is the beginning of a larger one.
        seed: seed of the sentences, and of the combinations of words that are held out from training.

    Returns:
        `size` pairs (English, Japanese), the same in every process.

    Raises:
        DataError: if there is no such name or split, or there are fewer sentences.
    """
    if name not in NAMES:
        remedy = f"take one of {', '.join(NAMES)}, or data.source=files for your own"
        raise DataError(f"no built-in data is called {name!r}", remedy)
    if split not in SIZES:
        raise DataError(f"built-in data {name!r} has no split {split!r}", f"take one of {', '.join(SIZES)}")
    if size < 0:
        raise DataError(
            f"built-in data {name!r}: size {size} is negative", "give a number of pairs, or 0 for the default"
        )
    count = size or SIZES[split]
    pairs: dict[str, str] = {}
    repeats = 0
    for meaning in meanings(split, seed):
        previous = len(pairs)
        pairs.setdefault(english.sentence(meaning), japanese.sentence(meaning))
        repeats = repeats + 1 if len(pairs) == previous else 0
        if len(pairs) == count:
            break
        if repeats == _PATIENCE:
            cause = f"built-in data {name!r} has about {len(pairs)} different pairs in {split}, not {count}"
            raise DataError(cause, "ask for a smaller size")
    return list(pairs.items())


def meanings(split: str, seed: int) -> Iterator[Sentence]:
    """Yield random meanings of a split, without end and with repetitions.

    A meaning belongs to validation or test if it contains a held-out combination of that split and none of the other.
    """
    split_of = held_out(seed)
    required = set() if split == "train" else {split}
    stream = np.random.Philox(key=int.from_bytes(_digest(f"{seed}/{split}"), "little"))
    while True:
        # Only raw words are used, as NumPy keeps no other stream stable.
        block = stream.random_raw(_BLOCK * _WORDS).astype("<u8").tobytes()
        for start in range(0, len(block), 8 * _WORDS):
            try:
                meaning = draw(int.from_bytes(block[start : start + 8 * _WORDS], "little"))
            except Nonsense:
                continue
            if {split_of[pair] for pair in combinations(meaning) if pair in split_of} == required:
                yield meaning


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


@lru_cache(maxsize=8)
def held_out(seed: int) -> dict[tuple[str, str], str]:
    """Return the combinations that are held out from training, and the split that contains each.

    A sixteenth of each predicate's partners is held out for validation, and as many for test, but at least one each if
    there are enough. They are drawn by a hash of the seed. In training each word occurs in each of its roles, which
    include the particle: without 学校へ in training, 学校へ行く could not be translated.
    """
    split_of = {}
    shown = Counter((role, partner) for role, _, partners in _partners() for partner in partners)
    for role, predicate, partners in _partners():
        share = max(1, len(partners) // 16) if len(partners) >= _ENOUGH else 0
        ranked = sorted(partners, key=lambda partner: _digest(f"{seed}/{predicate}/{partner}"))
        frequent = [partner for partner in ranked if shown[role, partner] > 1]
        share = min(share, len(frequent) // 2)
        split_of.update({(predicate, partner): "validation" for partner in frequent[:share]})
        split_of.update({(predicate, partner): "test" for partner in frequent[share : 2 * share]})
        shown.subtract((role, partner) for partner in frequent[: 2 * share])
    return split_of


@lru_cache(maxsize=1)
def _partners() -> list[tuple[str, str, list[str]]]:
    """Return roles, predicates, and the words with which a predicate is combined in the role, see `combinations`."""
    partners = []
    for verb in VERBS.values():
        subjects = [noun.english for noun in verb.subjects]
        partners.append((f"object {verb.particle}", verb.name, [noun.english for noun in verb.objects]))
        if not verb.objects:
            role = f"goal {verb.particle}" if "GO" in verb.traits else "place"
            partners.append((role, verb.name, [place.english for place in verb.places]))
        if not verb.objects and not verb.traits & {"GO", "STATE"}:
            partners.append(("subject", verb.name, subjects))
        partners.append(("asked for", f"? {verb.name}", subjects))
    for adjective in ADJECTIVES.values():
        partners.append(("described", adjective.english, [noun.english for noun in adjective.nouns]))
    for location in LOCATIONS.values():
        partners.append(("located", location.english, [noun.english for noun in tagged(*location.items)]))
    return partners
