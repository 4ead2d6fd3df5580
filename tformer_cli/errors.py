"""The one way a failure reaches a user: cause, place, remedy, in one line."""

from __future__ import annotations

import contextlib
import errno
import importlib
import re
from collections.abc import Iterator
from typing import Any


class TformerError(Exception):
    """A failure that the user can mend.

    Args:
        cause: what is wrong and where (file, line, sample, key), without a closing full stop.
        remedy: what to do about it, or "" when the cause says it all.

    The command line prints `error: CAUSE: REMEDY` on one line and exits with `exit_code`.
    """

    exit_code = 1

    def __init__(self, cause: str, remedy: str = "") -> None:
        self.cause, self.remedy = cause, remedy
        super().__init__(f"{cause}: {remedy}" if remedy else cause)


class ConfigError(TformerError):
    """A setting is unknown, of the wrong type, out of range, or cannot go with another."""

    exit_code = 2


class DataError(TformerError):
    """Data is absent, unreadable or malformed."""


_UNREADABLE = {
    errno.ENOENT: ("no such file", "check the path"),
    errno.ENOTDIR: ("no such file: a part of the path is no folder", "check the path"),
    errno.EACCES: ("no permission to read it", "change its permissions, or read a copy"),
    errno.EPERM: ("no permission to read it", "change its permissions, or read a copy"),
    errno.EISDIR: ("a folder, not a file", "name the files in it"),
    errno.EIO: ("the disk cannot read it", "copy it again, or from another disk"),
}


def unreadable(place: object, error: Exception) -> DataError:
    """Return the error for a file that cannot be opened or read.

    Args:
        place: the file, as the user knows it.
        error: what the system or Python raised.
    """
    number = error.errno if isinstance(error, OSError) else None
    reason = getattr(error, "strerror", None) or str(error)
    cause, remedy = _UNREADABLE.get(number or 0, (reason[:1].lower() + reason[1:], ""))
    return DataError(f"{place}: {cause}", remedy)


class RunError(TformerError):
    """A run folder or checkpoint is absent, locked, damaged or of another kind."""


@contextlib.contextmanager
def checkpoint_content(place: object, expected: str) -> Iterator[None]:
    """Convert parser errors for a malformed file of a checkpoint into an error of one line.

    Args:
        place: the file.
        expected: expected content.

    Raises:
        RunError: instead of an error of JSON, of a type, or of a missing field.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise RunError(f"{place}: does not hold {expected}", "choose another with --checkpoint") from error


def library(module: str, package: str, extra: str) -> Any:
    """A module that is only there if an extra was installed.

    Raises:
        ConfigError: if it is not.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"this needs {package}, which is not installed", install_command(extra)) from error


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra, with their names and versions.

    The packages are named one by one, because `pip install 'tformer-cli[EXTRA]'` fails if tformer was installed from a
    checkout or a wheel.
    """
    from importlib import metadata

    try:
        requirements = metadata.requires("tformer-cli") or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        requirements = []
    named = [line.partition(";") for line in requirements]
    packages = [name.strip() for name, _, marker in named if re.search(rf"extra == ['\"]{extra}['\"]", marker)]
    return "pip install " + (" ".join(f"'{name}'" for name in packages) or f"-e '.[{extra}]' in tformer's checkout")
