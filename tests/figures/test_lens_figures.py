"""The logit lens of small models of several families: what is drawn is what the layers say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.properties.families import family_named
from tformer_cli.draw import layout
from tformer_cli.draw.drawing import Text
from tformer_cli.figures.base import Subject
from tformer_cli.figures.lens import KIND, MAX_POSITIONS

OUTPUTS = {
    "gpt": lambda model, output: model.logits(output),
    "bert": lambda model, output: model.logits(model.head(output)),
    "translation": lambda model, output: model.logits(output),
    "captions": lambda model, output: model.logits(output),
    "conformer": lambda model, output: model.logits(output),
}
"""Families, and the logits of a model given what `Example.run` returns."""


def subject_of(name: str, folder, *settings: str, count: int = 1) -> Subject:
    """Return a small random model with examples."""
    task = family_named(name).task(folder, *settings)
    torch.manual_seed(3)
    model = task.model().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Subject(model, task.inspector, task.inspector.of_split(model, "validation", count))


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_last_layer_is_what_the_model_puts_out(name, tmp_path):
    subject = subject_of(name, tmp_path)
    table, curves = KIND.draw(subject)
    (example,) = subject.examples
    with torch.inference_mode():
        output = example.run()
        output = getattr(output, "states", output)
        probabilities = OUTPUTS[name](subject.model, output)[0].float().softmax(-1)
    best, ids = probabilities.max(-1)
    np.testing.assert_allclose(table.numbers["probabilities"][-1], best, atol=1e-5)
    np.testing.assert_allclose(curves.numbers["probabilities"][-1], best, atol=1e-5)
    pieces = subject.inspector.lens(subject.model).pieces(ids.tolist())
    assert curves.numbers["final"] == list(pieces)
    assert curves.numbers["agreement"][-1] == 1 and (curves.numbers["ranks"][-1] == 1).all()
    assert curves.numbers["divergences"][-1] == pytest.approx(0, abs=1e-5)


def test_earlier_layers_are_the_heads_outputs_of_their_states(tmp_path):
    subject = subject_of("gpt", tmp_path, "model.depth=3")
    table, curves = KIND.draw(subject)
    (example,), model = subject.examples, subject.model
    states = subject.states(example, model.stack)
    assert table.numbers["layers"] == curves.numbers["layers"] == [0, 1, 2, 3] and len(states) == 4
    for layer, state in enumerate(states):
        with torch.inference_mode():
            probabilities = model.logits(model.stack.norm(state)).softmax(-1)
        np.testing.assert_allclose(table.numbers["probabilities"][layer], probabilities.amax(-1), atol=1e-5)
        best = subject.inspector.lens(model).pieces(probabilities.argmax(-1).tolist())
        assert table.numbers["best"][layer] == [piece.replace("\u2581", " ").strip() or piece for piece in best]
        mean = curves.numbers["probabilities"][layer].mean()
        assert curves.numbers["mean_probability"][layer] == pytest.approx(mean)


def test_the_table_has_a_row_for_each_token_and_a_column_for_each_layer(tmp_path):
    subject = subject_of("gpt", tmp_path, "model.depth=2")
    table = next(iter(KIND.draw(subject)))
    picture = table.picture
    assert picture.values.shape == (len(subject.examples[0].decoder), 3)
    assert picture.columns == ["embedding", "1", "2"]
    names = [name.replace("\u2581", " ").strip() or name for name in subject.examples[0].decoder.names]
    assert picture.rows == table.numbers["positions"] == names
    drawn = [shape.text for shape in layout(picture).shapes if isinstance(shape, Text)]
    assert drawn.count(picture.texts[0][0]) >= 1
    assert sum(map(len, picture.texts)) == picture.values.size


def test_a_long_text_is_cut_and_the_caption_says_so(tmp_path):
    subject = subject_of("gpt", tmp_path, "model.max_length=100")
    task_inspector = subject.inspector
    subject.examples = task_inspector.examples(subject.model, ["def main(): " * 12])
    assert len(subject.examples[0].decoder) > MAX_POSITIONS
    table = next(iter(KIND.draw(subject)))
    assert table.picture.values.shape[0] == MAX_POSITIONS and "are drawn" in table.caption
    assert table.numbers["probabilities"].shape[1] == len(subject.examples[0].decoder)


@pytest.mark.parametrize("name", ["vit", "recurrent translation", "text classification"])
def test_a_model_without_layers_that_predict_tokens_has_no_lens(name, tmp_path):
    assert "no stack of blocks that predicts tokens" in KIND.missing(subject_of(name, tmp_path))
