"""Comparisons: the scores of `evaluate`, on the same data only, from saved predictions where they hold."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import shutil
import weakref
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.properties.families import SENTIMENT, family_named
from tformer_cli import machine
from tformer_cli.builtin import parallel
from tformer_cli.cli.compare import show
from tformer_cli.cli.main import main
from tformer_cli.decode.shortlist import FILE
from tformer_cli.errors import ConfigError, RunError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.metrics.bands import length_bands
from tformer_cli.metrics.bootstrap import mean_of, paired_bootstrap
from tformer_cli.train.launch import launch
from tformer_cli.trained import compare, groups, scored
from tformer_cli.trained.compare import _check_examples, compare_runs
from tformer_cli.trained.evaluate import evaluate_run
from tformer_cli.trained.opening import open_run

STATISTICS = {
    "translation": {"bleu", "bleu_lowercase", "chrf", "ter", "exact_match"},
    "captions": {"bleu", "bleu_lowercase", "chrf", "ter", "exact_match"},
    "text classification": {"accuracy", "f1", "matthews"},
    "question answering": {"exact_match", "f1"},
    "vit": {"accuracy", "f1_macro", "matthews"},
    "conformer": {"wer", "cer", "sentence_errors"},
    "token tagging": set(),
}
SETTINGS = ["data.source=files", "data.path=data", "decode.beam=1", "decode.workers=1", "decode.max_length=6"]


@pytest.mark.parametrize("name", STATISTICS)
def test_scores_of_predictions_are_those_of_the_evaluation(name, tmp_path):
    task = family_named(name).task(tmp_path)
    model = task.model().eval()
    with torch.inference_mode():
        evaluation = task.evaluate(model, "validation", Scoring(predictions=True, limit=20))
    rows = json.loads(json.dumps(evaluation.predictions))
    known = {}
    for metric in evaluation.scores:
        statistic = task.evaluator.statistic(metric, rows)
        if statistic is not None:
            known[metric] = statistic(np.arange(len(rows)))
    assert set(known) == STATISTICS[name]
    assert known == pytest.approx({metric: evaluation.scores[metric] for metric in known}, abs=1e-4)
    for columns in task.evaluator.groups.values():
        assert all(isinstance(row[column], str) for row in rows for column in columns)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with two translation runs, their data, and a run that classifies texts."""
    folder, rate = tmp_path_factory.mktemp("project"), machine.product_rate
    (folder / "data").mkdir()
    pairs = parallel("en-ja", "train", size=30, seed=2)
    for language, lines in zip(("en", "ja"), zip(*pairs, strict=True), strict=True):
        for split in ("train", "test"):
            (folder / "data" / f"{split}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    machine.product_rate = lambda *_, **__: 1e9
    try:
        for name, seed in (("a", 1), ("b", 2)):
            settings = [f"seed={seed}", "trainer.evaluate_limit=4", "decode.max_length=6"]
            launch(family_named("translation").config(folder / "cache", *settings), folder / name, quiet=True)
        labels = family_named("text classification").config(folder / "cache", f"data.path={SENTIMENT}")
        launch(labels, folder / "labels", quiet=True)
    finally:
        machine.product_rate = rate
    return folder


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A current folder with copies of these runs."""
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    for name in ("a", "b", "labels", "data"):
        shutil.copytree(trained / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runs(*names: str, **options):
    return compare_runs([Path(name) for name in names], overrides=SETTINGS, say=lambda _: None, **options)


def checkpoints() -> dict[str, str]:
    paths = [path for run in ("a", "b") for path in Path(run).rglob("*") if path.is_file()]
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if "evaluation" not in path.parts
    }


def test_two_runs(project, monkeypatch):
    before = checkpoints()
    comparison = runs("a", "b", by="length")
    assert checkpoints() == before
    reports = [evaluate_run(Path(run), "test", SETTINGS) for run in ("a", "b")]
    assert [entry.score for entry in comparison.runs] == [report.evaluation.scores["bleu"] for report in reports]
    first, second = comparison.runs
    assert first.resampled and second.resampled and first.resampled.p_value is None
    assert second.resampled.p_value is not None and 0 < second.resampled.p_value <= 1
    assert first.parameters == second.parameters > 1000 and first.minutes is not None and first.minutes < 1
    assert first.examples_per_second and first.examples_per_second > 1
    assert sum(group.examples for group in comparison.groups) == 30 and len(comparison.groups) > 2
    assert comparison.data_sha256 == reports[0].evaluation.data_sha256 and not comparison.notes

    monkeypatch.setattr(compare, "evaluated", None)
    assert runs("a", "b", by="length") == comparison  # from what is saved, also after `evaluate` without predictions
    chrf = runs("b", "a", metric="chrf")
    assert chrf.metric == "chrf" and chrf.runs[1].score == reports[0].evaluation.scores["chrf"]


def scores_by_run(monkeypatch, **right: int) -> None:
    """Replace evaluations: the first examples of each run, as many as it names, have the reference as prediction."""

    def evaluated(opened, split):
        result, name = scored.evaluated(opened, split), opened.run.name
        count = right[name]
        rows = [
            {**row, "prediction": row["reference"] if number < count else ""} for number, row in enumerate(result.rows)
        ]
        scores = {**result.scores, "exact_match": 100 * count / len(rows)}
        return dataclasses.replace(result, rows=rows, scores=scores, signatures={"exact_match": f"of {name}"})

    monkeypatch.setattr(compare, "evaluated", evaluated)
    monkeypatch.setattr(compare, "_check_signatures", lambda *_: None)


def test_runs_keep_their_order_and_the_first_is_the_baseline(project, monkeypatch, capsys):
    scores_by_run(monkeypatch, a=6, b=24)
    comparison = runs("b", "a", metric="exact_match", by="length")
    assert [(entry.run, entry.score) for entry in comparison.runs] == [("b", 80), ("a", 20)]
    first, second = (entry.resampled for entry in comparison.runs)
    assert first and second and (first.score, second.score) == (80, 20)
    assert first.p_value is None and second.p_value is not None and second.p_value < 0.01
    counts = [sum(group.examples * group.scores[run] for group in comparison.groups) / 30 for run in (0, 1)]
    assert counts == pytest.approx([80, 20]) and comparison.signature == "of b"
    show(comparison)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
    assert lines[0][:2] == ["b", "80.00"] and "-60.00" not in lines[0] and "+0.00" not in lines[0]
    assert lines[1][:2] == ["a", "20.00"] and "-60.00" in lines[1]


def test_scores_of_other_versions_of_a_scorer_are_not_compared(project, monkeypatch):
    def evaluated(opened, split):
        return dataclasses.replace(scored.evaluated(opened, split), signatures={"bleu": f"version of {opened.run}"})

    monkeypatch.setattr(compare, "evaluated", evaluated)
    with pytest.raises(RunError, match="b and a are scored with different settings: version of .*b, and version of"):
        runs("a", "b")


def test_the_metric_of_the_first_run_is_compared(project, monkeypatch):
    opened = compare.open_run

    def with_metric(run, **options):
        result = opened(run, **options)
        result.task.config.trainer.metric = {"a": "chrf", "b": "ter"}[run.name]
        return result

    monkeypatch.setattr(compare, "open_run", with_metric)
    assert (runs("a", "b").metric, runs("b", "a").metric) == ("chrf", "ter")
    assert runs("b", "a", metric="bleu").metric == "bleu"


@pytest.mark.parametrize("change", ["predictions", "data", "checkpoint", "search", "shortlist"])
def test_what_is_saved_counts_only_for_the_same(project, monkeypatch, change):
    more = ["decode.shortlist=auto"] if change == "shortlist" else []
    compare_runs([Path("a"), Path("b")], overrides=[*SETTINGS, *more], say=lambda _: None)
    if change == "predictions":
        for path in Path("b/evaluation").glob("*.jsonl.gz"):
            path.write_bytes(path.read_bytes() + b"\0")
    elif change == "data":
        path = Path("data/test.en")
        path.write_text(path.read_text().replace("the", "a"))
    elif change == "checkpoint":
        manifest = next(Path("b/checkpoints").glob("*/manifest.json"))
        manifest.write_bytes(manifest.read_bytes() + b"\n")
    elif change == "search":
        more = ["decode.beam=2"]
    else:
        shorten(Path("b", FILE))
    evaluated_runs = []
    monkeypatch.setattr(
        compare, "evaluated", lambda *arguments: evaluated_runs.append(1) or scored.evaluated(*arguments)
    )
    compare_runs([Path("a"), Path("b")], overrides=[*SETTINGS, *more], say=lambda _: None)
    assert len(evaluated_runs) == {"predictions": 1, "data": 2, "checkpoint": 1, "search": 2, "shortlist": 1}[change]


def shorten(shortlist: Path) -> None:
    """Remove a frequent token from a shortlist, in its place."""
    with safe_open(shortlist, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in ("translations", "frequent")}
        metadata = file.metadata()
    save_file(tensors | {"frequent": tensors["frequent"][1:].copy()}, shortlist, metadata)


def test_what_scores_depend_on_besides_the_search_counts(project):
    runs("a", "b")
    opened = open_run(Path("a"), overrides=SETTINGS)
    assert scored.saved_evaluation(opened, "test") is not None
    other = dataclasses.replace(opened, used={"evaluation.classifier": "0" * 64})
    assert scored.saved_evaluation(other, "test") is None
    other = dataclasses.replace(opened, machine=dataclasses.replace(opened.machine, precision="bf16"))
    assert scored.saved_evaluation(other, "test") is None
    other = open_run(Path("a"), overrides=[*SETTINGS, "data.bleu_tokenizer=char"])
    assert scored.saved_evaluation(other, "test") is None


def test_speed_counts_only_for_the_same_batches(project, monkeypatch):
    first = runs("a", "b")
    monkeypatch.setattr(compare, "evaluated", None)
    comparison = compare_runs([Path("a")] * 2, overrides=[*SETTINGS, "decode.batch=1"], say=lambda _: None)
    assert [entry.examples_per_second for entry in comparison.runs] == [None, None]
    assert comparison.runs[0].score == first.runs[0].score
    speeds = [path for path in Path("a/evaluation").glob("*-speed.json")]
    assert comparison.notes == [f"no speed: {speeds[0]}: measured with another decode.batch"]


def test_runs_on_other_data_of_another_task_or_by_another_scorer_are_refused(project, capsys, monkeypatch):
    with pytest.raises(RunError, match="labels is a run of text_classification, but a is a run of translation"):
        runs("a", "labels")
    shutil.copytree("data", "other")
    path = Path("other/test.ja")
    path.write_text(path.read_text()[:-2] + "\n")
    config = next(Path("b/checkpoints").glob("*/config.yaml"))
    files = {"source: builtin": "source: files", "path: en-ja": f"path: {project / 'other'}"}
    other = config.read_text()
    for old, new in files.items():
        assert old in other
        other = other.replace(old, new)
    _replace(config, other)
    first = next(Path("a/checkpoints").glob("*/config.yaml"))
    _replace(first, other.replace("/other", "/data"))
    assert main(["compare", "a", "b"]) == 1
    message = (
        "error: b and a are scored on different data: other/test.en, other/test.ja, and data/test.en, data/test.ja"
    )
    assert (
        capsys.readouterr().err.replace(f"{project}/", "")
        == f"{message}: set the same data for all runs: data.test=FILE\n"
    )
    _replace(config, other.replace("/other", "/data").replace("bleu_tokenizer: auto", "bleu_tokenizer: 13a"))
    with monkeypatch.context() as patch:
        patch.setattr(compare, "evaluated", None)
        with pytest.raises(RunError, match="b and a are scored with different labels or settings: tok:13a, and tok:"):
            runs("a", "b")


def _replace(config: Path, text: str) -> None:
    """Write the configuration of a checkpoint, and its hash into the manifest."""
    manifest = json.loads((config.parent / "manifest.json").read_text())
    config.write_text(text)
    content = text.encode()
    manifest["files"]["config.yaml"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (config.parent / "manifest.json").write_text(json.dumps(manifest))


def test_the_command(project, capsys):
    arguments = ["compare", "a", "b", *SETTINGS, "--by", "length"]
    assert main([*arguments, "--output", "chart.svg", "-o", "chart.png"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["run", "bleu", "95", "%", "difference", "p", "parameters", "minutes", "examples/s"]
    assert [line.split()[0] for line in lines[1:3]] == ["a", "b"] and lines[4] == "bleu by length"
    assert err == "evaluating a on test\nevaluating b on test\nsaved in chart.svg\nsaved in chart.png\n"
    assert Path("chart.png").read_bytes().startswith(b"\x89PNG")
    texts = [element.text for element in ElementTree.parse("chart.svg").iter() if element.text]
    assert "bleu on test by length" in texts and any(str(text).startswith("b (") for text in texts)
    assert main([*arguments, "--json"]) == 0
    first = capsys.readouterr().out
    assert json.loads(first)["runs"][1]["resampled"]["p_value"] is not None
    assert main([*arguments, "--json"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "compare needs two runs: tformer compare RUN RUN"),
        (["a", "b", "--by", "size"], "--by: 'size' is not one of length, label, speaker"),
        (["a", "b", "--by", "label"], "--by label: the examples of translation have no label: they have: length"),
        (["a", "b", "--speaker", "x"], "--speaker has no effect without --by speaker: add it, or leave --speaker out"),
        (["a", "b", "--output", "x.pdf"], "--output x.pdf: not the name of a chart: end it with .svg or .png"),
        (["a", "b", "optim.lr=1"], "optim.lr has no effect on a trained model: leave it out, or set it for training"),
    ],
)
def test_mistakes_are_one_line(project, capsys, arguments, message):
    assert main(["compare", *arguments]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_score_that_does_not_exist_is_refused(project, monkeypatch):
    """Before anything is evaluated in full."""
    with monkeypatch.context() as patch:
        patch.setattr(compare, "evaluated", None)
        _refuse_scores()
    assert not Path("a/evaluation").exists()
    assert runs("a", "a", metric="loss").runs[1].resampled is None
    _refuse_scores()


def _refuse_scores() -> None:
    with pytest.raises(ConfigError, match=r"--metric: a has no score 'wer': scores: loss, perplexity, bleu"):
        runs("a", "b", metric="wer")
    with pytest.raises(ConfigError, match="--by length: loss cannot be computed for groups of examples"):
        runs("a", "b", metric="loss", by="length")


def test_labels_are_scored_by_label(project):
    comparison = compare_runs([Path("labels"), Path("labels")], "validation", by="label", say=lambda _: None)
    assert [group.name for group in comparison.groups] == ["negative", "positive"]
    correct = sum(group.examples * group.scores[0] for group in comparison.groups)
    assert correct / sum(group.examples for group in comparison.groups) == pytest.approx(comparison.runs[0].score)
    assert comparison.runs[1].resampled is not None and comparison.runs[1].resampled.p_value == 1


def test_groups_of_a_label_have_only_an_accuracy(project, capsys):
    assert main(["compare", "labels", "labels", "--split", "validation", "--by", "label", "--metric", "f1"]) == 2
    message = "--by label: f1 is undefined for examples of a single label: --metric accuracy"
    assert capsys.readouterr().err == f"error: {message}\n"


def test_runs_with_other_labels_are_refused(project, monkeypatch):
    shutil.copytree("labels", "more")
    opened = compare.open_run

    def with_another_label(run, **options):
        result = opened(run, **options)
        if run == Path("more"):
            names = ("negative", "neutral", "positive")
            data: Any = result.task.data
            data.labels = dataclasses.replace(data.labels, names=names)
        return result

    monkeypatch.setattr(compare, "open_run", with_another_label)
    monkeypatch.setattr(compare, "evaluated", None)
    message = (
        "more and labels are scored with different labels or settings: 3 labels: negative, neutral, positive, and 2"
    )
    with pytest.raises(RunError, match=message):
        compare_runs([Path("labels"), Path("more")], "validation", say=lambda _: None)


def test_minutes_are_those_of_the_checkpoint(project):
    opened = open_run(Path("a"), overrides=SETTINGS)
    state = json.loads((opened.checkpoint / "state.json").read_text())
    _state(opened.checkpoint, state | {"seconds": 90.0})
    Path("a/result.json").write_text(json.dumps({"minutes": 7.0}))
    assert compare._minutes(opened) == 1.5
    _state(opened.checkpoint, state | {"averaged": ["step-1"]})
    assert compare._minutes(opened) == 7
    Path("a/result.json").unlink()
    assert compare._minutes(opened) is None


def _state(checkpoint: Path, state: dict[str, object]) -> None:
    (checkpoint / "state.json").write_text(json.dumps(state))


def test_one_model_is_in_memory_at_a_time(project, monkeypatch):
    models: list[weakref.ref[object]] = []
    opened = compare.open_run

    def counted(run, **options):
        gc.collect()
        assert not any(model() for model in models)
        result = opened(run, **options)
        models.append(weakref.ref(result.model))
        return result

    monkeypatch.setattr(compare, "open_run", counted)
    runs("a", "b")
    assert len(models) == 4  # each is checked, then evaluated


def test_speakers_are_parts_of_names():
    names = ["84-1-1.flac", "84-2-1.flac", "7-1-1.flac"]
    assert groups._speakers(names, groups.SPEAKER) == ["84", "84", "7"]
    assert groups._speakers(["j.smith-1.wav"], groups.SPEAKER) == ["j.smith"]
    assert groups._speakers(["3_ann_12.wav", "3_bob_12.wav"], "_(.+)_") == ["ann", "bob"]
    with pytest.raises(ConfigError, match=r"--by speaker: the name 'ann.wav' does not match"):
        groups._speakers(["1-a.wav", "ann.wav"], groups.SPEAKER)
    for pattern in ("(", "ann"):
        with pytest.raises(ConfigError, match="is not a regular expression with a group"):
            groups._check_pattern(pattern)


def test_bands_of_lengths():
    assert length_bands([5, 1, 2, 3, 4]) == {"1": [1], "2": [2], "3": [3], "4": [4], "5": [0]}
    assert length_bands([7] * 9) == {"7": list(range(9))}
    bands = length_bands([*range(100), 50])
    assert list(bands) == ["0-20", "21-40", "41-59", "60-79", "80-99"] and sum(map(len, bands.values())) == 101
    assert all(rows == sorted(rows) for rows in bands.values())


def test_intervals_of_a_group_resample_its_examples_alone():
    values, rows = np.random.default_rng(0).random(60), np.arange(10, 40)
    values[:10] = 0
    group = groups._group("10-39", rows, [mean_of(values), mean_of(np.ones(60))])
    (expected,) = paired_bootstrap([mean_of(values[rows])], 30) or []
    assert (group.examples, group.scores) == (30, pytest.approx([100 * values[rows].mean(), 100]))
    assert group.intervals == [pytest.approx((expected.low, expected.high)), pytest.approx((100, 100))]


def test_runs_of_language_models_have_scores_without_intervals(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    launch(family_named("gpt").config(tmp_path / "cache"), tmp_path / "gpt", quiet=True)
    comparison = compare_runs([tmp_path / "gpt"] * 2, "validation", say=lambda _: None)
    assert [entry.resampled for entry in comparison.runs] == [None, None]
    assert comparison.lower_is_better and comparison.runs[0].score == comparison.runs[1].score


def test_scores_per_token_are_compared_only_with_one_tokenizer(tmp_path, monkeypatch):
    """A tokenizer with fewer pieces divides a text into more tokens, each of which is easier to predict."""
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    gpt = family_named("gpt")
    for name, size in (("a", 600), ("b", 500)):
        settings = ("trainer.steps=2", f"tokenizer.vocab_size={size}")
        launch(gpt.config(tmp_path / "cache", *settings), tmp_path / name, quiet=True)
    both = [tmp_path / "a", tmp_path / "b"]
    message = "b and .*a have different tokenizers, and loss is a mean over tokens: compare .*--metric: bits_per_byte"
    with monkeypatch.context() as patch:
        patch.setattr(compare, "evaluated", None)  # before anything is evaluated
        with pytest.raises(RunError, match=message):
            compare_runs(both, "validation", say=lambda _: None)
    comparison = compare_runs(both, "validation", metric="bits_per_byte", say=lambda _: None)
    assert len({entry.score for entry in comparison.runs}) == 2


PER_TOKEN = ("translation", "editing", "gpt", "bert", "conformer", "captions", "speech translation")


@pytest.mark.parametrize("name", PER_TOKEN)
def test_scores_without_decoding_are_per_token_except_bits_per_byte(name, tmp_path):
    task = family_named(name).task(tmp_path)
    with torch.inference_mode():
        scores = task.evaluate(task.model().eval(), "validation", Scoring(decoded=False)).scores
    assert task.evaluator.per_token == set(scores) - {"bits_per_byte"} and task.data.tokenizer.hash


def test_losses_with_different_measures_are_not_compared(tmp_path, monkeypatch):
    """With more masked tokens each is harder to predict, and next-sentence prediction adds a loss."""
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    bert = family_named("bert")
    for name, share in (("a", 0.15), ("b", 0.3), ("c", 0.15)):
        settings = ("trainer.steps=2", f"bert.share={share}", f"seed={1 + (name == 'c')}")
        launch(bert.config(tmp_path / "cache", *settings), tmp_path / name, quiet=True)
    compared = partial(compare_runs, split="validation", metric="mlm_accuracy", say=lambda _: None)
    message = "mlm_accuracy of .*b is from the .*bert.share=0.3 .*; that of .*a from the .*bert.share=0.15 .*--metric"
    with monkeypatch.context() as patch:
        patch.setattr(compare, "evaluated", None)  # before anything is evaluated
        with pytest.raises(RunError, match=message):
            compared([tmp_path / "a", tmp_path / "b"])
    assert len(compared([tmp_path / "a", tmp_path / "c"]).runs) == 2


@pytest.mark.parametrize(
    ("name", "settings", "other", "others"),
    [
        ("bert", ["bert.share=0.15"], "bert", ["bert.share=0.3"]),
        ("bert", ["bert.nsp=false"], "bert", ["bert.nsp=true"]),
        ("masked patches", ["patches.bits=3"], "masked patches", ["patches.bits=2"]),
        ("masked patches", ["model.patch_size=2"], "masked patches", ["model.patch_size=4"]),
        ("translation", [], "editing", []),
        ("conformer", ["objective.ctc_weight=0.3"], "conformer", ["objective.ctc_weight=0.5"]),
    ],
    ids=["share", "next sentences", "bits", "patches", "edits", "CTC"],
)
def test_settings_of_objectives_change_what_the_loss_measures(name, settings, other, others, tmp_path):
    first, second = family_named(name).task(tmp_path, *settings), family_named(other).task(tmp_path, *others)
    again = family_named(name).task(tmp_path, *settings, "seed=7")
    measures = [task.evaluator.objective.measure() for task in (first, second, again)]
    assert measures[0] != measures[1] and measures[0] == measures[2] and measures[0]


def test_class_weights_change_what_the_loss_measures(tmp_path):
    tasks = [family_named("vit").task(tmp_path, f"head.class_weights={weights}") for weights in ("false", "true")]
    first, second = (task.evaluator.objective.measure() for task in tasks)
    assert first == "cross-entropy of labels" and second.startswith(f"{first} with weights ")


def test_scores_of_a_models_own_networks_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    launch(family_named("sagan").config(tmp_path / "cache", "trainer.steps=2"), tmp_path / "gan", quiet=True)
    with pytest.raises(RunError, match="loss of .*gan is given by a part of the model itself.*: compare runs by anoth"):
        compare_runs([tmp_path / "gan"] * 2, "validation", metric="loss", say=lambda _: None)


def test_utterances_that_join_other_recordings_are_not_compared(project, monkeypatch):
    """The same recordings may be joined to other utterances, which have no common rows."""

    def evaluated(opened, split):
        result = scored.evaluated(opened, split)
        recording = f"{opened.run.name}.wav"
        return dataclasses.replace(result, rows=[{**row, "recording": recording} for row in result.rows])

    monkeypatch.setattr(compare, "evaluated", evaluated)
    with pytest.raises(RunError, match="b: its examples are not those of a, in the same order: give all runs"):
        runs("a", "b")

    one = [{"recording": "a.wav + b.wav"}, {"recording": "c.wav"}]
    _check_examples(["first", "second"], [one, [dict(row) for row in one]])
    for other in (one[::-1], one[:1]):
        with pytest.raises(RunError, match="second: its examples are not those of first"):
            _check_examples(["first", "second"], [one, other])
