"""What one position looks at: the chosen query, and its weights over tokens, an image and time."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures.recorded_attention import GivenWeights, Model, random_weights, subject_of, tokens
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Gallery, HeatMap, Tokens, svg
from tformer_cli.errors import ConfigError
from tformer_cli.figures import looks
from tformer_cli.figures.base import Options
from tformer_cli.figures.places import furthest
from tformer_cli.inspectors.base import Axis

IMAGE = np.full((64, 96, 1), 90, np.uint8)
PATCHES = Axis.of_patches((2, 3), (32.0, 32.0), ["[class]"])


def test_the_query_of_the_user_has_a_row_of_tokens_for_each_layer():
    weights = [random_weights(seed, 2, 4, 4) for seed in range(2)]
    model = Model(*(GivenWeights(given, AttentionKind.encoder) for given in weights))
    subject = subject_of(model, Options(query="CAT"), encoder=tokens("the old cat </s>"))
    (figure,) = looks.draw(subject)
    assert figure.numbers["queries"] == ["cat"] and figure.numbers["keys"] == ["the", "old", "cat", "</s>"]
    assert figure.numbers["attention"] == "encoder" and figure.numbers["layers"] == [1, 2]
    np.testing.assert_allclose(figure.numbers["weights"], [given.mean(0)[2] for given in weights], atol=5e-5)
    assert isinstance(figure.picture, Tokens)
    assert [(row.name, row.query) for row in figure.picture.rows] == [("layer 1", 2), ("layer 2", 2)]


def test_a_single_head_is_named():
    model = Model(GivenWeights(random_weights(0, 2, 4, 4), AttentionKind.encoder))
    captions = [
        next(looks.draw(subject_of(model, Options(query="cat", heads=heads), encoder=tokens("the old cat")))).caption
        for heads in ((), (2,), (1, 2))
    ]
    assert captions == ["Mean over heads", "Head 2", "Mean over heads"]


def test_cross_attention_is_named_by_what_it_predicts():
    weights = random_weights(0, 2, 3, 4)
    outputs = ["die", "Katze", "</s>"]
    model, source, target = Model(GivenWeights(weights, AttentionKind.cross)), "the old cat </s>", "<s> die Katze"
    positions = {"encoder": tokens(source), "decoder": tokens(target), "outputs": outputs}
    subject = subject_of(model, Options(query="Katze"), **positions)
    (figure,) = looks.draw(subject)
    np.testing.assert_allclose(figure.numbers["weights"], [weights.mean(0)[1]], atol=5e-5)
    assert figure.picture.rows[0].query is None


def test_the_usual_query_goes_further_than_uniform_attention():
    axis, uniform = tokens("a b c d e f g"), np.full((7, 7), 1 / 7)
    weights = uniform.copy()
    weights[2] = np.eye(7)[6]  # from c to g, at distance 4; uniform attention of a and g has a mean distance of 3
    assert furthest(weights[None], axis, axis, axis.names) == 2
    assert furthest(weights[None], axis, tokens("a b c d e f g"), axis.names) == 2
    assert furthest(uniform[None], axis, tokens("a b"), ["<s>", "b", "</s>", *"cdef"]) == 1


def test_attention_that_rests_on_marks_and_full_stops_does_not_count():
    names = ["<s>", "the", "old", "cat", "sleeps", ".", "</s>"]
    weights, axis = np.full((7, 7), 1 / 7), Axis.of_tokens(names)
    weights[1], weights[2], weights[5] = np.eye(7)[6], np.eye(7)[5], np.eye(7)[0]
    weights[4] = np.eye(7)[2]  # at distance 2
    assert furthest(weights[None], axis, axis, names) == 4


def test_the_usual_query_of_cross_attention_is_none_that_predicts_a_mark():
    weights = np.full((1, 3, 4), 1 / 4)
    weights[:, 2] = np.eye(4)[3]  # the query that predicts </s> attends to one key
    weights[:, 1] = [0.1, 0.7, 0.1, 0.1]
    outputs = ["die", "Katze", "</s>"]
    model, source = Model(GivenWeights(weights, AttentionKind.cross)), tokens("the old cat </s>")
    (figure,) = looks.draw(subject_of(model, encoder=source, decoder=tokens("<s> die Katze"), outputs=outputs))
    assert figure.numbers["queries"] == ["Katze"]


def test_points_of_an_image_have_a_column_and_layers_a_row():
    weights = [random_weights(seed, 2, 7, 7) for seed in range(2)]
    model = Model(*(GivenWeights(given, AttentionKind.encoder) for given in weights))
    (figure,) = looks.draw(subject_of(model, encoder=PATCHES, image=IMAGE))
    assert isinstance(figure.picture, Gallery) and figure.picture.columns == 4
    assert figure.numbers["queries"] == ["[class]", "row 1, column 1", "row 2, column 2", "row 2, column 3"]
    assert figure.caption == (
        "Mean over heads; red parts have large weights and dark ones small weights, relative to the largest of each"
        " image; a cyan square marks the query"
    )
    np.testing.assert_allclose(figure.picture.weights[4 + 2], weights[1].mean(0)[5, 1:].reshape(2, 3))
    assert figure.numbers["layers"] == [1, 2] and figure.numbers["weights"].shape == (2, 4, 2, 3)
    np.testing.assert_allclose(figure.numbers["weights"][1, 2], figure.picture.weights[4 + 2], atol=5e-5)
    assert figure.picture.marks == [None, (16 / 96, 16 / 64), (48 / 96, 48 / 64), (80 / 96, 48 / 64)] * 2
    (chosen,) = looks.draw(subject_of(model, Options(query="row 1, column 3"), encoder=PATCHES, image=IMAGE))
    np.testing.assert_allclose(chosen.picture.weights[0], weights[0].mean(0)[3, 1:].reshape(2, 3))
    assert "<svg" in svg(chosen.picture)


def test_recordings_have_a_strip_over_time():
    weights = random_weights(1, 2, 50, 50)
    subject = subject_of(Model(GivenWeights(weights, AttentionKind.encoder)), Options(query="0.40 s"),
                         encoder=Axis.of_frames(50, 0.04), features=np.zeros((200, 4)))  # fmt: skip
    (figure,) = looks.draw(subject)
    assert isinstance(figure.picture, HeatMap) and figure.picture.rows == ["layer 1"]
    np.testing.assert_allclose(figure.numbers["weights"], [weights.mean(0)[10]], atol=5e-5)


def test_of_a_long_text_the_tokens_around_the_query_are_drawn():
    axis, weights = Axis.of_tokens([f"w{number}" for number in range(600)]), random_weights(3, 1, 600, 600)
    model = Model(GivenWeights(weights, AttentionKind.encoder))
    (figure,) = looks.draw(subject_of(model, Options(query="w300"), encoder=axis))
    assert figure.numbers["keys"] == [f"w{number}" for number in range(172, 428)]
    np.testing.assert_allclose(figure.numbers["weights"], weights[0, 300:301, 172:428], atol=5e-5)
    assert figure.picture.note == "Tokens 173 to 428 of 600 are drawn." and figure.picture.rows[0].query == 128


def test_layers_of_feature_maps_of_different_sizes_have_figures_of_their_own():
    model = Model(*(GivenWeights(random_weights(2, 1, *size), AttentionKind.encoder) for size in ((24, 6), (96, 24))))
    figures = list(looks.draw(subject_of(model, image=IMAGE)))
    assert [figure.picture.weights[0].shape for figure in figures] == [(2, 3), (4, 6)]
    assert len({figure.name for figure in figures}) == 2


def test_a_query_of_feature_maps_is_drawn_in_the_maps_that_have_it_and_refused_if_none_has():
    weights = [random_weights(2, 1, *size) for size in ((24, 6), (96, 24))]
    model = Model(*(GivenWeights(given, AttentionKind.encoder) for given in weights))
    subject = subject_of(model, Options(query="Row 5, column 12"), image=IMAGE)
    looks.check_query(subject)
    (figure,) = looks.draw(subject)
    np.testing.assert_allclose(figure.picture.weights[0], weights[1][0, 4 * 12 + 11].reshape(4, 6))
    with pytest.raises(ConfigError, match="--query 'row 9, column 1' is not among the positions") as error:
        looks.check_query(subject_of(model, Options(query="row 9, column 1"), image=IMAGE))
    assert error.value.remedy.startswith("there are: row 1, column 1, row 1, column 2, ")


def test_a_query_that_is_not_there_is_refused_with_those_that_are():
    sizes = {AttentionKind.encoder: (4, 4), AttentionKind.decoder: (2, 2), AttentionKind.cross: (2, 4)}
    layers = [GivenWeights(random_weights(0, 1, *size), kind) for kind, size in sizes.items()]
    parts = {"encoder": tokens("the old cat </s>"), "decoder": tokens("<s> die"), "outputs": ["die", "</s>"]}
    looks.check_query(subject_of(Model(*layers), Options(query="Die"), **parts))
    with pytest.raises(ConfigError, match="--query 'dog' is not among the positions of the attention layers") as error:
        looks.check_query(subject_of(Model(*layers), Options(query="dog"), **parts))
    assert "the, old, cat, </s>, <s>, die" in str(error.value.remedy)
    cross = Model(layers[-1])  # of a recurrent encoder, whose words attend to nothing
    with pytest.raises(ConfigError, match="--query 'cat'") as error:
        looks.check_query(subject_of(cross, Options(query="cat"), **parts))
    assert error.value.remedy == "there are: die, </s>"
