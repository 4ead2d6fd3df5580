"""Scores of a checkpoint are reproduced to the last digit: training, evaluation and prediction share one precision."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.properties.families import FAMILIES, WRITERS, family_named
from tformer_cli import machine
from tformer_cli.cli.main import main
from tformer_cli.config.compose import override
from tformer_cli.errors import RunError
from tformer_cli.runs.checkpoint import read_state
from tformer_cli.runs.folder import locate
from tformer_cli.train.launch import launch
from tformer_cli.trained.evaluate import evaluate_run
from tformer_cli.trained.opening import open_run

STEPS = [
    "trainer.steps=2",
    "trainer.minutes=0",
    "trainer.evaluate_every=1",
    "trainer.evaluate_limit=0",
    "data.workers=0",
]


def trained(family, folder, *more: str):
    short = ["decode.max_length=8", "decode.beam=2"] if family.name in WRITERS else []
    launch(family.config(folder, *STEPS, *short, *more), folder / "run", quiet=True)
    return folder / "run"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_evaluate_reproduces_the_best_score_of_training(family, precision, tmp_path):
    run = trained(family, tmp_path, f"trainer.precision={precision}")
    state = read_state(locate(run)[1])
    report = evaluate_run(run, "validation")
    assert state["scoring_precision"] == precision
    assert report.evaluation.scores[state["metric"]] == state["best"]
    assert report.evaluation.scores["loss"] == state["best_loss"]
    assert json.loads(report.path.read_text())["precision"] == precision


def test_another_precision_is_used_where_the_user_asks_for_it(tmp_path, capsys):
    run = trained(family_named("translation"), tmp_path, "trainer.precision=bf16")
    losses = {}
    for precision in ("bf16", "fp32"):
        assert main(["evaluate", str(run), "--split", "validation", "--json", "--precision", precision]) == 0
        report = json.loads(capsys.readouterr().out)
        losses[precision] = report["scores"]["loss"]
        assert json.loads(Path(report["path"]).read_bytes())["precision"] == precision
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert main(["evaluate", str(run), "--precision", "fp8"]) == 2
    assert "--precision" in capsys.readouterr().err


def test_runs_that_do_not_record_the_precision_are_scored_in_float32(tmp_path):
    run = trained(family_named("translation"), tmp_path, "trainer.precision=bf16")
    recorded = evaluate_run(run, "validation").evaluation.scores["loss"]
    for state in run.glob("checkpoints/*/state.json"):
        values = json.loads(state.read_text())
        del values["scoring_precision"]
        state.write_text(json.dumps(values))
    with pytest.raises(RunError):
        open_run(run)  # a changed file is noticed
    for manifest in run.glob("checkpoints/*/manifest.json"):
        rewrite(manifest)
    opened = open_run(run)
    assert opened.machine.precision == "fp32"
    assert evaluate_run(run, "validation").evaluation.scores["loss"] != recorded


def test_the_precision_of_another_type_of_device_is_chosen_anew(tmp_path, monkeypatch):
    """A GPU's bfloat16 can be sixty times as slow on a CPU; on the same type of device the recorded choice stays."""
    family = family_named("translation")
    monkeypatch.setattr(machine, "cached_choice", lambda key, measure: "bf16")
    run = trained(family, tmp_path, "trainer.precision=auto")
    monkeypatch.setattr(machine, "cached_choice", lambda key, measure: "fp32")
    assert open_run(run).machine.precision == "bf16"
    for state in run.glob("checkpoints/*/state.json"):
        values = json.loads(state.read_text())
        values["machine"]["device"] = "cuda"
        state.write_text(json.dumps(values))
        rewrite(state.with_name("manifest.json"))
    assert open_run(run).machine.precision == "fp32"
    assert open_run(run, overrides=["trainer.precision=bf16"]).machine.precision == "bf16"
    more = family.config(tmp_path, *STEPS, "decode.max_length=8", "decode.beam=2", "trainer.precision=auto")
    launch(override(more, ["trainer.steps=3"]), run, resume=True, quiet=True)
    assert read_state(locate(run, "latest")[1])["machine"] == {
        "precision": "fp32", "attention": "explicit", "device": "cpu",
    }  # fmt: skip


def rewrite(manifest: Path) -> None:
    """Record the present size and hash of `state.json`."""
    content = manifest.with_name("state.json").read_bytes()
    entries = json.loads(manifest.read_bytes())
    entries["files"]["state.json"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest.write_text(json.dumps(entries))
