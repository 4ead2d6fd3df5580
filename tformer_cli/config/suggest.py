"""Which known name a mistyped one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(word: str, known: Iterable[str]) -> list[str]:
    """Return the known word nearest to a mistyped one, or none."""
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
