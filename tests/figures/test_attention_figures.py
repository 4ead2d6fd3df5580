"""Figures of attention weights: their numbers, their axes, their bounds, and the viewer's data."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, cast

import numpy as np
import pytest
from torch import nn

from tests.fixtures.recorded_attention import GivenWeights, Model, random_weights, subject_of, tokens
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Gallery, HeatMap, HeatMaps, svg, vector
from tformer_cli.figures import attention, looks
from tformer_cli.figures.base import Layer, Options
from tformer_cli.figures.places import marks_of, names_of, number_of
from tformer_cli.figures.viewer import MOST_POSITIONS, Contents, viewer
from tformer_cli.inspectors.base import Axis
from tformer_cli.nn.recurrent_attention import RecurrentAttention

SOURCE, TARGET = tokens("the old cat </s>"), tokens("<s> die alte Katze")
IMAGE = np.full((8, 12, 3), 90, np.uint8)


def translated(options: Options | None = None, heads: int = 2):
    weights = {
        AttentionKind.encoder: random_weights(0, heads, 4, 4),
        AttentionKind.cross: random_weights(1, heads, 4, 4),
    }
    model = Model(*(GivenWeights(given, kind) for kind, given in weights.items()))
    outputs = ["die", "alte", "Katze", "</s>"]
    return weights, subject_of(model, options, encoder=SOURCE, decoder=TARGET, outputs=outputs)


def viewer_data(subject):
    match = re.search(r'id="viewer-data">(.*?)</script>', viewer(subject).html, re.DOTALL)
    return json.loads(match[1]) if match else None


def test_figures_are_the_mean_and_all_heads_of_each_layer():
    weights, subject = translated()
    figures = {figure.name: figure for figure in attention.draw(subject)}
    assert list(figures) == [
        "attention-1-encoder-1", "attention-1-encoder-1-heads",
        "attention-1-cross-attention-1", "attention-1-cross-attention-1-heads",
    ]  # fmt: skip
    mean, heads = figures["attention-1-cross-attention-1"], figures["attention-1-cross-attention-1-heads"]
    assert mean.title == mean.picture.title == "cross-attention, layer 1, mean over heads"
    assert isinstance(mean.picture, HeatMap) and isinstance(heads.picture, HeatMaps)
    assert {name: mean.numbers[name] for name in ("attention", "layers", "module", "heads")} == {
        "attention": "cross-attention", "layers": [1], "module": "blocks.1", "heads": [1, 2]
    }  # fmt: skip
    np.testing.assert_allclose(mean.numbers["weights"], weights[AttentionKind.cross].mean(0), atol=5e-5)
    np.testing.assert_allclose(heads.numbers["weights"], weights[AttentionKind.cross], atol=5e-5)
    assert mean.numbers["queries"] == ["die", "alte", "Katze", "</s>"] and mean.numbers["keys"] == list(SOURCE.names)
    assert figures["attention-1-encoder-1"].numbers["queries"] == list(SOURCE.names)
    assert all("<svg" in svg(figure.picture) for figure in figures.values())


def test_captions_say_what_holds_for_the_layer():
    _, subject = translated()
    captions = [figure.caption for figure in attention.draw(subject)]
    assert captions == ["", "", *2 * ["A query has the name of the token that it predicts"]]
    model = nn.ModuleDict({"cross": RecurrentAttention(cast(Any, nn.Identity()))})
    caption = attention.caption_of(model, Layer("cross", AttentionKind.cross, 1, 1, "cross-attention"))
    assert caption.endswith("of the alignment of a recurrent decoder (Bahdanau, Luong)")
    assert "ecurrent" not in attention.KIND.about and "cyan" not in looks.KIND.about


def test_captions_say_which_weights_are_almost_uniform():
    uniform, random = np.full((4, 4), 1 / 4), random_weights(5, 1, 4, 4)[0]
    even = uniform + 0.05 * np.array([1, -1, 1, -1])
    model = Model(*(GivenWeights(np.stack(given), AttentionKind.encoder)
                    for given in ((even, random), (even, uniform), (random, random))))  # fmt: skip
    captions = [figure.caption for figure in attention.draw(subject_of(model, encoder=SOURCE))]
    share = int(100 * -2 * (0.3 * np.log(0.3) + 0.2 * np.log(0.2)) / np.log(4))
    note = f"are almost uniform (their entropy is {share} % of the largest or more): what looks like a pattern is"
    assert captions[1] == f"The weights of head 1 {note} small differences"
    assert captions[2].startswith("The weights are almost uniform") and captions[3].startswith(f"The weights {note}")
    assert captions[4:] == ["", ""]
    (look,) = looks.draw(subject_of(model, encoder=SOURCE))
    assert "The weights of layer 2 are almost uniform" in look.caption


def test_chosen_heads_are_drawn():
    weights, subject = translated(Options(heads=(2,)))
    (encoder, cross) = attention.draw(subject)
    assert encoder.numbers["heads"] == [2]
    assert encoder.title == encoder.picture.title == "encoder, layer 1, head 2"
    np.testing.assert_allclose(cross.numbers["weights"], weights[AttentionKind.cross][1], atol=5e-5)


def test_weights_of_long_inputs_are_averaged_in_blocks():
    long = Axis.of_tokens([f"w{number}" for number in range(300)])
    subject = subject_of(Model(GivenWeights(np.full((2, 300, 300), 1 / 300), AttentionKind.encoder)), encoder=long)
    mean, heads = attention.draw(subject)
    assert mean.numbers["weights"].shape == (100, 100) and heads.numbers["weights"].shape == (2, 100, 100)
    assert len(mean.numbers["keys"]) == 100 and mean.numbers["keys"][:2] == ["w0", "w3"]
    np.testing.assert_allclose(mean.numbers["weights"], 1 / 300, atol=5e-5)
    assert mean.picture.note == "Each cell is the mean of 3 x 3 of the 300 x 300 values."
    assert viewer(subject).html == "" and MOST_POSITIONS < 300


def test_each_token_is_drawn_over_the_image_that_it_attends_to():
    weights = random_weights(2, 2, 3, 7)
    patches = Axis.of_patches((2, 3), (4.0, 4.0), ["[class]"])
    outputs = ["a", "tile", "</s>"]
    model = Model(GivenWeights(weights, AttentionKind.cross))
    subject = subject_of(model, encoder=patches, decoder=tokens("<s> a tile"), outputs=outputs, image=IMAGE)
    figure = next(attention.draw(subject))
    assert isinstance(figure.picture, Gallery) and figure.picture.captions == outputs
    np.testing.assert_allclose(figure.numbers["weights"], weights.mean(0)[:, 1:].reshape(3, 2, 3), atol=5e-5)


def test_maps_of_features_have_the_positions_of_their_cells():
    subject = subject_of(Model(GivenWeights(random_weights(3, 1, 24, 6), AttentionKind.encoder)), image=IMAGE)
    (figure,) = attention.draw(subject)
    assert [name for name in figure.numbers["queries"] if name] == ["row 1", "row 2", "row 3", "row 4"]
    assert [name for name in figure.numbers["keys"] if name] == ["row 1", "row 2"]
    (example,) = viewer_data(subject)
    assert [axis["grid"] for axis in example["axes"]] == [[4, 6], [2, 3]]
    (image,) = viewer(subject).images
    assert example["image"] == vector.image_id(image) and (image == IMAGE).all()


def test_names_and_marks_of_patches_and_frames():
    patches = Axis.of_patches((2, 3), (4.0, 4.0), ["[class]"])
    assert names_of(patches)[:3] == ["[class]", "row 1, column 1", "row 1, column 2"]
    assert marks_of(patches) == ["[class]", "row 1", "", "", "row 2", "", ""]
    frames = Axis.of_frames(51, 0.04)
    assert names_of(frames)[10] == "0.40 s"
    marks = {name: number for number, name in enumerate(marks_of(frames)) if name}
    assert marks == {"0 s": 0, **{f"{tenth / 10:g}": round(tenth * 2.5) for tenth in range(2, 21, 2)}}
    assert number_of(["The", "the"], "the") == 1 and number_of(["The"], "the") == 0 and number_of(["a"], "b") is None
    assert number_of(["e\u0301te\u0301"], "\u00c9t\u00e9") == 0  # another Unicode form


def test_the_viewer_has_the_weights_as_bytes():
    weights, subject = translated()
    (example,) = viewer_data(subject)
    encoder, cross = example["layers"]
    assert encoder["axes"] == [0, 0] and cross["axes"] == [1, 0] and encoder["heads"] == [1, 2]
    assert example["axes"][1]["names"] == ["die", "alte", "Katze", "</s>"]
    values = np.frombuffer(base64.b64decode(cross["data"]), np.uint8).reshape(2, 4, 4) / 255 * cross["largest"]
    np.testing.assert_allclose(values, weights[AttentionKind.cross], atol=0.5 / 255 + 1e-5)


def test_the_viewer_shows_the_keys_of_a_translation_that_copies():
    words = tokens("a b c")
    layers = (GivenWeights(random_weights(0, 2, 3, 3), kind) for kind in (AttentionKind.encoder, AttentionKind.cross))
    subject = subject_of(Model(*layers), encoder=words, decoder=tokens("<s> a b"), outputs=["a", "b", "c"])
    (example,) = viewer_data(subject)
    assert [layer["axes"] for layer in example["layers"]] == [[0, 0], [0, 0]]
    assert [layer["self"] for layer in example["layers"]] == [True, False]


def test_the_viewer_starts_at_the_query_of_looks():
    """Without --query neither a mark nor the same query in all layers; with it the position that the user names."""
    for query in ("", "CAT"):
        _, subject = translated(Options(query=query))
        (example,) = viewer_data(subject)
        chosen = {figure.numbers["attention"]: figure.numbers["queries"][0] for figure in looks.draw(subject)}
        names = [example["axes"][layer["axes"][0]]["names"][layer["query"]] for layer in example["layers"]]
        assert names[0] == chosen["encoder"] and not names[1].startswith("<")
        assert names[1] == chosen.get("cross-attention", names[1]) and (not query or names[0] == "cat")


def test_the_viewer_is_bounded():
    _, subject = translated()
    contents = Contents(free=44 + 24)  # 32 weights of both heads take 44 bytes, 16 of the mean take 24
    contents.add(subject, subject.examples[0])
    assert [layer["heads"] for layer in contents.examples[0]["layers"]] == [[1, 2], []]
    assert len(contents.notes) == 1 and contents.free == 0
    contents.add(subject, subject.examples[0])
    assert len(contents.examples) == 1 and len(contents.notes) == 2


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--"])
def test_names_cannot_end_the_data_of_the_viewer(text):
    axis = Axis.of_tokens([text, "b"])
    subject = subject_of(Model(GivenWeights(random_weights(4, 1, 2, 2), AttentionKind.encoder)), encoder=axis)
    (example,) = viewer_data(subject)
    assert example["axes"][0]["names"][0] == text


def test_names_have_no_marks_of_subwords():
    model = Model(GivenWeights(random_weights(0, 1, 3, 3), AttentionKind.cross))
    parts = {"encoder": tokens("\u2581the \u2581cat s"), "decoder": tokens("<s> \u2581die \u2581Katze")}
    subject = subject_of(model, **parts, outputs=["\u2581die", "\u2581Katze", "n"])
    numbers = next(iter(attention.draw(subject))).numbers
    assert (numbers["queries"], numbers["keys"]) == (["die", "Katze", "n"], ["the", "cat", "s"])
