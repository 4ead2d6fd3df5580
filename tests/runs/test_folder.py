"""Run folders on file systems with missing features, and the errors about them."""

from __future__ import annotations

import errno
import json
import os

import pytest

from tformer_cli.errors import RunError
from tformer_cli.runs import checkpoint
from tformer_cli.runs.checkpoint import Checkpoints, damage, write_folder
from tformer_cli.runs.folder import Lock, locate
from tformer_cli.runs.writing import replace_file

FILES = {"model.safetensors": b"w", "config.yaml": b"x", "state.json": b'{"step": 1}'}


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_sync_is_written_all_the_same(tmp_path, monkeypatch, code):
    def refused(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refused)
    write_folder(tmp_path / "step-00000001", FILES)
    replace_file(tmp_path / "latest", b"step-00000001")
    assert damage(tmp_path / "step-00000001") == ""


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "make the folder writable"), (errno.EIO, "check the disk")],
)
def test_a_save_that_fails_names_what_helps(tmp_path, monkeypatch, code, remedy):
    def refused(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(RunError, match=f"cannot be written: {os.strerror(code)}: {remedy}"):
        write_folder(tmp_path / "step-00000001", FILES)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match=os.strerror(code)):
        replace_file(tmp_path / "latest", b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, code):
    import fcntl

    def refused(file, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refused)
    lock = Lock(tmp_path)
    assert not lock.held and "no file locks here" in lock.note and str(tmp_path) in lock.note
    lock.release()


def test_a_run_without_a_checkpoint_and_names_that_are_not_there(tmp_path):
    (tmp_path / "config.yaml").write_text("x")
    with pytest.raises(RunError, match="no checkpoint yet: continue the run with --resume"):
        locate(tmp_path)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.folder.mkdir()
    state = {"step": 2, "best": 1.0, "best_step": 2, "score": 1.0}
    checkpoints.save(2, {**FILES, "state.json": json.dumps(state).encode()})
    for name in ("best", "latest"):
        (checkpoints.folder / name).write_text("step-00000009")  # from a save that was undone
        assert locate(tmp_path, name)[1].name == locate(tmp_path)[1].name == "step-00000002"
    with pytest.raises(RunError, match="no checkpoint step-7: name one with --checkpoint; there are: step-00000002"):
        locate(tmp_path, "step-7")


def test_a_best_that_was_removed_by_hand_is_missed(tmp_path):
    (tmp_path / "config.yaml").write_text("x")
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.folder.mkdir()
    state = {"step": 2, "best": 1.0, "best_step": 1}
    checkpoints.save(2, {**FILES, "state.json": json.dumps(state).encode()})
    with pytest.raises(RunError, match="no checkpoint step-00000001: name one"):
        locate(tmp_path)
    assert checkpoint.damage(locate(tmp_path, "latest")[1]) == ""


def test_a_run_that_may_not_be_written_is_made_writable_or_left(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tformer_cli.runs.folder.append_regular", refuse)
    with pytest.raises(RunError, match="Permission denied: make the folder writable, or choose another folder"):
        Lock(tmp_path)
