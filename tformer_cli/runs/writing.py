"""Atomic writing of files and folders: they are written under another name, and renamed when they are complete.

The previous file, which may be the input itself, is therefore intact until the new one is complete. After a full disk,
Ctrl-C or an error in the last line, the records so far remain in `NAME.partial`.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tformer_cli.errors import RunError

PARTIAL = ".partial"
UNSYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of fsync on file systems without support for it, which are ignored."""
ABANDONED_SECONDS = 600
"""A file that is not complete after this time belongs to a killed process."""
FILLING = ".writing"
"""Name of the temporary folder in a folder that is being filled."""
MOST_LINKS, MOST_NAME_BYTES = 40, 255
DESCRIPTOR = re.compile(r"/dev/(stdin|stdout|stderr|fd/\d+)|/proc/(self|thread-self|\d+)/(task/\d+/)?fd/\d+")
"""Names of open files, which are written to directly and never replaced."""


class Output:
    """An output file in progress.

    Attributes:
        path: path given by the user.
        records: number of complete records.
        partial: path of the records, if the file was not completed and contains any.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path, self.records = path, 0
        self.partial: Path | None = None
        self._stream, self._complete_bytes = stream, 0

    def write(self, record: bytes) -> None:
        """Write one record without buffering."""
        unwritten = memoryview(record)
        with writing(str(self.path)):
            while unwritten:
                unwritten = unwritten[self._stream.write(unwritten) :]
        self._complete_bytes += len(record)
        self.records += 1


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Add the name of the file to errors of the system within the context, if they lack it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            raise OSError(error.errno, error.strerror, name) from error
        raise


def check_output(path: Path) -> None:
    """Refuse a path that is not writable, before slow work starts; nothing is created.

    Raises:
        RunError: if it is a folder, or its folder does not exist.
        PermissionError: if it is not writable.
    """
    target = _target(path)
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise RunError(f"{path} is a folder", "name a file in it")
    if not os.path.isdir(folder):
        raise RunError(
            f"{path}: there is no folder {folder if os.path.islink(path) else path.parent}",
            "make it first, or choose another place",
        )
    if os.path.exists(target):
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        if _is_stream(target):
            return
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)


@contextmanager
def output_file(path: Path) -> Iterator[Output]:
    """Open a file that is written atomically.

    The file is written under another name and renamed at the end of the context. The target of a symbolic link is
    replaced, and permissions are kept. Pipes, devices and open files (`/dev/stdout`) are written to directly.

    Raises:
        RunError: see `check_output`.
        OSError: if it cannot be written.
    """
    check_output(path)
    target = _target(path)
    if _is_stream(target):
        with _open_stream(target) as stream:
            yield Output(path, stream)
        return
    temporary, descriptor = _create_temporary(target)
    with open(descriptor, "wb", buffering=0) as stream:
        output = Output(path, stream)
        try:
            yield output
            _take_over(stream.fileno(), target)
            sync(stream.fileno())
            os.replace(temporary, target)
        except BaseException:
            _keep_complete_records(output, stream, temporary)
            raise
    sync_folder(os.path.dirname(target))


def sync(descriptor: int) -> None:
    """Sync a file to disk, if its file system supports it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise


def sync_folder(folder: str | Path) -> None:
    """Sync the entries of a folder to disk, if its file system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _target(path: Path) -> str:
    """Return the target of a path with symbolic links; the name of an open file is unchanged."""
    target = os.path.join(os.getcwd(), os.fspath(path))
    for _ in range(MOST_LINKS):
        if DESCRIPTOR.fullmatch(target) or not os.path.islink(target):
            return target
        target = os.path.join(os.path.dirname(target), os.readlink(target))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _is_stream(target: str) -> bool:
    """Return whether a file must not be replaced: a pipe, a device, an open file."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return False
    return DESCRIPTOR.fullmatch(target) is not None or not stat.S_ISREG(mode)


def _open_stream(target: str) -> IO[bytes]:
    number = {"/dev/stdout": 1, "/dev/stderr": 2}.get(target)
    if number is None and (match := re.fullmatch(r"(?:/dev/fd|/proc/self/fd)/(\d+)", target)):
        number = int(match[1])
    if number is not None:  # opening it again would start at the beginning of its file
        return open(os.dup(number), "wb", buffering=0)
    return open(target, "wb", buffering=0)


def _create_temporary(target: str) -> tuple[str, int]:
    folder, name = os.path.split(target)
    for number in range(1, 1000):
        suffix = PARTIAL if number == 1 else f"{PARTIAL}-{number}"
        short = os.fsdecode(os.fsencode(name)[: MOST_NAME_BYTES - len(suffix)])
        temporary = os.path.join(folder, short + suffix)
        with contextlib.suppress(FileExistsError):  # it belongs to a killed or running process, and is kept
            return temporary, os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666
            )
    raise RunError(f"{target}{PARTIAL}: too many of them", "remove those that are not needed any more")


