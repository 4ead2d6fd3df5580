"""Output files are replaced atomically."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tformer_cli.errors import RunError
from tformer_cli.runs.writing import check_output, output_file, replace_file, write_new_folder


def write(path: Path, *records: bytes) -> None:
    with output_file(path) as output:
        for record in records:
            output.write(record)


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with output_file(path) as output:
        output.write(b"new\n")
        assert path.read_bytes() == b"old" and (tmp_path / "out.partial").read_bytes() == b"new\n"
    assert path.read_bytes() == b"new\n" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["out"]


def test_a_new_file_has_the_permissions_that_the_user_gives_files(tmp_path):
    old = os.umask(0o027)
    try:
        write(tmp_path / "out", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_complete_records_stay_beside_when_something_fails(tmp_path, error):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(error), output_file(path) as output:
        output.write(b"one\n")
        output._stream.write(b"tw")
        raise error
    assert path.read_bytes() == b"old"
    assert output.partial is not None and output.partial.read_bytes() == b"one\n" and output.records == 1
    with output_file(path) as output:  # kept records are not overwritten
        output.write(b"x")
    assert (tmp_path / "out.partial").read_bytes() == b"one\n" and path.read_bytes() == b"x"


def test_nothing_stays_where_nothing_was_written(tmp_path):
    with pytest.raises(ValueError), output_file(tmp_path / "out") as output:
        raise ValueError
    assert output.partial is None and not os.listdir(tmp_path)


def test_links_stay_and_lead_to_the_new_file(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "real").write_bytes(b"old")
    (tmp_path / "middle").symlink_to("data/real")
    (tmp_path / "link").symlink_to(tmp_path / "middle")
    (tmp_path / "dangling").symlink_to("data/fresh")
    write(tmp_path / "link", b"new")
    write(tmp_path / "dangling", b"made")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "middle").is_symlink()
    assert (tmp_path / "data" / "real").read_bytes() == b"new"
    assert (tmp_path / "data" / "fresh").read_bytes() == b"made" and (tmp_path / "dangling").is_symlink()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"loop|symbolic"):
        write(tmp_path / "loop", b"x")


def test_another_name_of_the_file_keeps_the_old_content(tmp_path):
    (tmp_path / "in").write_bytes(b"old")
    os.link(tmp_path / "in", tmp_path / "out")
    write(tmp_path / "out", b"new")
    assert (tmp_path / "in").read_bytes() == b"old" and (tmp_path / "out").read_bytes() == b"new"


def test_pipes_devices_and_open_files_are_written_to_as_they_are(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe", b"one", b"two")
    reader.join()
    assert read == [b"onetwo"]
    write(Path("/dev/null"), b"x")
    assert not stat.S_ISREG(os.stat("/dev/null").st_mode)
    with open(tmp_path / "log", "ab") as log:
        log.write(b"before\n")
        log.flush()
        write(Path(f"/dev/fd/{log.fileno()}"), b"after\n")
    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"


def test_a_long_name_has_room_beside_it(tmp_path):
    write(tmp_path / ("n" * 255), b"x")
    assert os.listdir(tmp_path) == ["n" * 255]


def test_places_that_cannot_be_written_are_refused_before(tmp_path):
    with pytest.raises(RunError, match="is a folder"):
        check_output(tmp_path)
    with pytest.raises(RunError, match="no folder"):
        check_output(tmp_path / "none" / "out")
    assert not os.listdir(tmp_path)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, b"one\n")
    assert path.read_bytes() == b"old" and (tmp_path / "out.partial").read_bytes() == b"one\n"


def test_a_file_system_without_sync_is_no_failure(tmp_path, monkeypatch):
    def unsupported(descriptor: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unsupported)
    write(tmp_path / "out", b"x")
    assert (tmp_path / "out").read_bytes() == b"x"


def test_a_folder_is_there_in_whole_or_not_at_all(tmp_path, monkeypatch):
    write_new_folder(tmp_path / "new" / "folder", {"a": b"1", "sub/b": b"2"})
    assert (tmp_path / "new" / "folder" / "sub" / "b").read_bytes() == b"2"
    with pytest.raises(RunError, match="already exists"):
        write_new_folder(tmp_path / "new", {"a": b"1"})
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    write_new_folder(Path(), {"a": b"1", "sub/b": b"2"})
    assert Path("a").read_bytes() == b"1" and sorted(os.listdir()) == ["a", "sub"]
    monkeypatch.setattr("tformer_cli.runs.writing.sync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(RunError, match="cannot be written"):
        write_new_folder(tmp_path / "failed", {"a": b"1"})
    assert "failed" not in os.listdir(tmp_path) and sorted(os.listdir(tmp_path)) == ["empty", "new"]


class Interrupted(dict):
    """Files that let another call run after the first one is written."""

    def __init__(self, files: dict[str, bytes], other: Callable[[], None]) -> None:
        super().__init__(files)
        self.other = other

    def items(self):
        first, *others = super().items()
        yield first
        self.other()
        yield from others


@pytest.mark.parametrize("exists", [False, True])
def test_of_two_writers_of_one_folder_one_writes_it_and_the_other_fails(tmp_path, exists):
    """A new folder belongs to the first that is complete, an empty folder to the first that begins."""
    path, ours, theirs = tmp_path / "out", {"a": b"1", "b": b"1"}, {"b": b"2", "c": b"2"}
    messages = []

    def write_theirs() -> None:
        try:
            write_new_folder(path, theirs)
        except RunError as error:
            messages.append(str(error))

    if exists:
        path.mkdir()
    try:
        write_new_folder(path, Interrupted(ours, write_theirs))
    except RunError as error:
        messages.append(str(error))
    assert {file.name: file.read_bytes() for file in path.iterdir()} == (ours if exists else theirs)
    (message,) = messages
    assert ("another call fills it" if exists else "already exists") in message
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_gets_a_file_in_the_last_moment_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "out"
    path.mkdir()
    mkdir = Path.mkdir

    def mkdir_later(folder: Path, *arguments, **settings) -> None:
        (path / "letter").touch()
        mkdir(folder, *arguments, **settings)

    monkeypatch.setattr(Path, "mkdir", mkdir_later)
    with pytest.raises(RunError, match="already exists"):
        write_new_folder(path, {"a": b"1"})
    assert os.listdir(path) == ["letter"]


def test_folders_of_killed_writers_are_removed_when_they_are_old(tmp_path):
    for name, age in ((".out.1.writing", 3600), (".out.2.writing", 5), (".other.3.writing", 3600)):
        (tmp_path / name / "new").mkdir(parents=True)
        for path in (tmp_path / name / "new", tmp_path / name):
            os.utime(path, (time.time() - age,) * 2)
    write_new_folder(tmp_path / "out", {"a": b"1"})
    assert sorted(os.listdir(tmp_path)) == [".other.3.writing", ".out.2.writing", "out"]


def test_threads_that_replace_one_file_do_not_write_to_each_other(tmp_path):
    """Each temporary file has a name of its own, also where processes of several machines have equal numbers."""
    errors = []

    def replace(content: bytes) -> None:
        try:
            for _ in range(30):
                replace_file(tmp_path / "file", content)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=replace, args=(letter * 100_000,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and (tmp_path / "file").read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    assert os.listdir(tmp_path) == ["file"]
