"""Files of `evaluate`: one for the run's test split, and others for other data, checkpoints and settings."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.properties.families import SENTIMENT, family_named
from tformer_cli import load, machine
from tformer_cli.cli.main import main
from tformer_cli.errors import ConfigError, DataError, RunError
from tformer_cli.runs.folder import locate
from tformer_cli.train.launch import launch
from tformer_cli.trained import evaluate
from tformer_cli.trained.evaluate import evaluate_run

FAMILY = family_named("text classification")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run in a separate folder, started from the folder above, with data under a relative path."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "data").mkdir()
    lines = Path(SENTIMENT).read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "data" / "train.tsv").write_text("".join(lines), encoding="utf-8")
    (folder / "data" / "test.tsv").write_text("".join(lines[:9]), encoding="utf-8")
    (folder / "other.tsv").write_text("".join(lines[:5]), encoding="utf-8")
    folder_before, rate = os.getcwd(), machine.product_rate
    os.chdir(folder)
    machine.product_rate = lambda *_, **__: 1e9
    try:
        settings = ["trainer.steps=4", "trainer.checkpoint_every=2", "trainer.evaluate_every=2", "trainer.keep=9"]
        launch(FAMILY.config(folder / "cache", *settings, "data.path=data"), folder / "run", quiet=True)
    finally:
        os.chdir(folder_before)
        machine.product_rate = rate
    return folder


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A copy of the run, with another current folder."""
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def record(path) -> dict:
    return json.loads(Path(path).read_bytes())


@pytest.mark.parametrize("setting", ["seed=7", "data.validation_share=0.4", "data.stratified=false"])
def test_validation_has_no_examples_of_training(project, trained, monkeypatch, setting):
    monkeypatch.chdir(trained)
    for split in ("train", "validation"):
        with pytest.raises(ConfigError, match=f"{setting.split('=')[0]}: with another value, the {split} split has"):
            evaluate_run(project / "run", split, [setting])
        with pytest.raises(ConfigError, match="with another value"):
            evaluate_run(project / "run", split, [setting, "data.batch_tokens=32"])
        with pytest.raises(ConfigError, match="with another value"):
            load(project / "run", settings=[setting]).evaluate(split)
    assert evaluate_run(project / "run", "test", [setting]).evaluation.scores
    assert evaluate_run(project / "run", "validation", ["seed=1"]).evaluation.scores
    assert evaluate_run(project / "run", "validation", [setting, "data.path=other.tsv"]).evaluation.scores


