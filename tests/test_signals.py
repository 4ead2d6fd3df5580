"""Signals in one process: which are recorded, which end it, and with which exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tformer_cli.signals import Stopper, end_with_parent, ending, poll, start_helper

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="parents are watched on Linux only")


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted_and_handlers_are_put_back(number):
    before = [signal.getsignal(other) for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    stopper = Stopper()
    with stopper.listening():
        assert not stopper.number
        send(number)
        assert stopper.number == number
    assert [signal.getsignal(other) for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_second_interrupt_leaves_at_once():
    stopper = Stopper(moment=0.0)
    with stopper.listening():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert stopper.number == signal.SIGINT


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGINT, signal.SIGTERM),  # a Ctrl-C that the parent forwards
        (signal.SIGTERM, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM, signal.SIGTERM),
    ],
)
def test_other_signals_after_the_first_do_not_interrupt_saving(numbers):
    stopper = Stopper(moment=0.0)
    with stopper.listening():
        send(*numbers)
    assert stopper.number == numbers[0]


def test_interrupts_within_a_moment_count_as_one():
    stopper = Stopper(moment=0.2)
    with stopper.listening():
        send(signal.SIGINT, signal.SIGINT, signal.SIGINT)
        time.sleep(0.25)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_ends_a_verb_with_its_status_and_closes_its_files(number):
    closed = []
    with pytest.raises(SystemExit) as stop, ending():
        try:
            send(number)
        finally:
            closed.append(True)
    assert stop.value.code == 128 + number and closed


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_that_a_library_swallows_ends_the_next_loop(number, expected, interruptible):
    with ending() as request:
        with contextlib.suppress(BaseException):
            send(number)
        assert request.number == number
        with pytest.raises(expected):
            poll()
    poll()


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` leaves it
    try:
        stopper = Stopper()
        with ending(), stopper.listening():
            send(signal.SIGHUP)
        assert not stopper.number
    finally:
        signal.signal(signal.SIGHUP, before)


@LINUX
def test_a_helper_ignores_signals_and_ends_with_its_parent_even_if_that_is_killed(tmp_path):
    code = (
        "import os, sys, time\n"
        "from tformer_cli.signals import start_helper\n"
        "parent, child = os.getpid(), os.fork()\n"
        "if not child:\n"
        "    start_helper(parent)\n"
        "    open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    pid_file = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", code, str(pid_file)]) as parent:
        until = time.monotonic() + 20
        while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        helper = int(pid_file.read_text())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(helper, number)
        time.sleep(0.1)
        os.kill(helper, 0)
        parent.kill()
    while time.monotonic() < until:
        try:
            if " Z " in Path(f"/proc/{helper}/stat").read_text():
                return
        except OSError:
            return
        time.sleep(0.02)
    raise AssertionError("the helper outlived its parent")


@LINUX
@pytest.mark.parametrize("function", [end_with_parent, start_helper])
def test_a_helper_whose_parent_is_gone_already_ends(function):
    child = os.fork()
    if not child:
        function(1 if os.getppid() != 1 else 2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
