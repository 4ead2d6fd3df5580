"""Suggestions for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, candidates: Iterable[str]) -> list[str]:
    """Return a list with the candidate that is most similar to a mistyped name; empty if none is similar."""
    return difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
