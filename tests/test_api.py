"""The Python interface: the same answers as the command line, nothing written, and the caller's settings restored."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tformer_cli
from tests.properties.families import PICTURES, family_named
from tformer_cli import load
from tformer_cli.api import Run
from tformer_cli.cli.main import main
from tformer_cli.errors import ConfigError, DataError, RunError
from tformer_cli.machine import flushes_subnormals
from tformer_cli.nn import backend
from tformer_cli.runs import folder
from tformer_cli.train.launch import launch

QUICK = ["trainer.steps=2", "trainer.minutes=0", "trainer.evaluate_limit=4", "trainer.samples=0"]


def trained(name: str, folder: Path) -> Path:
    launch(family_named(name).config(folder / "cache", *QUICK), folder / "run", quiet=True)
    return folder / "run"


def content(run: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in run.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["translation", "text classification", "vit"])
def test_predictions_are_those_of_the_command_line_and_nothing_is_written(name, tmp_path, capsys):
    run_folder = trained(name, tmp_path)
    inputs = [text for text in family_named(name).inputs if text]
    before = content(run_folder)
    run = load(run_folder)
    answers = run.predict(inputs)
    scores = run.evaluate("validation").scores
    assert content(run_folder) == before
    capsys.readouterr()
    assert main(["predict", str(run_folder), *inputs]) == 0
    lines = capsys.readouterr().out.splitlines()
    if name == "vit":
        lines = [line.partition("\t")[2] for line in lines]
    assert [answer.text for answer in answers] == lines
    assert main(["evaluate", str(run_folder), "--split", "validation", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == scores


@pytest.mark.parametrize("command", ["load", "inspect"])
def test_a_checkpoint_that_a_run_in_progress_replaces_is_no_error(command, tmp_path, monkeypatch):
    """The checkpoint is removed while it is read for the first time, and a newer one is there."""
    run_folder = trained("text classification", tmp_path)
    checkpoints, damage = run_folder / "checkpoints", folder.damage

    def damage_while_training(checkpoint: Path) -> str:
        if checkpoint.name == "step-00000002" and checkpoint.exists():
            checkpoint.rename(checkpoints / "step-00000004")
        return damage(checkpoint)

    monkeypatch.setattr(folder, "damage", damage_while_training)
    if command == "load":
        assert load(run_folder, checkpoint="latest").opened.checkpoint.name == "step-00000004"
    else:
        assert main(["inspect", str(run_folder), "--checkpoint", "latest", "--figures", "vectors", "-q"]) == 0
    assert not (checkpoints / "step-00000002").exists()


@pytest.mark.parametrize(("item", "kind"), [("A dog runs.", "text"), (Path("dog.png"), "path")])
def test_one_text_or_path_is_no_list_of_inputs(item, kind):
    with pytest.raises(DataError) as error:
        Run(None).predict(item)  # type: ignore[arg-type]
    assert str(error.value) == f"predict needs a list of inputs, not one {kind}: predict([{kind}])"


def test_a_run_has_its_parts(tmp_path):
    run = load(str(trained("translation", tmp_path)), settings=["decode.beam=2"])
    assert run.config.decode.beam == 2 and run.config.decode.workers == 1
    assert isinstance(run.model, torch.nn.Module) and not run.model.training
    assert run.tokenizer.decode(run.tokenizer.encode("The cat eats.")) == "The cat eats."


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.lr=5", "optim.lr has no effect on a trained model: leave it out, or set it for training"),
        (
            "decode.beam=3",
            "decode.beam has no effect on a run of text_classification (bert): valid options: decode.batch",
        ),
    ],
)
def test_settings_without_effect_are_refused_as_by_the_command_line(setting, message, tmp_path, capsys):
    folder = trained("text classification", tmp_path)
    with pytest.raises(ConfigError) as error:
        load(folder, settings=["data.batch_tokens=99", setting])
    assert str(error.value) == message
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--split", "validation", setting]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_paths_are_inputs_of_models_of_images(tmp_path):
    run = load(trained("vit", tmp_path))
    assert run.tokenizer is None
    assert [answer.text for answer in run.predict(map(Path, PICTURES[:2]))] == [
        answer.text for answer in run.predict(PICTURES[:2])
    ]


def test_settings_of_the_process_are_restored(tmp_path, monkeypatch):
    folder = trained("translation", tmp_path)
    monkeypatch.setattr(backend, "attention", "fused")
    threads = torch.get_num_threads()
    flushes = flushes_subnormals()
    torch.set_num_threads(2)
    torch.set_flush_denormal(False)

    def state():
        return torch.get_num_threads(), backend.attention, flushes_subnormals()

    try:
        run = load(folder, settings=["trainer.threads=1", "trainer.attention=explicit"])
        used = []
        encode = run.model.encode
        run.model.encode = lambda *inputs: used.append(state()) or encode(*inputs)
        run.predict(["The cat eats."])
        assert used == [(1, "explicit", True)]
        assert state() == (2, "fused", False)
        with pytest.raises(RunError):
            load(tmp_path / "nothing")
        with pytest.raises(ConfigError):
            load(folder, settings=["decode.beams=2"])
        assert state() == (2, "fused", False)
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushes)


def test_importing_the_package_does_not_import_torch():
    code = "import sys, tformer_cli; assert 'torch' not in sys.modules; tformer_cli.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(tformer_cli.__all__) == {"Run", "__version__", "load"}
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = tformer_cli.lode
