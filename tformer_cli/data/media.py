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
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from tformer_cli.data.cache import Write, cached
from tformer_cli.data.store import unnamed
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
        super().__init__(f"{name}: {reason}", "mend or remove it, or leave such out: trainer.on_bad_sample=skip")

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
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


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


def walk(folder: Path, endings: tuple[str, ...]) -> Iterator[tuple[Path, bool]]:
    """The files in a folder and those below it, sorted, and whether each has one of the endings and is not hidden.

    Hidden folders are passed over.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            yield Path(place, name), not name.startswith(".") and name.lower().endswith(endings)


def files_below(path: Path, endings: tuple[str, ...], what: str) -> list[Path]:
    """The files with these endings in a folder and those below it, sorted; or the one file that `path` is.

    Raises:
        DataError: if there is no such place, or no such file in it; calls them `what`.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such folder or file")
    found = [file for file, wanted in walk(path, endings) if wanted]
    if not found:
        raise DataError(f"{path}: no {what}", f"expected files that end with one of {', '.join(endings)}")
    return found


def passed_over(folder: Path, endings: tuple[str, ...]) -> str:
    """A line about the files in a folder and those below it that are of other kinds; empty: there are none.

    Files are counted by their endings, and the first are named. Hidden ones do not count.
    """
    others = [path for path, wanted in walk(folder, endings) if not wanted and not path.name.startswith(".")]
    if not others:
        return ""
    kinds = Counter(path.suffix.lower() or "without an ending" for path in others)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    names = listed([str(path.relative_to(folder)) for path in others])
    return f"{folder}: {len(others):,} file{'s'[: len(others) != 1]} of other kinds left out: {counts} ({names})"


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
