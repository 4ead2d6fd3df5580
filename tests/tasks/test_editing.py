"""Translation by edits, from training to `translate --draft`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.properties.families import family_named
from tests.properties.test_training import trainer_of
from tformer_cli.cli.main import main
from tformer_cli.config.compose import compose
from tformer_cli.decode.refine import Refined
from tformer_cli.errors import ConfigError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.metrics.translation import length_ratio
from tformer_cli.predictors.inputs import OnLong
from tformer_cli.train.launch import launch

EDITING = family_named("editing")
PAIRS = ["data.path=FOLDER", "data.source_language=en", "data.target_language=de"]


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory):
    """A task and a model that has learnt its four shortest sentences by heart."""
    folder = tmp_path_factory.mktemp("editing")
    settings = ("optim.lr=0.01", "optim.warmup_steps=10", "optim.label_smoothing=0", "optim.schedule=linear")
    task = EDITING.task(folder, "model.dropout=0", "model.dim=32", "model.ffn_dim=64", "trainer.steps=140", *settings)
    trainer = trainer_of(task, folder)
    trainer.model.train()
    rows = shortest(task)
    for step in range(1, 141):
        trainer.progress.step = step
        trainer.train_step([task.view("train").collate(step, rows)])
    return task, trainer.model.eval()


def shortest(task) -> np.ndarray:
    """The rows of the four shortest targets."""
    return np.argsort(task.data.tokens("train").target.lengths, kind="stable")[:4]


def sentences(task) -> tuple[list[str], list[str]]:
    split, rows = task.data.split("train"), task.data.tokens("train").sample_ids[shortest(task)]
    return [split.sources[row] for row in rows], [split.targets[row] for row in rows]


def test_a_few_sentences_are_reproduced_from_nothing(overfitted):
    task, model = overfitted
    sources, targets = sentences(task)
    predictions = list(task.predict(model, sources))
    assert [prediction.text for prediction in predictions] == targets
    assert all(2 <= prediction.details["rounds"] <= 4 for prediction in predictions)


def test_correct_drafts_stay_as_they_are_after_a_round(overfitted):
    task, model = overfitted
    sources, targets = sentences(task)
    predictions = list(task.predict(model, list(zip(sources, targets, strict=True))))
    assert [(prediction.text, prediction.details["rounds"]) for prediction in predictions] == [
        (target, 1) for target in targets
    ]


def test_an_idle_batch_adds_no_places_to_the_means_of_a_step(overfitted, tmp_path):
    task, _ = overfitted
    view, sums = task.view("train"), []
    batch, other = view.collate(0, np.arange(4)), view.collate(0, np.arange(4, 9))
    for batches in ([batch], [batch, replace(other, idle=True)]):
        trainer = trainer_of(task, tmp_path)
        trainer.model.train()
        trainer.progress.step = 1
        sums.append({name: float(value) for name, value in trainer.train_step(batches).items() if name != "seconds"})
    assert sums[1] == pytest.approx(sums[0], rel=1e-6) and sums[0]["token_loss"] > 0


def test_states_of_insertion_are_drawn_anew_each_epoch_and_fixed_in_evaluation(overfitted):
    task, _ = overfitted
    for split, changes in (("train", True), ("validation", False)):
        view = task.view(split)
        first, again, later = (view.collate(epoch, np.arange(8)) for epoch in (1, 1, 2))
        assert first.draft_lengths.tolist() == again.draft_lengths.tolist()
        assert (first.draft_lengths.tolist() != later.draft_lengths.tolist()) is changes


def test_scores_have_the_ratio_of_lengths_and_the_rounds(overfitted):
    task, model = overfitted
    evaluation = task.evaluate(model, "validation", Scoring(limit=3, samples=1, predictions=True))
    assert {"loss", "delete_loss", "placeholder_loss", "token_loss", "bleu", "length_ratio", "rounds"} <= set(
        evaluation.scores
    )
    rounds = [row["rounds"] for row in evaluation.predictions]
    assert evaluation.scores["rounds"] == sum(rounds) / 3
    parts = sum(evaluation.scores[f"{name}_loss"] for name in ("delete", "placeholder", "token"))
    assert evaluation.scores["loss"] == pytest.approx(parts)
    assert set(evaluation.predictions[0]) == {"source", "reference", "prediction", "rounds"}


def test_the_ratio_of_lengths_counts_words():
    assert length_ratio(["a b.", "c"], ["a b c d", "e f"], "13a") == 4 / 6
    assert length_ratio([""], ["a"], "13a") == 0


def test_the_picture_is_the_attention_from_the_target_with_its_marks(overfitted):
    task, model = overfitted
    picture = task.evaluator.pictures(model)["attention/cross"]
    tokens = task.data.tokens("validation")
    assert picture.values.shape == (len(tokens.target[0]) + 2, len(tokens.source[0]) + 1)
    np.testing.assert_allclose(picture.values.sum(1), 1, rtol=1e-5)


def test_the_header_says_how_the_model_translates(overfitted):
    task, _ = overfitted
    assert dict(task.describe())["editing"].endswith("decoding in up to 10 rounds")


@pytest.mark.parametrize(
    ("model", "setting", "what"),
    [
        ("levenshtein_tiny", "decode.beam=3", "decode.beam: it has no effect on a model that edits its output"),
        ("levenshtein_tiny", "decode.sample=true", "decode.sample: it has no effect on a model that edits"),
        ("transformer_tiny", "decode.iterations=3", "decode.iterations: it has no effect on a model that does not"),
        ("levenshtein_tiny", "model.max_length=300", "model.max_length: 300 tokens could need a placeholder count"),
        ("levenshtein_tiny", "data.max_length=256", "data.max_length: 256 and an end mark are more than"),
    ],
)
def test_settings_of_the_other_kind_and_too_long_targets_are_refused(model, setting, what):
    with pytest.raises(ConfigError, match="^" + what):
        compose("translation/levenshtein", [*PAIRS, f"model={model}", setting])


def test_a_model_that_generates_is_trained_as_before_in_the_same_recipe():
    config = compose("translation/levenshtein", [*PAIRS, "model=transformer_tiny"])
    assert config.model.family == "seq2seq" and config.data.max_length == 256


def test_long_drafts_are_refused_or_cut(overfitted):
    task, model = overfitted
    source, draft = sentences(task)[0][0], "犬 " * 400
    with pytest.raises(Exception, match="its draft has .* tokens, the model reads at most 255"):
        list(task.predict(model, [(source, draft)]))
    task.predictor.on_long = type(task.predictor.on_long)["cut"]
    (prediction,) = task.predict(model, [(source, draft)])
    task.predictor.on_long = type(task.predictor.on_long)["error"]
    assert prediction.details["note"].endswith("the end of the draft was not read")


def test_a_source_and_a_draft_that_are_both_cut_are_both_named(overfitted, monkeypatch):
    task, model = overfitted
    monkeypatch.setattr(task.predictor, "on_long", OnLong.cut)
    (prediction,) = task.predict(model, [("cat " * 300, "犬 " * 400)])
    note = prediction.details["note"]
    assert re.match(r"[\d,]+ tokens, its draft has [\d,]+ tokens, the model reads at most 255; ", note)
    assert note.endswith("; its end was not translated; the end of the draft was not read")


def test_an_output_at_the_length_limit_is_marked(overfitted, monkeypatch):
    task, model = overfitted
    sources, _ = sentences(task)
    assert [prediction.details["finished"] for prediction in task.predict(model, sources)] == [True] * 4
    monkeypatch.setattr(task.config.decode, "max_length", 1)
    for prediction in task.predict(model, sources):
        assert len(prediction.tokens) == 1 and prediction.details["finished"] is False


def test_an_empty_line_stays_empty_and_a_note_says_that_its_draft_was_not_read(overfitted):
    task, model = overfitted
    source, draft = (texts[0] for texts in sentences(task))
    answers = list(task.predict(model, [("", draft), ("", ""), (source, draft), " "]))
    assert [answer.text for answer in answers] == ["", "", draft, ""]
    notes = [answer.details.get("note") for answer in answers]
    assert notes == ["its draft was not read, since the line is empty", None, None, None]
    assert all(answer.details["finished"] for answer in answers)


@pytest.mark.parametrize(
    ("words", "max_length", "limit"), [(1, 0, 10), (40, 0, 80), (200, 0, 255), (40, 7, 7), (40, 256, 255)]
)
def test_outputs_are_limited_by_the_source_the_setting_and_the_model(overfitted, monkeypatch, words, max_length, limit):
    """The limit is the larger of 10 and twice the source's tokens without </s>; the model reads at most 255."""
    task, model = overfitted
    limits = []

    def refine(editor, memory, drafts, *, max_lengths, **settings) -> list[Refined]:
        limits.extend(max_lengths.tolist())
        return [Refined([], 1, finished=True)] * len(drafts)

    monkeypatch.setattr("tformer_cli.predictors.editing.refine", refine)
    monkeypatch.setattr(task.config.decode, "max_length", max_length)
    monkeypatch.setattr(task.data.tokenizer, "encode_batch", lambda texts, language: [[5] * len(t) for t in texts])
    list(task.predict(model, ["x" * words]))
    assert limits == [limit]


