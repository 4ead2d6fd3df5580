"""Properties of every family that figures rely on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.properties.families import family_named
from tformer_cli.cli.inspect_inputs import exact_decoding
from tformer_cli.config.schema import AttentionKind
from tformer_cli.data.core.media_sources import Row
from tformer_cli.decode.search import Hypothesis
from tformer_cli.draw import svg
from tformer_cli.figures import attention, distance, heads, looks, rollout
from tformer_cli.figures.base import Subject
from tformer_cli.figures.page import plain
from tformer_cli.predictors.base import Prediction

TOLERANCE = 1e-5
LONG = " ".join(["The cat eats"] * 400)


@pytest.fixture
def subject(family, tmp_path):
    task = family.task(tmp_path)
    torch.manual_seed(0)
    model = task.model().eval()
    for parameter in model.parameters():  # heads may start at zero, where nothing depends on the input
        parameter.data += 0.02 * torch.randn_like(parameter)
    return Subject(model, task.inspector, task.inspector.of_split(model, "validation", 2))


def test_each_position_of_attention_has_a_name_and_each_row_sums_to_one(subject):
    assert len(subject.examples) == 2
    for example in subject.examples:
        assert example.name
        for layer, weights in subject.weights(example):
            assert np.isfinite(weights).all()
            assert np.allclose(weights.sum(-1), 1, atol=TOLERANCE)
            axes = example.axes(layer.kind)
            if axes is None:  # the layers of a generator of images have maps of several sizes
                assert example.image is not None
                continue
            queries, keys = axes
            assert weights.shape == (layer.heads, len(queries), len(keys))
            if layer.kind is AttentionKind.cross:
                assert len(example.outputs) == len(queries)


def test_figures_of_attention_are_drawn_for_each_family_that_has_them(subject):
    for module in (attention, looks, rollout, distance, heads):
        kind, names = module.KIND, set()
        reason = kind.missing(subject)
        figures = [] if reason else list(kind.draw(subject))
        assert bool(figures) != bool(reason)
        for figure in figures:
            assert svg(figure.picture).startswith("<svg") and figure.name not in names
            names.add(figure.name)
            json.dumps(plain(figure.numbers), allow_nan=False)
        assert bool(kind.widget(subject).html) == (module is attention and not reason)


@pytest.mark.parametrize(
    ("name", "long"),
    [
        ("translation", LONG),
        ("editing", [LONG, LONG]),
        ("bert", f"<mask> {LONG}"),
        ("bert", f"{LONG} <mask>"),
        ("token tagging", LONG.split()),
        ("question answering", [LONG, "Ann lives in Oslo."]),
        ("gpt", LONG),
        ("text classification", LONG),
    ],
)
def test_a_long_text_of_a_split_is_cut_and_predicted_from_what_remains(name, long, tmp_path, monkeypatch):
    task = family_named(name).task(tmp_path)
    model, inspector = task.model().eval(), task.inspector
    monkeypatch.setattr(inspector, "texts", lambda split, count: [long])
    (example,) = inspector.of_split(model, "validation", 1)
    assert example.axes(AttentionKind.encoder) or example.axes(AttentionKind.decoder)
    assert len(example.encoder or example.decoder) <= inspector.config.model.max_length + 1
    if name == "bert":
        assert bool(example.answer) == long.startswith("<mask>")  # the other mask is cut off
    (reading,) = inspector.readings(model, [long])
    assert len(reading.encoder or reading.decoder) == len(example.encoder or example.decoder)


@pytest.mark.parametrize("name", ["translation", "captions", "conformer", "speech translation"])
def test_the_tokens_of_a_generated_text_are_those_of_the_search(name, tmp_path, monkeypatch):
    """A text that is encoded again may have other tokens, for example if it has an unknown character."""
    task = family_named(name).task(tmp_path)
    tokenizer, language = task.data.tokenizer, task.data.target_language
    ids = [tokenizer.vocab_size - 1, tokenizer.unk_id, tokenizer.vocab_size - 1]
    assert list(tokenizer.encode(tokenizer.decode(ids, language), language)) != ids
    for module in ("generation", "transcription"):
        result = [[Hypothesis(ids, 0.0, 0.0, True)]]
        monkeypatch.setattr(f"tformer_cli.predictors.{module}.search", lambda *_, result=result, **more: result)
    (example,) = task.inspector.of_split(task.model().eval(), "validation", 1)
    assert list(example.outputs) == list(tokenizer.names([*ids, tokenizer.eos_id], language))
    assert len(example.decoder) == len(ids) + 1


def test_an_editor_translates_the_source_from_the_draft(tmp_path, monkeypatch):
    task = family_named("editing").task(tmp_path)
    model, predictor, rows = task.model().eval(), task.inspector.predictor, []
    monkeypatch.setattr(type(predictor), "_edit", lambda self, model, batch: rows.extend(batch) or [Prediction("猫")])
    (example,) = task.inspector.examples(model, [["The cat eats.", "猫"]])
    ((source, draft),) = rows
    assert predictor.tokenizer.decode(source, "en") == "The cat eats."
    assert predictor.tokenizer.decode(draft, "ja") == "猫"
    assert example.name == "The cat eats. | 猫" and example.answer == "猫"


def test_utterances_of_several_recordings_are_examples(tmp_path):
    task = family_named("conformer").task(tmp_path, "data.join_low=2", "data.join_high=3")
    examples = task.inspector.of_split(task.model().eval(), "validation", 99)
    assert 2 <= len(examples) < len(task.data.split("validation"))
    assert all(" + " in example.name for example in examples[:-1])


@pytest.mark.parametrize("name", ["vit", "conformer"])
def test_rows_of_tables_are_examples_by_their_content(name, tmp_path):
    family = family_named(name)
    task, path = family.task(tmp_path), Path(family.inputs[0])
    model = task.model().eval()
    of_file, of_row = task.inspector.examples(model, [str(path), Row(f"a table/{path.name}", None, path.read_bytes())])
    assert of_file.name == of_row.name == path.name
    for values in ("image", "features"):
        np.testing.assert_array_equal(getattr(of_file, values), getattr(of_row, values))


def test_positions_with_a_place_are_those_of_the_grid(subject):
    for example in subject.examples:
        for axis in (example.encoder, example.decoder):
            if axis is not None and axis.grid is not None:
                assert axis.placed.sum() == axis.grid[0] * axis.grid[1]
                corner = np.nanmax(axis.coordinates, 0) + np.nanmin(axis.coordinates, 0)
                assert corner == pytest.approx(example.image.shape[:2])


def test_a_score_to_explain_is_that_of_the_model_and_has_gradients(subject):
    for example in subject.examples:
        if example.explained is None:
            continue
        explained = example.explained()
        vectors = explained.vectors[None].clone().requires_grad_()
        score = explained.score(vectors)
        score.sum().backward()
        assert vectors.grad is not None and vectors.grad.abs().sum() > 0
        several = explained.score(torch.cat((vectors, vectors, vectors * 2)).detach())
        assert several.shape == (3,)
        torch.testing.assert_close(several[:2], score.detach().expand(2), rtol=1e-4, atol=1e-5)


def test_the_last_layer_seen_through_the_lens_is_the_output(subject):
    lens = subject.inspector.lens(subject.model)
    if lens is None:
        return
    for example in subject.examples:
        states = subject.states(example, lens.stack)
        axis = example.decoder if lens.of_decoder else example.encoder
        assert states.shape[:2] == (len(lens.stack.blocks) + 1, len(axis))
        with torch.inference_mode():
            logits, outputs = lens.logits(states[-1]), example.run()
            expected = subject.model.logits(outputs if lens.of_decoder else subject.model.head(outputs))[0]
        torch.testing.assert_close(logits, expected.float(), rtol=1e-4, atol=1e-5)
        assert logits.std() > 0 and (lens.logits(states[0]) - logits).abs().max() > 1e-3
        assert len(lens.pieces(logits.argmax(-1).tolist())) == len(axis)


def test_a_run_of_any_task_is_opened_with_exact_decoding(family, tmp_path):
    settings = exact_decoding(family.config(tmp_path))
    config = family.config(tmp_path, *settings)
    assert not settings or config.decode.precision.name == "fp32"
