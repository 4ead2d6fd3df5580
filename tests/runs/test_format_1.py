"""Runs that version 0.1 wrote are read: `tests/fixtures/write.py` wrote them."""

from __future__ import annotations

import json
import math
import shutil
from importlib import metadata

import pytest

from tests.fixtures.write import DATA, FOLDER
from tformer_cli.cli.main import main
from tformer_cli.trained.opening import open_run

RUNS = sorted(path.name for path in FOLDER.iterdir())
BUILT_IN_SOUND = "conformer"
"""Its recordings differ from one version of espeak and soxr to the next."""
PINNED_SOXR = "1.1.0"
"""The version in constraints.txt, which made the recordings that the run was trained on."""


@pytest.fixture
def run(request, tmp_path, monkeypatch):
    """A copy of a run, in a working folder with the files of its data."""
    folder = tmp_path / "work"
    shutil.copytree(DATA, folder)
    monkeypatch.chdir(folder)
    run = tmp_path / request.param
    shutil.copytree(FOLDER / request.param, run)
    return run


@pytest.mark.parametrize("run", RUNS, indirect=True)
def test_it_predicts_and_scores_as_it_did(run, tmp_path, capsys):
    expected = json.loads((run / "expected.json").read_bytes())
    moved = [f"data.cache={tmp_path / 'cache'}", "trainer.device=cpu"]
    opened = open_run(run, device="cpu", overrides=moved)
    texts = [prediction.text for prediction in opened.task.predict(opened.model, expected["inputs"])]
    assert texts == expected["texts"]
    data = opened.config.data.path
    assert main(["evaluate", str(run), "--split", "validation", *moved, f"data.path={data}", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores.keys() == expected["scores"].keys()
    if run.name != BUILT_IN_SOUND:
        for name, score in scores.items():
            assert math.isclose(score, expected["scores"][name], rel_tol=1e-3, abs_tol=1e-6), name


@pytest.mark.parametrize("run", RUNS, indirect=True)
def test_it_is_resumed_and_is_a_start(run, tmp_path):
    if run.name == BUILT_IN_SOUND and metadata.version("soxr") != PINNED_SOXR:
        pytest.skip(f"the recordings are those of soxr {PINNED_SOXR}")
    saved = json.loads((run / "command.json").read_bytes())
    again = [*saved["settings"], f"data.cache={tmp_path / 'cache'}"]
    resumed = ["pretrain", saved["recipe"], *again, "trainer.steps=3", "--run", str(run), "--resume", "--quiet"]
    assert main(resumed) == 0
    assert (run / "checkpoints" / "step-00000003").is_dir()
    tuned = tmp_path / "tuned"
    if "data.source=files" in again:  # then `data.size` has no effect, which only the run that exists may have
        again = [setting for setting in again if not setting.startswith("data.size=")]
    assert main(["finetune", saved["recipe"], *again, "--from", str(run), "--run", str(tuned), "--quiet"]) == 0
    assert (tuned / "checkpoints" / "step-00000002").is_dir()
