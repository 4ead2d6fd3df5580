"""The table of predictions has a row for each example, and the scores follow from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tests.properties.families import FAMILIES, family_named
from tformer_cli import tasks
from tformer_cli.cli.evaluate import _check as check
from tformer_cli.errors import ConfigError, RunError
from tformer_cli.evaluators.base import Scoring

LISTED = {
    "translation": ["source", "reference", "prediction", "score"],
    "recurrent translation": ["source", "reference", "prediction", "score"],
    "editing": ["source", "reference", "prediction", "rounds"],
    "text classification": ["text", "reference", "prediction", "probability", "probabilities"],
    "recurrent classification": ["text", "reference", "prediction", "probability", "probabilities"],
    "token tagging": ["tokens", "reference", "prediction", "probabilities"],
    "question answering": ["id", "question", "context", "reference", "prediction", "score"],
    "vit": ["picture", "reference", "prediction", "probability", "probabilities"],
    "conformer": ["recording", "reference", "prediction", "confidence", "wer"],
    "captions": ["file", "reference", "prediction", "score"],
    "speech translation": ["file", "reference", "prediction", "score"],
}


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.name in LISTED], ids=lambda family: family.name)
def test_a_row_for_each_example(family, tmp_path):
    task = family.task(tmp_path)
    with torch.inference_mode():
        evaluation = task.evaluate(task.model().eval(), "validation", Scoring(predictions=True))
    rows = evaluation.predictions
    assert len(rows) == len(task.data.split("validation"))
    assert all(list(row) == LISTED[family.name] for row in rows)
    json.dumps(rows)
    right = 100 * sum(row["reference"] == row["prediction"] for row in rows) / len(rows)
    if "accuracy" in evaluation.scores:
        assert evaluation.scores["accuracy"] == pytest.approx(right)
    if family.name.endswith("translation"):
        assert evaluation.scores["exact_match"] == pytest.approx(right)
    if family.name == "token tagging":
        words = [(a, b) for row in rows for a, b in zip(row["reference"], row["prediction"], strict=True)]
        share = 100 * sum(a == b for a, b in words) / len(words)
        assert evaluation.scores["tag_accuracy"] == pytest.approx(share)
    if "probability" in LISTED[family.name]:
        assert all(row["probability"] == max(row["probabilities"].values()) for row in rows)


@pytest.mark.parametrize(("target", "kinds"), [("number", (float, float)), ("labels", (list, list))])
def test_numbers_and_several_labels(target, kinds, tmp_path):
    family = family_named("text classification")
    data = tmp_path / "train.tsv"
    rows = [f"a film {n}\t{n % 3}{',1' if target == 'labels' else ''}" for n in range(30)]
    data.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    task = family.task(tmp_path, f"data.path={data}", f"data.target={target}", "tokenizer.vocab_size=20")
    with torch.inference_mode():
        evaluation = task.evaluate(task.model().eval(), "validation", Scoring(predictions=True))
    assert [type(evaluation.predictions[0][name]) for name in ("reference", "prediction")] == list(kinds)


def test_numbers_are_those_of_the_data(tmp_path):
    family = family_named("text classification")
    data = tmp_path / "train.tsv"
    data.write_text("text\tlabel\n" + "".join(f"a film {n}\t{n / 10}\n" for n in range(30)))
    task = family.task(tmp_path, f"data.path={data}", "data.target=number", "tokenizer.vocab_size=20")
    with torch.inference_mode():
        rows = task.evaluate(task.model().eval(), "train", Scoring(predictions=True)).predictions
    written = {str(row["reference"]) for row in rows}
    assert written and written <= {str(n / 10) for n in range(30)}  # 0.1, not 0.10000000149011612
    assert all(len(str(row["prediction"]).lstrip("-0.")) < 13 for row in rows)


def test_the_data_is_not_replaced_by_its_predictions(tmp_path):
    family = family_named("text classification")
    rows = Path(family.task(tmp_path).config.data.path).read_bytes()
    data = [tmp_path / name for name in ("train.tsv", "test.tsv", "mine.tsv")]
    for path in data:
        path.write_bytes(rows)
    alone = family.task(tmp_path, f"data.path={data[0]}")
    with_test = family.task(tmp_path, f"data.path={tmp_path}")
    for task, split, path in ((alone, "validation", data[0]), (with_test, "test", data[1])):
        with pytest.raises(RunError, match=f"{path.name}: this is the run's data: name another file"):
            check(task, split, [], predictions=path)
        check(task, split, [], predictions=data[2])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_running_text_has_no_table_of_predictions(family, tmp_path):
    task = tasks.build(family.config(tmp_path))
    if family.name in LISTED:
        check(task, "validation", [], predictions=Path("x.csv"))
        return
    with pytest.raises(ConfigError, match="--predictions has no effect on a run of"):
        check(task, "validation", [], predictions=Path("x.csv"))
    check(task, "validation", [], predictions=None)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_was_left_out_of_a_split_is_said_with_its_scores(family, tmp_path):
    task = family.task(tmp_path)
    split = task.data.split("validation")
    if not hasattr(split, "notes"):
        pytest.skip("nothing is left out of such data")
    task.data._splits["validation"] = dataclasses.replace(split, notes=("1 of 7 was left out",))
    with torch.inference_mode():
        scoring = Scoring(decoded=False, thorough=False, samples=0)
        assert "1 of 7 was left out" in task.evaluate(task.model().eval(), "validation", scoring).notes
