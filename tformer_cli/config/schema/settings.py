"""How a setting is declared: its default, its meaning, its bounds."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Any

REQUIRED = "???"  # OmegaConf's mark of a value that must be given


def setting(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    before: Any = None,
    formerly: tuple[str, ...] = (),
    is_place: bool = False,
) -> Any:
    """Return a dataclass field with a description and inclusive bounds.

    Args:
        default: default in a new run.
        about: description, in a line.
        low: smallest value; None: no bound.
        high: largest value; None: no bound.
        before: value in runs of versions without the setting; None: the default.
        formerly: former names of the setting, which recipes, runs and the command line may still use.
        is_place: whether it names a file or folder, relative to the folder in which training started.
    """
    metadata = {"about": about, "low": low, "high": high, "before": before, "formerly": formerly, "is_place": is_place}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


class Names(Enum):
    """An enumeration written by name; its members' values are their names."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list) -> str:
        return name
