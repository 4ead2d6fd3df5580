"""Spectrograms: marks, CTC and attention stand at their times, and the numbers are those of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.properties.families import family_named
from tformer_cli.draw import Spectrogram, Strip, layout
from tformer_cli.draw.drawing import Line, Pixels, Text
from tformer_cli.figures import kinds
from tformer_cli.figures.base import Subject
from tformer_cli.figures.spectrogram import KIND, emitted
from tformer_cli.inspectors.base import Emissions

DRAWN = ("attention", "looks", "rollout", "distance", "heads", "positions", "lens", "spectrogram")
"""Kinds of figures that need neither training nor time."""


def subject_of(name: str, folder, *settings: str) -> Subject:
    """Return a small random model with an example."""
    task = family_named(name).task(folder, *settings)
    torch.manual_seed(3)
    model = task.model().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Subject(model, task.inspector, task.inspector.of_split(model, "validation", 1))


def test_emissions_are_the_probabilities_of_the_output_layer(tmp_path):
    subject = subject_of("conformer", tmp_path)
    (figure,) = KIND.draw(subject)
    model, tokenizer = subject.model, subject.inspector.data.tokenizer
    memory = {}
    hook = model.encoder.register_forward_hook(lambda _, inputs, output: memory.update(states=output.states))
    with torch.inference_mode():
        subject.examples[0].run()
        probabilities = model.ctc(memory["states"])[0].softmax(-1).numpy()
    hook.remove()
    np.testing.assert_allclose(figure.numbers["ctc_blank"], probabilities[:, tokenizer.pad_id], atol=1e-5)
    others = np.delete(probabilities, tokenizer.pad_id, 1)
    np.testing.assert_allclose(figure.numbers["ctc_probabilities"], others.max(1), atol=1e-5)
    pieces = tokenizer.pieces([token for token in range(probabilities.shape[1]) if token != tokenizer.pad_id])
    assert figure.numbers["ctc_tokens"] == [pieces[best] for best in others.argmax(1)]


@pytest.mark.parametrize("name", ["conformer", "speech translation"])
def test_attention_has_a_row_for_each_output_token_and_a_column_for_each_frame(name, tmp_path):
    subject = subject_of(name, tmp_path)
    (figure,) = KIND.draw(subject)
    (example,) = subject.examples
    weights = figure.numbers["weights"]
    assert weights.shape == (len(example.outputs), len(example.encoder))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert figure.picture.strips[-1].values.max() == pytest.approx(1)
    assert len(figure.picture.strips) == (2 if name == "conformer" else 1)


def test_a_model_without_a_decoder_has_no_attention_over_time(tmp_path):
    subject = subject_of("conformer", tmp_path, "model.decoder_depth=0", "objective.ctc_weight=1", "decode.beam=5")
    (figure,) = KIND.draw(subject)
    assert "attention" not in figure.numbers and len(figure.picture.strips) == 1


@pytest.mark.parametrize(("weight", "title"), [(1, "CTC: best token, and blank"), (0, "mean over heads")])
def test_only_what_is_trained_is_drawn(weight, title, tmp_path):
    subject = subject_of("conformer", tmp_path, f"objective.ctc_weight={weight}", "decode.beam=5")
    (figure,) = KIND.draw(subject)
    (strip,) = figure.picture.strips
    assert title in strip.title and bool(figure.picture.marks) <= bool(weight)


def test_without_ctc_a_recogniser_has_all_figures_of_its_attention(tmp_path):
    """As many as with CTC, which adds only the strip of its tokens."""
    drawn = {}
    for weight in (0, 0.3):
        subject = subject_of("conformer", tmp_path, f"objective.ctc_weight={weight}")
        (example,) = subject.examples
        assert (example.emissions is None) == (weight == 0) and example.outputs
        available = [kind for name, kind in kinds().items() if name in DRAWN and not kind.missing(subject)]
        drawn[weight] = [figure.name for kind in available for figure in kind.draw(subject)]
    assert drawn[0] == drawn[0.3] and len(drawn[0]) > 5


def test_silence_before_a_recording_has_negative_times(tmp_path):
    subject = subject_of("conformer", tmp_path, "features.margin=30")
    (example,) = subject.examples
    hop = example.frame_seconds
    assert example.begin_seconds == pytest.approx(-30 * hop)
    first = (2 * hop + 0.025) / 2  # in the middle of the 6 hops and a window that the first output reads
    assert example.encoder.coordinates[0, 0] == pytest.approx(-30 * hop + first)
    example.words = [(0.1, "one")]
    (figure,) = KIND.draw(subject)
    assert figure.picture.marks == [(round(30 + 0.1 / hop), "one")]
    assert [strip.begin_frames for strip in figure.picture.strips] == pytest.approx(2 * [first / hop])


def test_the_best_path_merges_repetitions_and_drops_blank():
    values = np.array([0.9, 0.9, 0.1, 0.9, 0.8, 0.7])
    tokens = ["a", "a", "a", "a", "b", "\u2581"]
    assert emitted(Emissions(tokens, values, 1 - values)) == [(0, "a"), (3, "a"), (4, "b"), (5, "\u2581")]


def test_strips_stand_on_the_time_axis_of_the_spectrogram():
    strip = Strip(np.eye(2, 25), ["row", "other"], 4.0, "strip", [(3, "x"), (4, "y"), (5, "long text"), (6, "z")])
    picture = Spectrogram(np.random.default_rng(0).random((100, 10)), [(40, "w")], "", 0.01, "", -0.2, [strip])
    drawing = layout(picture)
    sound, cells = (shape for shape in drawing.shapes if isinstance(shape, Pixels))
    assert (sound.box[0], sound.box[2]) == (cells.box[0], cells.box[2]) and cells.box[1] > sound.box[3]
    texts = {shape.text: shape for shape in drawing.shapes if isinstance(shape, Text)}
    frame = (sound.box[2] - sound.box[0]) / 100
    assert texts["0 s"].place[0] == pytest.approx(sound.box[0] + 20 * frame, abs=1)
    assert texts["x"].place[0] == pytest.approx(cells.box[0] + 3.5 * 4 * frame)
    assert {"row", "other", "strip", "x", "y"} <= set(texts)
    mark = next(shape for shape in drawing.shapes if isinstance(shape, Line))
    assert mark.points[0][0] == pytest.approx(sound.box[0] + 40 * frame)


def test_a_strip_begins_at_its_frame():
    strips = [Strip(np.eye(2, 20), ["row", "other"], 4.0, begin_frames=begin) for begin in (0, 2.25)]
    drawing = layout(Spectrogram(np.random.default_rng(0).random((100, 10)), strips=strips))
    sound, early, late = (shape.box[0] for shape in drawing.shapes if isinstance(shape, Pixels))
    assert sound == early and late - early == pytest.approx(2.25 * 3)


def test_other_inputs_have_no_spectrogram(tmp_path):
    assert KIND.missing(subject_of("vit", tmp_path)) == "the inputs are not recordings"


def test_a_token_that_differs_from_the_last_one_by_its_space_alone_is_emitted():
    tokens = ["\u2581banan", "a", "a", "\u2581a", "\u2581tree"]
    emissions = Emissions(tokens, np.full(5, 0.9), np.full(5, 0.1))
    assert emitted(emissions) == [(0, "banan"), (1, "a"), (3, "a"), (4, "tree")]
