"""The declaration of a setting: its default, description and bounds."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Any

from tformer_cli.errors import ConfigError

REQUIRED = "???"  # OmegaConf's mark of a value that must be given


TRAINED_ENCODER = "head.frozen=false"
"""Condition of settings that a frozen encoder does not follow: it has no dropout and no gradient."""


def setting(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    before: Any = None,
    formerly: tuple[str, ...] = (),
    is_path: bool = False,
    only: str | tuple[str, ...] = (),
) -> Any:
    """Return a dataclass field with a description and inclusive bounds.

    Args:
        default: default in a new run.
        about: description, one line.
        low: smallest value; None: no bound.
        high: largest value; None: no bound.
        before: value in runs of versions without the setting; None: the default.
        formerly: former names of the setting, which recipes, runs and the command line may still use.
        is_path: whether it is the path of a file or folder, relative to the folder in which training was started.
        only: conditions, one of which must be true for the setting to have an effect; none: it always has one. A
            condition is `NAME=VALUE|VALUE`, or `NAME` for a value that is not 0, false or empty. NAME is another
            setting of the same group, or a dotted key; it is true of a task without this key.
    """
    metadata = {"about": about, "low": low, "high": high, "before": before, "formerly": formerly, "is_path": is_path}
    metadata["only"] = (only,) if isinstance(only, str) else only
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def check_replaced(node: str, mask: float, random: float) -> None:
    """Refuse shares of masked and of randomly replaced tokens or patches that are more than 1 together.

    Args:
        node: name of the group of settings that has both.
        mask: share replaced by a mask.
        random: share replaced by another token or patch.

    Raises:
        ConfigError: naming a valid value.
    """
    if mask + random > 1:
        cause = f"{node}.random: {random:g} and {node}.mask {mask:g} are more than 1 together"
        raise ConfigError(cause, f"{node}.random={round(1 - mask, 6):g}")


class Names(Enum):
    """An enumeration whose values are the names of its members."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list) -> str:
        return name
