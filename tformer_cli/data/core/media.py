"""What pictures and recordings share: files by their endings, what is wrong with one, and many read in order."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from tformer_cli.data.core.cache import Write, cached
from tformer_cli.data.core.store import unnamed
from tformer_cli.errors import DataError

MOST_THREADS = 32

Item = TypeVar("Item")
Row = TypeVar("Row")
Done = TypeVar("Done")
Arrays = dict[str, np.ndarray]


class BadItem(DataError):
    """A picture or recording that cannot be read; the others may be.

    Args:
        name: what it is called.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(
            f"{shown(name)}: {reason}", "repair or remove it, or skip such files: trainer.on_bad_sample=skip"
        )

    def __reduce__(self) -> tuple:
        """Goes from a worker to its parent."""
        return type(self), (self.name, self.reason)


def file_size(path: Path | str, name: str, bad: type[BadItem] = BadItem) -> int:
    """The size of a file, in bytes.

    Raises:
        BadItem: of the kind of `bad`, if there is no such file, or it is empty.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise bad(name, reason(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise bad(name, "not a file")
    if not status.st_size:
        raise bad(name, "empty (0 bytes)")
    return status.st_size


@contextmanager
def opened(source: Path | str | bytes, name: str, bad: type[BadItem]) -> Iterator[IO[bytes]]:
    """A file, or its content, to be read.

    Raises:
        BadItem: of the kind of `bad`, if there is no such file, or it is empty.
    """
    if not isinstance(source, bytes):
        file_size(source, name, bad)
    elif not source:
        raise bad(name, "empty (0 bytes)")
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as stream:
        yield stream


def reason(error: Exception) -> str:
    """What a library says of a file that it stumbled over, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "cut off" if "truncated" in text.lower() else f"damaged: {text[:120]}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first of them, for people."""
    return ", ".join([*map(shown, names[:most]), *(["..."] if len(names) > most else [])])


def left_out(bad: Sequence[Sequence[str]], count: int, what: str) -> str:
    """A line about those that could not be read: `bad` has names and reasons, `count` is all of them."""
    which = listed([f"{name} ({why})" for name, why in bad])
    return f"{len(bad):,} of {count:,} {what} could not be read and were left out: {which}"


def content_digest(head: str, content: bytes | memoryview) -> int:
    """64 bits that are the same for the same content after the same head."""
    found = hashlib.blake2b(head.encode(errors="surrogateescape") + b"\0", digest_size=8)
    found.update(content)
    return int.from_bytes(found.digest(), "little")


# --- folders ---


SYSTEM = frozenset(
    ("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs.db",
     "ehthumbs.db", "desktop.ini", "icon\r")
)  # fmt: skip
"""Lower-case names of files that operating systems and file managers create in folders."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or was created by an operating system."""
    return name.startswith(".") or name.lower() in SYSTEM


def shown(name: str) -> str:
    """Return a file name on one line: line breaks and other unprintable characters are escaped."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)


@dataclass
class Listing:
    """The contents of a folder and its subfolders.

    Attributes:
        folder: the folder.
        files: files with the requested endings, in the order of the folders.
        others: files of other kinds.
        hidden: hidden files and folders, and those of operating systems; the contents of such folders are not listed.
        links: links that are not followed, because their folder contains the link or is listed already.
        stray: files with the requested endings in unexpected folders, such as images beside the folders of classes.
    """

    folder: Path
    files: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)
    stray: list[Path] = field(default_factory=list)

    def left_out(self) -> str:
        """Return a line that counts skipped files by kind; empty if there are none."""
        kinds = Counter(_kind(path) for path in self.others)
        kinds.update(
            {
                "in no class": len(self.stray),
                "hidden": len(self.hidden),
                "linked to a folder that is read anyway": len(self.links),
            }
        )
        kinds = +kinds
        if not kinds:
            return ""
        names = [str(path.relative_to(self.folder)) for path in (*self.others, *self.stray, *self.hidden, *self.links)]
        counts = listed([f"{count:,} {kind}" for kind, count in kinds.most_common()], most=12)
        are = "was" if kinds.total() == 1 else "were"
        return (
            f"{kinds.total():,} of {len(self.files) + kinds.total():,} files {are} left out: {counts} ({listed(names)})"
        )


def _kind(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return "with a broken link"
    return shown(path.suffix.lower()) or "without an ending"


def listing(folder: Path, endings: tuple[str, ...], leave: Callable[[str], bool] = lambda name: False) -> Listing:
    """List a folder and those below it, sorted by name; links to folders are followed.

    A link is not followed if its target contains the link, is inside `folder`, or was reached by another link. Every
    file is therefore listed once, and a loop of links ends.

    Args:
        folder: the folder.
        endings: requested endings of file names, in lower case.
        leave: whether to skip a name in the folder itself, such as that of another split.

    Raises:
        DataError: if one of the folders cannot be read.
    """
    listed_in, root, followed = Listing(folder), folder.resolve(), set[Path]()

    def unreadable(error: OSError) -> None:
        raise DataError(f"{shown(str(error.filename))}: the folder cannot be read ({error.strerror})")

    for place, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        here = Path(place)
        if here == folder:
            folders[:], names[:] = ([name for name in part if not leave(name)] for part in (folders, names))
        entered = []
        for path in sorted(here / name for name in folders):
            if is_hidden(path.name):
                listed_in.hidden.append(path)
            elif path.is_symlink() and _is_listed(path.resolve(), here.resolve(), root, followed):
                listed_in.links.append(path)
            else:
                entered.append(path.name)
        folders[:] = entered
        for path in sorted(here / name for name in names):
            wanted = path.name.lower().endswith(endings)
            part = listed_in.hidden if is_hidden(path.name) else listed_in.files if wanted else listed_in.others
            part.append(path)
    return listed_in


def _is_listed(target: Path, here: Path, root: Path, followed: set[Path]) -> bool:
    """Return whether the target of a link is listed without it; if not, add it to `followed`."""
    if here.is_relative_to(target) or target.is_relative_to(root) or any(map(target.is_relative_to, followed)):
        return True
    followed.add(target)
    return False


def passed_over(folder: Path, endings: tuple[str, ...]) -> str:
    """Return a line that counts by kind the skipped files in and below a folder, except hidden ones.

    It is empty if there are none.
    """
    skipped = listing(folder, endings)
    skipped.hidden.clear()
    note = skipped.left_out()
    return f"{shown(str(folder))}: {note}" if note else ""


def files_below(path: Path, endings: tuple[str, ...], what: str) -> list[Path]:
    """The files with these endings in a folder and those below it, sorted; or the one file that `path` is.

    Raises:
        DataError: if there is no such place, or no such file in it; calls them `what`.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{shown(str(path))}: no such folder or file", "check the path")
    listed = listing(path, endings)
    if not listed.files:
        note = listed.left_out()
        cause = f"{shown(str(path))}: no {what}" + (f", and {note}" if note else "")
        raise DataError(cause, f"expected files that end with one of {', '.join(endings)}")
    return listed.files


