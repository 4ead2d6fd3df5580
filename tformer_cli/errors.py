"""Errors that the user can fix: cause, place and remedy in one line."""

from __future__ import annotations

import contextlib
import errno
import importlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class TformerError(Exception):
    """A failure that the user can fix.

    Args:
        cause: the fault and its place (file, line, sample, key), without a full stop at its end.
        remedy: what to do about it, or "" if the cause is sufficient.

    The command line prints `error: CAUSE: REMEDY` on one line and exits with `exit_code`.
    """

    exit_code = 1

    def __init__(self, cause: str, remedy: str = "") -> None:
        self.cause, self.remedy = cause, remedy
        super().__init__(f"{cause}: {remedy}" if remedy else cause)


class ConfigError(TformerError):
    """A setting that is unknown, of the wrong type, out of range, or incompatible with another."""

    exit_code = 2


class DataError(TformerError):
    """Data that is missing, unreadable or malformed."""


_UNREADABLE = {
    errno.ENOENT: ("no such file", "check the path"),
    errno.ENOTDIR: ("no such file: a part of the path is no folder", "check the path"),
    errno.EACCES: ("no permission to read it", "change its permissions, or read a copy"),
    errno.EPERM: ("no permission to read it", "change its permissions, or read a copy"),
    errno.EISDIR: ("a folder, not a file", "name the files in it"),
    errno.EIO: ("the disk cannot read it", "copy it again, or from another disk"),
}


def unreadable(origin: object, error: Exception) -> DataError:
    """Return the error for a file that cannot be opened or read.

    Args:
        origin: name of the file in the message.
        error: the error that the system or Python raised.
    """
    number = error.errno if isinstance(error, OSError) else None
    reason = getattr(error, "strerror", None) or str(error)
    cause, remedy = _UNREADABLE.get(number or 0, (reason[:1].lower() + reason[1:], ""))
    return DataError(f"{origin}: {cause}", remedy)


class RunError(TformerError):
    """A run folder or checkpoint that is missing, locked, damaged or of another kind."""


@contextlib.contextmanager
def checkpoint_content(origin: object, expected: str) -> Iterator[None]:
    """Convert parser errors for a malformed file of a checkpoint into an error of one line.

    Args:
        origin: name of the file in the message.
        expected: description of the expected content.

    Raises:
        RunError: instead of an error of JSON, of a type, or of a missing field.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise RunError(f"{origin}: does not hold {expected}", "choose another with --checkpoint") from error


def library(module: str, package: str, extra: str) -> Any:
    """Import and return a module that belongs to an extra.

    Args:
        module: name of the module.
        package: name of its package in the message.
        extra: name of the extra.

    Raises:
        ConfigError: if it is not installed.
    """
    require([Library(module, package, extra)])
    return importlib.import_module(module)


class Library(NamedTuple):
    """A module of a package that belongs to an extra; see `library`."""

    module: str
    package: str
    extra: str


def require(libraries: Iterable[Library]) -> None:
    """Import the modules of several packages, so that one error names all packages that are missing.

    Raises:
        ConfigError: if a package is not installed.
    """
    extras: dict[str, str] = {}
    first: ImportError | None = None
    for module, package, extra in libraries:
        try:
            importlib.import_module(module)
        except ImportError as error:
            extras.setdefault(package, extra)
            first = first or error
    if extras:
        verb = "is" if len(extras) == 1 else "are"
        cause = f"this needs {', '.join(extras)}, which {verb} not installed"
        raise ConfigError(cause, install_command(*extras.values())) from first


def install_command(*extras: str) -> str:
    """Return the command that installs the packages of extras, with their names and versions.

    The packages are named one by one, because `pip install 'tformer-cli[EXTRA]'` fails if tformer was installed from a
    checkout or a wheel.
    """
    from importlib import metadata

    try:
        requirements = metadata.requires("tformer-cli") or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        requirements = []
    named = [line.partition(";") for line in requirements]
    extras = tuple(dict.fromkeys(extras))
    pattern = rf"extra == ['\"]({'|'.join(extras)})['\"]"
    packages = dict.fromkeys(name.strip() for name, _, marker in named if re.search(pattern, marker))
    checkout = f"-e '.[{','.join(extras)}]' in tformer's checkout"
    return "pip install " + (" ".join(f"'{name}'" for name in packages) or checkout)
