"""The laboratory trains what is missing, refuses what does not fit, and its page holds the results of its files."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from laboratory import __main__ as laboratory
from laboratory import report
from laboratory.experiment import Experiment, Outcome, Scale, Table, Training, seeded
from laboratory.runs import Spread
from laboratory.trainings import LOCAL, jobs_of, needs, train
from tformer_cli.config.compose import compose, to_yaml
from tformer_cli.draw import Bars
from tformer_cli.errors import DataError, RunError
from tformer_cli.runs.folder import CONFIG, RESULT

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.glob("lineage*.md"))
RESULTS = sorted((DOCS / "lineage").glob("*.json"))
DATA = Path(laboratory.arguments([]).data)
NAMES = laboratory.names()
SMALL = ("trainer.steps=2", "data.batch_images=8", "model.dim=8", "model.ffn_dim=8", "model.depth=1", "trainer.ema=0")


def scores(runs):
    """Measure the loss of each run."""
    rows = [(name, f"{runs.spread(name, 'loss').mean:.4f}") for name in runs.groups]
    return Outcome([Table(("run", "loss"), rows)], Bars(["a"], [1.0]))


SAMPLE = Experiment(
    title="A sample",
    claim="a claim",
    source="a source",
    budget="two steps",
    trainings=seeded([Training("digits", "quickstart/vit", SMALL)], (1, 2)),
    measure=scores,
    quick=("trainer.log_every=1",),
)


@pytest.mark.parametrize("scale", Scale)
@pytest.mark.parametrize("name", NAMES)
def test_the_settings_of_each_training_are_valid(name, scale, tmp_path):
    experiment = laboratory.experiment_of(name)
    jobs = jobs_of(experiment, scale, tmp_path, tmp_path)
    names = {job.training.name for job in jobs}
    for job in jobs:
        assert needs(job) <= {"data", *names}
        compose(job.training.recipe, job.settings, complete=not job.training.start)


@pytest.mark.parametrize("name", NAMES)
def test_each_experiment_has_a_place_in_each_page(name):
    assert PAGES
    for page in PAGES:
        assert page.read_text(encoding="utf-8").count(f"<!-- results: {name} -->\n") == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_results_in_a_page_are_those_of_the_files(page):
    contents = {path.stem: json.loads(path.read_bytes()) for path in RESULTS}
    assert set(contents) <= set(NAMES)
    text = page.read_text(encoding="utf-8")
    assert report.fill(text, contents) == text
    for name, content in contents.items():
        assert content["scale"] == "full" and (DOCS / "lineage" / f"{name}.svg").is_file() == bool(
            content.get("figure")
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_what_a_page_says_of_results_has_numbers_of_the_tables(path, page):
    """An outcome stands below each result, and its decimal numbers are in the tables or in the budget."""
    _, _, after = page.read_text(encoding="utf-8").partition(f"<!-- results: {path.stem} -->")
    tables, _, below = after.partition("<!-- end -->")
    outcome = re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0].strip()
    assert outcome.startswith(("**Outcome.** ", "**結果。**"))
    decimals = r"\d+\.\d+"
    assert set(re.findall(decimals, outcome)) <= set(re.findall(decimals, tables))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_are_those_of_the_trainings_of_today(path):
    """Whoever changes the settings of an experiment runs it again, and publishes its results."""
    experiment, content = laboratory.experiment_of(path.stem), json.loads(path.read_bytes())
    assert content["budget"] == experiment.budget and content["title"] == experiment.title
    assert {name: tuple(run["settings"]) for name, run in content["runs"].items()} == {
        training.name: tuple(setting for setting in training.settings if not setting.startswith(LOCAL))
        for training in experiment.trainings
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_experiment_runs(name, tmp_path):
    experiment = laboratory.experiment_of(name)
    if experiment.data and not (DATA / experiment.data / experiment.file).exists():
        pytest.skip(f"{experiment.data} is not here")
    result = json.loads(laboratory.run(experiment, name, Scale.tiny, tmp_path, DATA, 2).read_bytes())
    assert result["tables"] and all(table["rows"] for table in result["tables"])


def test_a_result_names_the_code_of_all_modules_that_it_needs(tmp_path, monkeypatch):
    files = {"laboratory.first": "from laboratory.second import x\nimport json\n", "laboratory.second": "x = 1\n"}
    for name, source in files.items():
        (tmp_path / name).write_text(source)
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__file__=str(tmp_path / name)))
    before = laboratory.code_hash("laboratory.first")
    assert laboratory.code_hash("laboratory.first") == before != laboratory.code_hash("laboratory.second")
    (tmp_path / "laboratory.second").write_text("x = 2\n")
    assert laboratory.code_hash("laboratory.first") != before


def test_an_experiment_is_trained_and_measured_once(tmp_path, capsys):
    first = laboratory.run(SAMPLE, "sample", Scale.quick, tmp_path, DATA, 2)
    content = json.loads(first.read_bytes())
    assert content["tables"][0]["rows"] and list(content["runs"]) == ["digits-1"]
    assert content["runs"]["digits-1"]["settings"][-2:] == ["seed=1", "trainer.log_every=1"]
    assert [training.name for training in SAMPLE.scaled(Scale.full)] == ["digits-1", "digits-2"]
    assert (tmp_path / "sample" / "figure.svg").read_bytes().startswith(b"<svg")
    printed = capsys.readouterr().out
    assert printed.count("trained ") == 1 and "| digits |" in printed
    assert laboratory.run(SAMPLE, "sample", Scale.quick, tmp_path, DATA, 2) == first
    assert "trained " not in (printed := capsys.readouterr().out) and "measured before" in printed
    with pytest.raises(
        RunError, match=r"digits-1: a run with other settings: trainer.log_every: 1 -> 50: remove it, or"
    ):
        laboratory.run(SAMPLE, "sample", Scale.full, tmp_path, DATA, 2)
    _publish(tmp_path)


def _publish(folder: Path) -> None:
    """Results of little training are not published, others are, in their place in the page."""
    docs = folder / "docs"
    (docs / "lineage").mkdir(parents=True)
    (docs / "lineage.md").write_text("before\n<!-- results: sample -->\nold\n<!-- end -->\nafter\n")
    with pytest.raises(DataError, match=r"result.json: of quick trainings: make lineage EXPERIMENT=sample"):
        report.publish({"sample": SAMPLE}, folder, docs)
    result = folder / "sample" / report.RESULT
    result.write_text(json.dumps(json.loads(result.read_bytes()) | {"scale": "full"}))
    report.publish({"sample": SAMPLE}, folder, docs)
    page = (docs / "lineage.md").read_text()
    assert page.startswith("before\n<!-- results: sample -->\n\n![A sample](lineage/sample.svg)\n\n| run | loss |")
    assert "\n\nEach model: two steps. Data: built-in sentences in English and Japanese.\n\nAll trainings: a" in page
    assert page.endswith("<!-- end -->\nafter\n") and "old" not in page
    with pytest.raises(DataError, match="the page has no place for other"):
        report.fill(page, {"other": json.loads((docs / "lineage" / "sample.json").read_bytes())})


def test_a_run_that_starts_from_another_is_compared_with_the_settings_that_it_names(tmp_path):
    tuned = Training("tuned", "quickstart/vit", ("optim.lr=0.001",), start="base")
    experiment = replace(SAMPLE, trainings=[Training("base", "quickstart/vit"), tuned])
    saved = compose("quickstart/vit", ["optim.lr=0.001", "data.mean=[0.25]"])  # data.mean is that of the other run
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / CONFIG).write_text(to_yaml(saved))
    assert len(jobs_of(experiment, Scale.full, tmp_path, None)) == 2
    other = replace(experiment, trainings=[experiment.trainings[0], replace(tuned, settings=("optim.lr=0.002",))])
    with pytest.raises(RunError, match=r"tuned: a run with other settings: optim.lr: 0.001 -> 0.002: remove it"):
        jobs_of(other, Scale.full, tmp_path, None)


def test_a_training_that_fails_ends_the_experiment_with_its_error(tmp_path):
    broken = replace(SAMPLE, trainings=[replace(SAMPLE.trainings[0], settings=(*SMALL, "data.path=nowhere"))])
    with pytest.raises(RunError, match=r"digits-1: no built-in data .* called 'nowhere': .*: see .*digits-1.log"):
        train(jobs_of(broken, Scale.full, tmp_path, None), 1, lambda _: None)


def test_a_student_learns_from_the_translations_of_its_teacher(tmp_path):
    teacher = Training("teacher", "quickstart/translation")
    languages = ("data.source_language=en", "data.target_language=ja", "tokenizer.path={teacher-1}")
    student = Training("student", "translation/levenshtein", languages, teacher="teacher")
    experiment = replace(SAMPLE, trainings=seeded([teacher, student], (1,)), quick=())
    first, second = jobs_of(experiment, Scale.full, tmp_path, None)
    paths = {job.training.name: job.run for job in (first, second)}
    assert [command[0] for command in first.commands(paths)] == ["pretrain"]
    distilled, trained = second.commands(paths)
    assert distilled[:2] == ["distill", str(first.run)] and distilled[-2] == str(second.text)
    assert trained[0] == "pretrain" and {f"data.path={second.text}", f"tokenizer.path={first.run}"} <= set(trained)
    assert needs(second) == {"teacher-1"} and needs(first) == set()


def test_a_run_that_is_older_than_the_one_it_starts_from_is_refused(tmp_path):
    base, tuned = Training("base", "quickstart/vit", SMALL), Training("tuned", "quickstart/vit", SMALL, start="base")
    experiment = replace(SAMPLE, trainings=(base, tuned))
    results = [job.run / RESULT for job in jobs_of(experiment, Scale.full, tmp_path, None)]
    for seconds, result in enumerate(results):
        result.parent.mkdir()
        result.write_text("{}")
        os.utime(result, (seconds, seconds))
    jobs_of(experiment, Scale.full, tmp_path, None)
    os.utime(results[0], (9, 9))
    cause = f"{tmp_path}/tuned: {tmp_path}/base, which it needs, was trained after it: remove {tmp_path}/tuned"
    with pytest.raises(RunError, match=re.escape(cause)):
        jobs_of(experiment, Scale.full, tmp_path, None)


def test_an_unknown_experiment_is_answered_with_the_list(capsys):
    assert laboratory.main(["lenght"]) == 2
    message = "error: there is no experiment 'lenght': did you mean length? choose from "
    assert capsys.readouterr().err.startswith(message)


def test_missing_data_is_one_line_and_other_experiments_still_run(tmp_path, capsys, monkeypatch):
    needy = replace(SAMPLE, data="multi30k", file="train.en")
    options = ["--data", str(tmp_path / "none"), "--folder", str(tmp_path), "--quick"]
    monkeypatch.setattr(laboratory, "experiment_of", lambda name: needy)
    assert laboratory.main(["needy", *options]) == 1
    cause = f"{tmp_path}/none/multi30k: no train.en, which is the data of this experiment"
    assert capsys.readouterr().err.startswith(f"error: {cause}: download it")
    monkeypatch.setattr(
        laboratory, "experiment_of", lambda name: replace(SAMPLE, trainings=()) if name == "b" else needy
    )
    assert laboratory.main(["a", "b", *options]) == 1
    printed = capsys.readouterr().out
    assert f"left out: {cause}" in printed and f"results: {tmp_path}/b/result.json" in printed


def test_the_spread_of_seeds():
    assert Spread([1.0]).text() == "1.0" and Spread([1.0, 2.0, 6.0]).text(2) == "3.00 (1.00 to 6.00)"
    assert Spread([3.0, 1.0]).ends == (1.0, 3.0)
