"""Closed streams, arguments and file names that are not UTF-8, and users without a home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tformer_cli.cli.main import main, printable
from tformer_cli.data.core import cache

TFORMER = f'"{sys.executable}" -m tformer_cli'


def shell(command: str) -> tuple[int, str, str]:
    """Return the exit code, standard output and standard error of a shell line, in which T is tformer."""
    done = subprocess.run(["sh", "-c", command.replace("T ", f"{TFORMER} ", 1)], capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_closed_output_is_said_and_other_files_are_written(tmp_path):
    code, out, err = shell("T recipes show translation/files >&-")
    assert (code, out) == (1, "") and err.startswith("error: standard output is closed: ")


def test_errors_do_not_go_to_standard_output_where_standard_error_is_closed():
    assert shell("T recipes show nothing 2>&-") == (2, "", "")
    assert shell("T recipes show nothing <&- >&- 2>&-") == (2, "", "")


def test_a_closed_input_is_said():
    code, out, err = shell("T tokenize encode nowhere <&-")
    assert code == 1 and err.startswith("error: nowhere")
    code, out, err = shell(f"T tokenize train - -o {os.devnull}x/y <&-")
    assert code == 1 and err.startswith("error: standard input is closed: ")


@pytest.mark.parametrize(
    "arguments", [["predict", "r", "caf\udce9 ol\udce9"], ["pretrain", "r", "data.path=caf\udce9"]]
)
def test_arguments_that_are_no_text_are_named(arguments, stand_ins, capsys):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "caf\\xe9" in err and "is not UTF-8" in err and err.count("\n") == 1


def test_files_may_have_any_name(stand_ins, capfdbinary):
    name = os.fsdecode(b"caf\xe9\n.txt")
    Path(name).write_text("a\n")
    assert main(["translate", "r", name, "-o", name]) == 0
    assert Path(name).read_text() == "A\n"
    Path(name).write_bytes(b"a\xff\n")
    assert main(["translate", "r", name]) == 1
    cause = b"caf\\xe9 .txt:1: not UTF-8: byte 2 of the line is 0xff"
    assert capfdbinary.readouterr().err == b"error: " + cause + b": convert the file to UTF-8\n"
    assert printable("a\n b\udcff") == "a b\\xff"


def test_a_user_without_a_home_has_a_cache(monkeypatch, tmp_path):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache.Path, "home", homeless)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    assert cache.default_cache().parent == tmp_path


def test_an_unknown_home_is_said(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "text/classification", "data.path=~no-such-user/x", "--run", "r", "--quiet"]) == 1
    assert capsys.readouterr().err.startswith("error: ~ in a path has no meaning without a home directory: ")