def _take_over(descriptor: int, target: str) -> None:
    """Give the new file the owner and the permissions of the file that it replaces."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return
    with contextlib.suppress(OSError):
        if (status.st_uid, status.st_gid) != (os.fstat(descriptor).st_uid, os.fstat(descriptor).st_gid):
            os.fchown(descriptor, status.st_uid, status.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _keep_complete_records(output: Output, stream: IO[bytes], temporary: str) -> None:
    """Keep the complete records of a file that was not completed, or remove it if there are none."""
    with contextlib.suppress(OSError):
        if not output.records:
            os.unlink(temporary)
            return
        os.ftruncate(stream.fileno(), output._complete_bytes)
        by_name = not output.path.is_absolute() and not output.path.is_symlink()
        output.partial = output.path.with_name(os.path.basename(temporary)) if by_name else Path(temporary)


def write_remedy(error: OSError) -> str:
    """Return the remedy for a failure to write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free some space"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make the folder writable"
    return "check the disk"


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write and sync files in order, then sync their folders.

    Args:
        folder: the folder, which is created.
        files: content by name relative to the folder.

    Raises:
        OSError: if a file cannot be written; the previous ones remain.
    """
    for name, content in files.items():
        _write_file(folder / name, content)
    for parent in {(folder / name).parent for name in files}:
        sync_folder(parent)


def _write_file(path: Path, content: bytes) -> None:
    """Write and sync one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        sync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically: a reader sees the old or the new content, never a part.

    Several processes and threads may do so at the same time; the content of the last one remains. Files of killed
    processes are removed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.writing")
    for old in path.parent.glob(".*.writing"):
        with contextlib.suppress(OSError):
            if old.is_file() and _is_abandoned(old):
                old.unlink()
    try:
        _write_file(temporary, content)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _is_abandoned(path: Path) -> bool:
    """Return whether a temporary file or folder, and all that it contains, are old."""
    times = [entry.lstat().st_mtime for entry in (path, *path.rglob("*"))]
    return time.time() - max(times) > ABANDONED_SECONDS


def check_new_folder(path: Path) -> None:
    """Refuse a folder that is not empty, before slow work starts.

    Raises:
        RunError: if there is a file of that name, or a folder that is not empty.
    """
    check_not_filling(path)
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise RunError(f"{path} already exists", "name another folder, or remove it")


def check_not_filling(path: Path) -> None:
    """Refuse a folder that another call fills, or that a killed one has left incomplete.

    Raises:
        RunError: if it is such a folder.
    """
    if os.path.lexists(path / FILLING):
        cause = f"{path} holds {FILLING}: another call fills it, or was killed before it was complete"
        raise RunError(cause, "wait for it, name another folder, or remove this one")


def write_new_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder atomically; of several processes that write the same one, all but the first fail.

    A folder that exists keeps its owner, its permissions and the shells that are in it: its files are written to
    `.writing` in it, and then moved.

    Args:
        path: the folder, which must not exist or be empty; an empty folder is filled.
        files: content by name relative to the folder.

    Raises:
        RunError: see `check_new_folder`, or if it cannot be written; no files remain in this case.
    """
    try:
        check_new_folder(path)
        if path.is_dir():
            _fill_folder(path, files)
        else:
            _create_folder(path, files)
    except OSError as error:
        cause = f"{path}: cannot be written: {error.strerror or error}"
        raise RunError(cause, f"{write_remedy(error)}, or name another folder") from error


def _fill_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of an empty folder; the temporary folder in it is created by one process alone."""
    temporary = path / FILLING
    try:
        temporary.mkdir()
    except FileExistsError:
        check_not_filling(path)
        raise
    try:
        if os.listdir(path) != [FILLING]:
            raise RunError(f"{path} already exists", "name another folder, or remove it")
        write_files(temporary, files)
        for child in sorted(temporary.iterdir()):
            os.replace(child, path / child.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _create_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder beside its place, and rename it; the system refuses this if another one has files by then."""
    with scratch_folder(path) as scratch:
        (scratch / "new").mkdir()
        write_files(scratch / "new", files)
        try:
            os.rename(scratch / "new", path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                check_new_folder(path)
            raise


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Create a temporary folder beside a path, and remove it after the context, with those of killed processes."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in scratch_folders(path):
        with contextlib.suppress(OSError):
            if _is_abandoned(old):
                shutil.rmtree(old)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:50]}.", suffix=".writing", dir=path.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def scratch_folders(path: Path) -> list[Path]:
    """Return the temporary folders of `scratch_folder` for a path, of running and of killed processes."""
    path = path.absolute()
    return sorted(old for old in path.parent.glob(f".{glob.escape(path.name[:50])}.*.writing") if old.is_dir())