# --- many ---


def readable(rows: Iterable[tuple[Row, Any]], skip: bool, bad: list[BadItem]) -> Iterator[tuple[Row, Any]]:
    """What could be read; with `skip` what could not, a `BadItem`, is put into `bad`, else the first is raised."""
    for row, done in rows:
        if not isinstance(done, BadItem):
            yield row, done
        elif skip:
            bad.append(done)
        else:
            raise done


def kept(
    cache: str,
    key: list[object] | None,
    names: Sequence[str],
    write: Write,
    kind: str,
    bad_item: type[BadItem],
    *,
    skip: bool,
) -> tuple[Arrays, dict[str, Any], tuple[str, ...]]:
    """What was read of a split and is kept under a key; without one, or without room, for this process alone.

    Args:
        cache: folder; empty: the user's.
        key: all that the arrays depend on.
        names: of the arrays. One is `about`, a JSON object as bytes: `names` of what could be read, and of what could
            not, `bad`, names and reasons.
        write: writes the arrays.
        kind: what they are, for people.
        bad_item: what one is that cannot be read.
        skip: whether such are left out.

    Returns:
        The arrays, `about`, and what the user should know.

    Raises:
        BadItem: of the kind of `bad_item`, if one could not be read, and such are not to be left out.
    """
    otherwise = functools.partial(unnamed, cache)
    if key is None:
        arrays, note = otherwise(names, write), ""
    else:
        arrays, note = cached(cache, key, names, write, kind=kind, otherwise=otherwise)
    about = json.loads(arrays["about"].tobytes())
    bad = about["bad"]
    if bad and not skip:  # they were read before, when such were left out
        raise bad_item(*bad[0])
    notes = (left_out(bad, len(bad) + len(about["names"]), kind) if bad else "", note)
    return arrays, about, tuple(filter(None, notes))


@contextmanager
def in_order(
    items: Iterable[Item], work: Callable[[Item], Done], at_once: int
) -> Iterator[Iterator[tuple[Item, Done]]]:
    """Each item and what becomes of it, in order; some are ahead, on all cores (decoders let go of Python's lock).

    The threads end with the `with` block, also where it is left early: ended by the garbage collector, they could be
    waited for from within the first lines of a new thread, which hold a lock of Python's that the wait needs.

    Args:
        items: taken as they are needed.
        work: is done to each, in a thread.
        at_once: items that a thread takes.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(MOST_THREADS, cores)
    pool = ThreadPoolExecutor(threads)

    def results() -> Iterator[tuple[Item, Done]]:
        waiting: deque[Future[list[tuple[Item, Done]]]] = deque()
        rest = iter(items)
        while job := list(islice(rest, at_once)):
            waiting.append(pool.submit(lambda job: [(item, work(item)) for item in job], job))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()

    try:
        yield results()
    finally:
        pool.shutdown(cancel_futures=True)