def test_only_models_that_edit_take_drafts_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.en").write_text("The cat eats.\nWe read.\n")
    Path("draft.ja").write_text("猫が食べる。\n\n")
    settings = ("trainer.steps=2", "trainer.evaluate_limit=1", "trainer.samples=0")
    for name in ("editing", "translation"):
        launch(family_named(name).config(tmp_path, *settings), tmp_path / name, quiet=True)
    capsys.readouterr()
    assert main(["translate", "editing", "in.en", "--draft", "draft.ja", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["input"] for row in rows] == ["The cat eats.", "We read."]
    assert all(set(row) == {"input", "text", "rounds", "finished"} and row["rounds"] >= 1 for row in rows)
    assert main(["translate", "translation", "in.en", "--draft", "draft.ja"]) == 2
    assert "error: --draft: the model of translation does not edit drafts" in capsys.readouterr().err
    assert main(["translate", "editing", "in.en", "--beam", "3"]) == 2
    message = capsys.readouterr().err
    assert "--beam has no effect on a run of translation (levenshtein): valid options: --batch" in message
    assert "decode.deletion_threshold, decode.insertion_penalty, decode.iterations" in message
    assert main(["translate", "translation", "in.en", "decode.iterations=3"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["translate", "editing", "in.en", "decode.iterations=1", "--json"]) == 0
    assert {json.loads(line)["rounds"] for line in capsys.readouterr().out.splitlines()} == {1}


def test_batch_mates_change_nothing_with_a_trained_model(overfitted):
    task, model = overfitted
    split = task.data.split("train")
    inputs = [(source, target[::-1]) for source, target in zip(split.sources[:64], split.targets[:64], strict=True)]
    together = [(answer.text, answer.details) for answer in task.predict(model, inputs)]
    alone = [next(iter(task.predict(model, [pair]))) for pair in inputs[::6]]
    assert [(answer.text, answer.details) for answer in alone] == together[::6]
    assert torch.is_grad_enabled()
