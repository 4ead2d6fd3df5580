"""Commands of the laboratory run in processes of their own, which end with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from laboratory.processes import start

LONG = (
    "pretrain", "quickstart/vit", "model.dim=8", "model.ffn_dim=8", "model.depth=1", "data.batch_images=8",
    "trainer.steps=0", "trainer.minutes=3", "trainer.evaluate_every=0", "trainer.checkpoint_every=0",
    "trainer.log_every=1",
)  # fmt: skip
PROGRAM = """
import sys
from pathlib import Path
from laboratory.processes import start
start(sys.argv[2:], Path(sys.argv[1])).join()
"""


def test_a_command_has_its_output_in_a_file_and_its_exit_code(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    process = start(["evaluate", str(tmp_path / "none")], log)
    process.join()
    assert process.exitcode == 1
    assert log.read_text().startswith(f"before\nerror: {tmp_path}/none")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_training_saves_and_ends_after_the_laboratory_was_killed(tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    laboratory = subprocess.Popen([sys.executable, "-c", PROGRAM, str(log), *LONG, "--run", str(run)])
    _wait(lambda: (run / "metrics.jsonl").is_file() and "step" in (run / "metrics.jsonl").read_text())
    laboratory.send_signal(signal.SIGKILL)
    laboratory.wait()
    _wait(lambda: "--resume" in log.read_text())
    assert any((run / "checkpoints").iterdir())


def _wait(condition, seconds: float = 120) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
