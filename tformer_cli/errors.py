"""The one way a failure reaches a user: cause, place, remedy, in one line."""

from __future__ import annotations

import contextlib
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


class RunError(TformerError):
    """A run folder or checkpoint is absent, locked, damaged or of another kind."""


@contextlib.contextmanager
def checkpoint_content(place: object, expected: str) -> Iterator[None]:
    """Turn what the parser of a checkpoint's file raises, when the file is malformed, into one line.

    Args:
        place: the file.
        expected: what it should hold.

    Raises:
        RunError: in place of an error of JSON, of a type, or of an absent field.
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
    """The command that installs the packages of an extra, by the names and versions that pip knows.

    The packages are named one by one, because `pip install 'tformer-cli[EXTRA]'` finds nothing where tformer was
    installed from a checkout or from a wheel.
    """
    from importlib import metadata

    try:
        requirements = metadata.requires("tformer-cli") or []
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        requirements = []
    named = [line.partition(";") for line in requirements]
    packages = [name.strip() for name, _, marker in named if re.search(rf"extra == ['\"]{extra}['\"]", marker)]
    return "pip install " + (" ".join(f"'{name}'" for name in packages) or f"-e '.[{extra}]' in tformer's checkout")
