"""Shortlists of a trained run: made once, read from other runs, and without effect if they are complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.properties.families import family_named
from tformer_cli import machine
from tformer_cli.cli.main import main
from tformer_cli.decode.shortlist import FILE, Shortlist, learn_shortlist
from tformer_cli.nn import int8
from tformer_cli.nn.int8 import Int8Decoder
from tformer_cli.train.launch import launch
from tformer_cli.trained.opening import open_run

SEARCH = ["--workers", "1", "--device", "cpu", "decode.max_length=8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs with a joint vocabulary, with another one, and with one for each language."""
    folder, rate = tmp_path_factory.mktemp("project"), machine.product_rate
    machine.product_rate = lambda *_, **__: 1e9
    try:
        separate = ["tokenizer.joint=false", "tokenizer.kind=char", "model.tie_embeddings=none", "optim.lr=0.02"]
        for name, more in (("joint", []), ("other", ["tokenizer.vocab_size=380"]), ("separate", separate)):
            settings = ["trainer.evaluate_limit=4", "decode.max_length=6", *more]
            launch(family_named("translation").config(folder / "cache", *settings), folder / name, quiet=True)
    finally:
        machine.product_rate = rate
    return folder


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A current folder with copies of these runs, and lines to translate."""
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    for name in ("joint", "other", "separate"):
        shutil.copytree(trained / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    Path("lines").write_text("The cat eats.\n\nWe read three books.\nDid you see the old house yesterday?\n")
    return tmp_path


def translated(capsys, run: str, *settings: str) -> list[str]:
    capsys.readouterr()
    assert main(["translate", run, "lines", *SEARCH, *settings]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("run", ["joint", "separate"])
@pytest.mark.parametrize("beam", [1, 3])
def test_a_complete_shortlist_changes_nothing(project, capsys, run, beam):
    save_complete(run)
    lines = translated(capsys, run, f"decode.beam={beam}")
    assert translated(capsys, run, f"decode.beam={beam}", "decode.shortlist=everything") == lines and any(lines)


def save_complete(run: str) -> None:
    """Write a shortlist that holds all tokens of a run, as `everything`."""
    opened = open_run(Path(run), device="cpu")
    data, (sources, targets) = opened.task.data, opened.task.data.sizes().vocabularies
    tokens = data.tokens("train")
    vocabulary = f"{data.tokenizer.hash} en-ja"
    everything = learn_shortlist(
        tokens.source, tokens.target, sources, targets, vocabulary, translations=5, frequent=targets
    )
    everything.save(Path("everything"))


def test_auto_is_made_once_and_serves_other_runs(project, capsys, monkeypatch):
    lines = translated(capsys, "joint", "decode.shortlist=auto")
    assert Path("joint", FILE).is_file() and lines[1] == ""
    opened = open_run(Path("joint"), device="cpu", overrides=["decode.shortlist=auto"])
    (pieces,) = [
        set(opened.task.predictor._allowed([[4, 5]])[0][0].tolist())  # what a translation may consist of
    ]
    assert opened.task.data.tokenizer.eos_id in pieces and len(pieces) < 300
    monkeypatch.setattr("tformer_cli.predictors.translation.learn_shortlist", None)
    assert translated(capsys, "joint", "decode.shortlist=auto") == lines
    assert translated(capsys, "joint", "decode.shortlist=joint") == lines
    shutil.copytree("joint", "copy")
    Path("copy", FILE).unlink()
    assert translated(capsys, "copy", "decode.shortlist=joint") == lines


def test_progress_is_shown_and_a_read_only_run_is_used(project, capsys, monkeypatch):
    def refuse(self, path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Shortlist, "save", refuse)
    assert main(["translate", "joint", "lines", *SEARCH, "decode.shortlist=auto"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["shortlist: aligning 200 sentence pairs", "shortlist: iteration 1 of 5"]
    assert lines[-1] == "the shortlist is not saved: joint: Permission denied"


def test_the_data_of_training_is_learned_from(project, capsys):
    Path("data").mkdir()
    for language in ("en", "ja"):
        Path(f"data/train.{language}").write_text("x\n")
        Path(f"data/test.{language}").write_text("x\n")
    settings = ["data.source=files", "data.path=data", "decode.shortlist=auto", "decode.max_length=4"]
    assert main(["evaluate", "joint", *settings, "decode.workers=1"]) == 0
    assert "shortlist: aligning 200 sentence pairs" in capsys.readouterr().err


def test_a_shortlist_for_another_vocabulary_is_refused(project, capsys):
    translated(capsys, "joint", "decode.shortlist=auto")
    assert main(["translate", "other", "lines", *SEARCH, "decode.shortlist=joint"]) == 2
    printed = capsys.readouterr().err
    assert printed == (
        f"error: decode.shortlist: joint/{FILE} is for a different vocabulary than the run's: use one of a run with"
        " the same tokenizer and languages, or decode.shortlist=auto\n"
    )


def test_a_damaged_file_of_auto_is_to_be_removed(project, capsys):
    Path("joint", FILE).write_text("no")
    assert main(["translate", "joint", "lines", *SEARCH, "decode.shortlist=auto"]) == 2
    cause = f"error: decode.shortlist: joint/{FILE}: not a shortlist file"
    assert capsys.readouterr().err == f"{cause}: remove it, and it is learned again\n"


def test_outputs_consist_of_the_tokens_of_the_shortlist(project, capsys):
    data = open_run(Path("separate"), device="cpu").task.data  # separate vocabularies: not the source's tokens
    none = np.full((data.sizes().vocabularies[0], 1), -1, np.int32)
    only = np.array([data.tokenizer.eos_id], np.int32)
    Shortlist(none, only, f"{data.tokenizer.hash} en-ja").save(Path("ends"))
    assert any(translated(capsys, "separate"))
    assert not any(translated(capsys, "separate", "decode.shortlist=ends"))


@pytest.mark.skipif(not int8.available(), reason="this CPU has no 8-bit products")
def test_8_bits_and_a_shortlist_go_together(project, capsys, monkeypatch):
    """The output layer over a shortlist is not in 8 bits: a complete one gives what 8 bits without this layer give."""
    save_complete("joint")
    lines = translated(capsys, "joint", "decode.shortlist=everything", "decode.precision=int8")
    outputs = []

    def without_output(model, output):
        outputs.append(output)
        return Int8Decoder(model, output=False)

    monkeypatch.setattr("tformer_cli.predictors.translation.Int8Decoder", without_output)
    assert translated(capsys, "joint", "decode.precision=int8") == lines and any(lines)
    translated(capsys, "joint", "decode.shortlist=auto", "decode.precision=int8")
    assert outputs == [True, False]


def test_validation_during_training_uses_it_too(project):
    config = family_named("translation").config(
        project / "cache", "decode.shortlist=auto", "trainer.evaluate_limit=4", "decode.max_length=6"
    )
    launch(config, project / "run", quiet=True)
    assert Path("run", FILE).is_file()
