"""Start-up, exit codes, and that whatever fails is said in one line."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from typer.main import get_command

from tformer_cli.cli import app
from tformer_cli.cli import main as entry
from tformer_cli.cli.main import main
from tformer_cli.errors import ConfigError, RunError

HEAVY = ("torch", "hydra", "omegaconf", "numpy", "rich", "yaml", "sentencepiece", "datasets", "click")


def run_python(code: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **more)


def test_importing_the_app_imports_nothing_heavy():
    done = run_python(f"import sys, tformer_cli.cli as c; c.app; print([m for m in {HEAVY} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["pretrain", "--help"], ["complete", "--", "tformer pretrain translation/files model.po"]],
)
def test_help_and_completion_import_nothing_heavy(arguments):
    heavy = [name for name in HEAVY if name != "yaml"]
    done = run_python(
        f"import sys; from tformer_cli.cli.main import main; code = main({arguments});"
        f"print(code, [m for m in {heavy} if m in sys.modules])"
    )
    assert done.stdout.strip().endswith("0 []"), done.stdout + done.stderr
    assert done.stderr == ""


def test_help_lists_every_verb(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for verb in get_command(app).commands.keys() - {"complete"}:
        assert f"  {verb} " in shown
        assert main([verb, "--help"]) == 0
    assert "complete " not in shown
    assert main([]) == 0


def test_python_dash_m_is_the_same_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tformer_cli", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tformer ")


class Raising:
    """An app whose one verb raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, given: list[str]) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("optim.lr: 'x'", "write y"), 2, "error: optim.lr: 'x': write y\n"),
        (RunError("two\nlines"), 1, "error: two lines\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(errno.EPIPE, "x"), 141, ""),
        (MemoryError(), 1, "error: out of memory: "),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "error: out of memory: "),
        (
            OSError(errno.ENOSPC, "No space left", "runs/a/x"),
            1,
            "error: runs/a/x: the disk is full: free some space",
        ),
        (OSError(errno.EACCES, "Permission denied", "/root/x"), 1, "error: /root/x: no permission: "),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
            1,
            "error: x: no such file: check the path\n",
        ),
        (
            ValueError("odd\nthing"),
            70,
            "error: unexpected ValueError: odd thing (set TFORMER_DEBUG=1 for the trace",
        ),
        (SystemExit(3), 3, ""),
    ],
)
def test_every_failure_is_one_line_and_a_code(error, code, line, monkeypatch, capfd):
    monkeypatch.delenv("TFORMER_DEBUG", raising=False)
    monkeypatch.setattr(entry, "_run", Raising(error))
    monkeypatch.setattr(entry.streams, "give_up_output", lambda: None)
    assert main([]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == (1 if line else 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("error", [RuntimeError("only a single TORCH_LIBRARY"), None])
def test_a_signal_during_an_import_has_its_status_whatever_the_library_raises(
    number, error, interruptible, monkeypatch, capfd
):
    def run(arguments: list[str]) -> int:
        try:
            os.kill(os.getpid(), number)
        except BaseException:
            if error is not None:
                raise error from None
        return 0

    monkeypatch.setattr(entry, "_run", run)
    assert main([]) == 128 + number
    assert capfd.readouterr() == ("", "")


def test_the_traceback_is_shown_when_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(entry, "_run", Raising(ValueError("odd")))
    monkeypatch.setenv("TFORMER_DEBUG", "1")
    assert main([]) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["zzz"], "error: no such command 'zzz': see `tformer --help`"),
        (["translat"], "error: no such command 'translat': did you mean 'translate'?"),
        (["pretrain"], "error: missing argument 'RECIPE': see `tformer pretrain --help`"),
        (["pretrain", "x", "--prcesses", "2"], "error: no such option: --prcesses"),
        (["pretrain", "x", "--optim.lr=3"], "error: settings are written without dashes: optim.lr=3"),
        (["pretrain", "x", "--optim.lr", "3"], "error: settings are written without dashes: optim.lr"),
        (["pretrain", "x", "--processes", "0"], "error: invalid value for '--processes': must be at least 1"),
        (
            ["quickstart", "--minutes", "y"],
            "error: invalid value for '--minutes': not a number: see `tformer quick",
        ),
        (["pretrain", "x", "--processes", "y"], "error: invalid value for '--processes': not a whole number"),
        (["pretrain", "x", "--run"], "error: option '--run' requires an argument"),
        (["completion", "tcsh"], "error: no completion for 'tcsh': there is one for bash, zsh, fish"),
    ],
)
def test_usage_errors_are_one_line(arguments, line, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(line)


@pytest.mark.skipif(os.name == "nt", reason="no /bin/sh")
def test_a_reader_that_leaves_is_met_with_silence():
    done = subprocess.run(
        f"{sys.executable} -m tformer_cli pretrain quickstart/translation --dry-run -q | head -n 1",
        shell=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("task: translation\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tformer_cli", "recipes"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output: the disk is full: ")
    assert done.stderr.count("\n") == 1


def test_a_system_without_threads_left_is_answered_with_what_needs_fewer():
    line, code = entry.describe(RuntimeError("can't start new thread"))
    assert code == 1 and "trainer.threads" in line and "data.workers" in line
