"""Images and recordings: files by their endings, errors of unreadable files, and reading of many files in order."""

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
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from tformer_cli.data.core.batching import in_groups
from tformer_cli.data.core.cache import Write, cached
from tformer_cli.data.core.store import temporary_arrays
from tformer_cli.errors import DataError

MOST_THREADS = 32

Item = TypeVar("Item")
Row = TypeVar("Row")
Result = TypeVar("Result")
Arrays = dict[str, np.ndarray]


class BadItem(DataError):
    """An image or recording that cannot be read.

    Args:
        name: its name in messages.
        reason: the fault.
        repair: how to repair it.
    """

    def __init__(self, name: str, reason: str, repair: str = "repair or remove it") -> None:
        self.name, self.reason, self.repair = name, reason, repair
        super().__init__(f"{shown(name)}: {reason}", f"{repair}, or skip such files: trainer.on_bad_sample=skip")

    def __reduce__(self) -> tuple:
        """Pickle the error, since workers raise it in their parent process."""
        return type(self), (self.name, self.reason, self.repair)


def file_size(path: Path | str, name: str, bad: type[BadItem] = BadItem) -> int:
    """Return the size of a file in bytes.

    Raises:
        BadItem: as the class `bad`, if there is no such file, or it is empty.
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
    """Open a file, or its content, for reading.

    Raises:
        BadItem: as the class `bad`, if there is no such file, or it is empty.
    """
    if not isinstance(source, bytes):
        file_size(source, name, bad)
    elif not source:
        raise bad(name, "empty (0 bytes)")
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as stream:
        yield stream


def reason(error: Exception) -> str:
    """Return the fault of a file in a few words, given the error of the library that reads it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "cut off" if "truncated" in text.lower() else f"damaged: {text[:120]}"


def visible_names(folder: Path) -> list[str]:
    """Return the sorted names in a folder, without hidden ones."""
    return sorted(path.name for path in folder.iterdir() if not is_hidden(path.name))


def listed(names: Sequence[str], max_names: int = 5) -> str:
    """Return a human-readable list of the first names."""
    return ", ".join([*map(shown, names[:max_names]), *(["..."] if len(names) > max_names else [])])


def left_out(bad: Sequence[Sequence[str]], count: int, kind: str) -> str:
    """Return a line about unreadable items.

    Args:
        bad: name and fault of each.
        count: number of all items.
        kind: what items are called, in the plural.
    """
    which = listed([f"{name} ({why})" for name, why in bad])
    return f"{len(bad):,} of {count:,} {kind} could not be read and were left out: {which}"


def content_digest(head: str, content: bytes | memoryview) -> int:
    """Return a digest of a head and content, an integer of 64 bits."""
    digest = hashlib.blake2b(head.encode(errors="surrogateescape") + b"\0", digest_size=8)
    digest.update(content)
    return int.from_bytes(digest.digest(), "little")


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
        counts = listed([f"{count:,} {kind}" for kind, count in kinds.most_common()], max_names=12)
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

    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        here = Path(parent)
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
            has_ending = path.name.lower().endswith(endings)
            part = listed_in.hidden if is_hidden(path.name) else listed_in.files if has_ending else listed_in.others
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


def files_below(path: Path, endings: tuple[str, ...], kind: str) -> list[Path]:
    """Return the sorted files with these endings in a folder and those below it; or `path` itself if it is a file.

    Args:
        path: the folder or file.
        endings: endings of the files, in lower case.
        kind: what such a file is called in errors.

    Raises:
        DataError: if there is no such path, or no such file in the folder.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{shown(str(path))}: no such folder or file", "check the path")
    listed = listing(path, endings)
    if not listed.files:
        note = listed.left_out()
        cause = f"{shown(str(path))}: no {kind}" + (f", and {note}" if note else "")
        raise DataError(cause, f"expected files that end with one of {', '.join(endings)}")
    return listed.files


# --- reading of many items ---


def readable(rows: Iterable[tuple[Row, Any]], skip: bool, bad: list[BadItem]) -> Iterator[tuple[Row, Any]]:
    """Yield the items that could be read.

    Args:
        rows: each item with its content, or with the `BadItem` that tells why it could not be read.
        skip: skip unreadable items; otherwise the first one is raised.
        bad: the skipped items are appended to it.

    Raises:
        BadItem: at an unreadable item, without `skip`.
    """
    for row, result in rows:
        if not isinstance(result, BadItem):
            yield row, result
        elif skip:
            bad.append(result)
        else:
            raise result


def read_cached(
    cache: str,
    key: list[object] | None,
    names: Sequence[str],
    write: Write,
    kind: str,
    bad_item: type[BadItem],
    *,
    skip: bool,
) -> tuple[Arrays, dict[str, Any], tuple[str, ...]]:
    """Return the arrays of a split from the cache; if they are missing, compute and store them first.

    Without a key, or if the cache cannot be written, they are written to anonymous temporary files.

    Args:
        cache: the cache folder; empty: the user's.
        key: everything that the arrays depend on; None: it is not known.
        names: names of the arrays. One is `about`, a JSON object as bytes. It contains the `names` of the items that
            could be read, and the names and faults of the others (`bad`).
        write: writes the arrays.
        kind: what the items are called, in the plural.
        bad_item: class of the error of an unreadable item.
        skip: whether such items are skipped.

    Returns:
        The arrays, `about`, and notes for the user.

    Raises:
        BadItem: as the class `bad_item`, if an item could not be read and is not skipped.
    """
    fallback = functools.partial(temporary_arrays, cache)
    if key is None:
        arrays, note = fallback(names, write), ""
    else:
        arrays, note = cached(cache, key, names, write, kind=kind, fallback=fallback)
    about = json.loads(arrays["about"].tobytes())
    bad = about["bad"]
    if bad and not skip:  # the arrays were written by a run that skipped such items
        raise bad_item(*bad[0])
    notes = (left_out(bad, len(bad) + len(about["names"]), kind) if bad else "", note)
    return arrays, about, tuple(filter(None, notes))


@contextmanager
def in_order(
    items: Iterable[Item], work: Callable[[Item], Result], at_once: int
) -> Iterator[Iterator[tuple[Item, Result]]]:
    """Return an iterator over items and their results, in order, which are computed ahead in threads on all cores.

    Decoders release the global interpreter lock. The threads end with the `with` block, also if it is left early. If
    the garbage collector ended them, it could do so in the first lines of a new thread, which hold a lock of
    `threading` that joining them needs: a deadlock.

    Args:
        items: the items, consumed as they are needed.
        work: returns the result of an item; called in a thread.
        at_once: number of items in a job of a thread.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(MOST_THREADS, cores)
    pool = ThreadPoolExecutor(threads)

    def results() -> Iterator[tuple[Item, Result]]:
        waiting: deque[Future[list[tuple[Item, Result]]]] = deque()
        for job in in_groups(items, at_once):
            waiting.append(pool.submit(lambda job: [(item, work(item)) for item in job], job))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()

    try:
        yield results()
    finally:
        pool.shutdown(cancel_futures=True)