def test_a_validation_file_of_its_own_is_the_same_with_another_seed(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    monkeypatch.chdir(trained)
    settings = ("trainer.steps=1", "trainer.evaluate_every=0", "data.path=data", "data.validation=other.tsv")
    launch(FAMILY.config(trained / "cache", *settings), tmp_path / "run", quiet=True)
    assert evaluate_run(tmp_path / "run", "validation", ["seed=7"]).evaluation.scores


@pytest.mark.parametrize("figures", ["calibration", "attention"])
@pytest.mark.parametrize("setting", ["seed=7", "data.validation_share=0.4"])
def test_figures_of_validation_have_no_examples_of_training(project, trained, monkeypatch, capsys, setting, figures):
    monkeypatch.chdir(trained)
    assert main(["inspect", str(project / "run"), setting, "--figures", figures, "--format", "none"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{setting.split('=')[0]}: with another value, the validation split has other examples" in error


@pytest.mark.parametrize("setting", ["seed=7", "data.validation_share=0.4"])
def test_figures_of_the_user_s_inputs_need_no_split(project, trained, monkeypatch, capsys, setting):
    monkeypatch.chdir(trained)
    assert main(["inspect", str(project / "run"), setting, "a good film", "--format", "none"]) == 0
    assert "other examples" not in capsys.readouterr().err


def test_data_is_found_from_any_folder(project, trained):
    report = evaluate_run(project / "run")
    assert report.path == project / "run" / "evaluation" / "test.json"
    saved = record(report.path)
    assert saved["data"] == str(trained / "data" / "test.tsv") and saved["settings"] == []


def test_a_relative_path_of_a_command_is_of_the_current_folder(project, trained):
    (project / "elsewhere" / "data").mkdir()
    shutil.copy(trained / "other.tsv", project / "elsewhere" / "mine.tsv")
    report = evaluate_run(project / "run", overrides=["data.test=mine.tsv"])
    assert record(report.path)["data"].endswith("mine.tsv")
    shutil.copy(trained / "other.tsv", project / "elsewhere" / "data" / "test.tsv")
    report = evaluate_run(project / "run", overrides=["data.path=data"])
    assert record(report.path)["data"] == "data/test.tsv"


def test_other_data_checkpoints_and_settings_have_files_of_their_own(project, trained):
    run = project / "run"
    scores = evaluate_run(run).path.read_bytes()
    reports = [
        evaluate_run(run, overrides=[f"data.test={trained / 'other.tsv'}"]),
        evaluate_run(run, checkpoint="step-00000002" if record(run / "result.json")["step"] == 4 else "latest"),
        evaluate_run(run, overrides=["trainer.on_bad_sample=skip"]),
        evaluate_run(run, overrides=["seed=5"]),
    ]
    paths = [report.path for report in reports]
    assert len({*paths, run / "evaluation" / "test.json"}) == 5
    assert (run / "evaluation" / "test.json").read_bytes() == scores
    assert paths[0].name.startswith("test-other.tsv-") and paths[1].name.startswith("test-step-0000000")
    assert record(paths[0])["data"] == str(trained / "other.tsv")
    assert record(paths[0])["settings"] == [f'data.test: "" -> {trained / "other.tsv"}']
    assert record(paths[0])["data_sha256"] != json.loads(scores)["data_sha256"]
    assert record(paths[1])["checkpoint"] != json.loads(scores)["checkpoint"]
    again = evaluate_run(run, overrides=[f"data.test={trained / 'other.tsv'}"])
    assert again.path == paths[0]
    assert evaluate_run(run, overrides=["trainer.threads=1"]).path == run / "evaluation" / "test.json"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_scores_are_shown_where_they_cannot_be_saved(project, monkeypatch, capsys, code):
    def refused(path, content):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(evaluate, "replace_file", refused)
    assert main(["evaluate", str(project / "run"), "--json"]) == (0 if code != errno.ENOSPC else 1)
    out, err = capsys.readouterr()
    assert json.loads(out)["path"] is None and json.loads(out)["scores"]
    assert "not saved: " in err and str(project / "run" / "evaluation") in err


def test_the_checkpoint_may_go_while_it_is_scored(project, monkeypatch):
    """A run in progress removes old checkpoints."""
    run = project / "run"
    real = evaluate.open_run

    def opened(*arguments, **more):
        result = real(*arguments, **more)
        shutil.rmtree(result.checkpoint)
        return result

    monkeypatch.setattr(evaluate, "open_run", opened)
    report = evaluate_run(run, checkpoint="step-00000002")
    assert len(record(report.path)["checkpoint_sha256"]) == 64


def test_scores_that_are_not_finite_are_an_error(project, monkeypatch):
    from tformer_cli.evaluators.text_classification import TextClassificationEvaluator

    real = TextClassificationEvaluator.evaluate

    def spoilt(self, *arguments):
        evaluation = real(self, *arguments)
        evaluation.scores["loss"] = float("nan")
        return evaluation

    monkeypatch.setattr(TextClassificationEvaluator, "evaluate", spoilt)
    with pytest.raises(RunError, match="loss on test is not finite"):
        evaluate_run(project / "run")
    assert not (project / "run" / "evaluation").exists()


@pytest.mark.parametrize("name", ["family", "translation"])
def test_a_mistyped_test_split_is_found_before_training(tmp_path, monkeypatch, name):
    if name == "family":
        config = FAMILY.config(tmp_path, "data.test=tets")
    else:
        for end, text in (("en", "a\n"), ("ja", "b\n")):
            for split in ("train", "val"):
                (tmp_path / f"{split}.{end}").write_text(text * 200)
        translation = family_named("translation")
        config = translation.config(
            tmp_path, "data.source=files", "data.size=0", f"data.path={tmp_path}", "data.test=tets"
        )
    with pytest.raises(DataError, match="tets"):
        launch(config, tmp_path / "run", quiet=True)


def test_a_checkpoint_has_no_other_checkpoints(project):
    folder = project / "run" / "checkpoints" / "step-00000002"
    assert evaluate_run(folder, checkpoint="step-00000002").evaluation.scores
    with pytest.raises(RunError, match="step-00000002 is a checkpoint itself: leave out --checkpoint latest"):
        evaluate_run(folder, checkpoint="latest")


def test_a_checkpoint_named_directly_is_that_of_its_run(project):
    run = project / "run"
    best, texts = locate(run)[1].name, ["a good film", "what a bore"]
    for name in ("step-00000002", "step-00000004"):
        folder = run / "checkpoints" / name
        report = evaluate_run(folder)
        assert report.path == evaluate_run(run, checkpoint=name).path
        assert report.path.parent == run / "evaluation" and (report.path.name == "test.json") is (name == best)
        assert record(report.path)["checkpoint"] == name
        assert load(folder).predict(texts) == load(run, checkpoint=name).predict(texts)


def test_a_checkpoint_outside_of_a_run_is_evaluated_in_its_own_folder(project):
    name = next(name for name in ("step-00000002", "step-00000004") if locate(project / "run")[1].name != name)
    copy = project / "copy" / name
    shutil.copytree(project / "run" / "checkpoints" / name, copy)
    scores = evaluate_run(project / "run", checkpoint=name).evaluation.scores
    for _ in range(2):  # the record in the folder is no damage
        report = evaluate_run(copy)
        assert report.path == copy / "evaluation" / "test.json" and report.evaluation.scores == scores
