"""Opening of regular files only, since a pipe would block, and `/dev/zero` would never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, cast

NOT_REGULAR = "not a regular file, but {kind}"
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a link"),
)


class NotRegularError(OSError):
    """A path that is not a regular file."""


def open_regular(path: Path | str, *, links: bool = True) -> BinaryIO:
    """Open a file for reading, without blocking.

    Args:
        path: path of the file.
        links: whether it may be a symbolic link; False for files in folders of unknown origin, in which links could
            refer to any file of the machine.

    Raises:
        NotRegularError: if it is not a regular file; `strerror` names its kind.
        OSError: if it is missing or cannot be read.
    """
    return _open(path, os.O_RDONLY, "rb", links=links)


def read_regular(path: Path | str, *, largest: int | None = None, links: bool = True) -> bytes:
    """Read a file opened by `open_regular`.

    Args:
        path: path of the file.
        largest: largest size in bytes; None: no limit.
        links: whether it may be a symbolic link.

    Raises:
        OSError: see `open_regular`, or if the file is larger than `largest`.
    """
    with open_regular(path, links=links) as file:
        if largest is not None and os.fstat(file.fileno()).st_size > largest:
            raise OSError(errno.EFBIG, f"larger than {largest:,} bytes", str(path))
        return file.read()


def append_regular(path: Path | str) -> BinaryIO:
    """Open a file of a run folder for reading and appending.

    Links and pipes are refused, since the folder may be of unknown origin, and a link could refer to any file.

    Raises:
        NotRegularError: if it is not a regular file.
        OSError: if it cannot be written.
    """
    return _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, "a+b", links=False)


def _open(path: Path | str, flags: int, mode: str, *, links: bool) -> BinaryIO:
    """Open a regular file with the flags of `os.open`.

    The open file is checked, and without `links` the path is checked before it is opened too.
    """
    if not links and os.path.lexists(path):
        _check(os.lstat(path).st_mode, path)
    safe = ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", *(() if links else ("O_NOFOLLOW",)))
    descriptor = os.open(path, flags | sum(getattr(os, name, 0) for name in safe), 0o666)
    try:
        _check(os.fstat(descriptor).st_mode, path)
        return cast(BinaryIO, os.fdopen(descriptor, mode))
    except BaseException:
        os.close(descriptor)
        raise


def _check(mode: int, path: Path | str) -> None:
    if stat.S_ISREG(mode):
        return
    kind = next((name for test, name in _KINDS if test(mode)), "something else")
    raise NotRegularError(errno.EINVAL, NOT_REGULAR.format(kind=kind), str(path))
