"""Figures of heads: distances, patterns and disagreement against closed forms."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.fixtures.recorded_attention import GivenWeights, Model, random_weights, subject_of, tokens
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import svg
from tformer_cli.figures import base, distance, heads
from tformer_cli.figures.base import Options, Subject
from tformer_cli.inspectors.base import Axis, Example

WORDS = tokens("a b c d e f")
UNIFORM, SAME = np.full((6, 6), 1 / 6), np.eye(6)
NEXT = np.eye(6, k=1) + np.eye(6)[:, -1:] * np.eye(6)[-1]


def test_distances_of_uniform_attention_and_of_the_same_token():
    layers = (GivenWeights(np.stack(given), AttentionKind.encoder) for given in ((UNIFORM, SAME), (NEXT, SAME)))
    (figure,) = distance.draw(subject_of(Model(*layers), encoder=WORDS))
    uniform = (36 - 1) / (3 * 6)
    np.testing.assert_allclose(figure.numbers["distance"], [[uniform, 0], [5 / 6, 0]], atol=1e-6)
    np.testing.assert_allclose(figure.numbers["mean"], [uniform / 2, 5 / 12], atol=1e-6)
    assert figure.numbers["uniform"][0] == pytest.approx(uniform) and figure.numbers["unit"] == "tokens"
    assert "<svg" in svg(figure.picture)


def test_distances_on_an_image_are_in_pixels_without_class():
    axis = Axis.of_patches((14, 14), (16.0, 16.0), ["[class]"])
    weights = np.full((1, 197, 197), 1 / 197)
    subject = subject_of(Model(GivenWeights(weights, AttentionKind.encoder)), encoder=axis)
    (figure,) = distance.draw(subject)
    assert figure.numbers["distance"][0][0] == pytest.approx(116.49, abs=5e-3) and figure.numbers["unit"] == "pixels"


def test_distances_from_the_cells_of_a_map_to_those_of_a_pooled_one():
    weights = np.full((1, 16, 4), 1 / 4)
    subject = subject_of(
        Model(GivenWeights(weights, AttentionKind.encoder)), image=np.zeros((8, 8, 1), np.uint8)
    )  # cells of 2 x 2 pixels, and of 4 x 4 for the keys
    assert not distance.missing(subject)
    (figure,) = distance.draw(subject)
    cells, pooled = ([(y, x) for y in centres for x in centres] for centres in ((1, 3, 5, 7), (2, 6)))
    expected = np.mean([np.hypot(a - c, b - d) for a, b in cells for c, d in pooled])
    np.testing.assert_allclose(figure.numbers["distance"], [[expected]], atol=1e-6)
    assert figure.numbers["uniform"] == pytest.approx([expected]) and figure.numbers["unit"] == "pixels"


def test_uniform_attention_of_a_decoder_does_not_look_ahead():
    causal = np.tril(np.ones((6, 6)))
    weights = (causal / causal.sum(-1, keepdims=True))[None]
    (figure,) = distance.draw(subject_of(Model(GivenWeights(weights, AttentionKind.decoder)), decoder=WORDS))
    assert figure.numbers["uniform"] == pytest.approx([1.25]) and figure.name == "distance-decoder"  # mean of i / 2


def test_cross_attention_has_no_distance():
    model = Model(GivenWeights(random_weights(0, 2, 6, 6), AttentionKind.cross))
    subject = subject_of(model, encoder=WORDS, decoder=tokens("a b c d e f"))
    assert "no self-attention" in distance.missing(subject)
    assert distance.missing(subject_of(Model(), encoder=WORDS)) == "the model has no attention layers"


def test_the_table_names_the_pattern_of_each_head():
    model = Model(GivenWeights(np.stack((UNIFORM, SAME, NEXT)), AttentionKind.encoder))
    figure = next(heads.draw(subject_of(model, encoder=WORDS)))
    assert figure.numbers["strongest"] == ["spread", "same position", "next position"]
    columns, shares = figure.numbers["columns"], figure.numbers["shares"]
    assert shares[:, columns.index("entropy")] == pytest.approx([1, 0, 0])
    assert shares[0, columns.index("first position")] == pytest.approx(1 / 6, abs=1e-4)
    assert figure.picture.rows[1] == "layer 1, head 2: same"
    chosen = next(heads.draw(subject_of(model, Options(heads=(3,)), encoder=WORDS)))
    assert chosen.numbers["attention"] == "encoder" and chosen.numbers["layers"] == [1]
    assert chosen.numbers["heads"] == [3] and chosen.numbers["strongest"] == ["next position"]


def test_the_table_of_cross_attention_compares_no_positions():
    model = Model(GivenWeights(random_weights(0, 2, 6, 6), AttentionKind.cross))
    figure = next(heads.draw(subject_of(model, encoder=WORDS, decoder=WORDS)))
    assert figure.numbers["columns"] == ["first position", "last position", "entropy"]


def test_the_table_of_an_image_has_no_previous_and_next_patch():
    axis = Axis.of_patches((2, 3), (8.0, 8.0))
    model = Model(GivenWeights(np.stack((NEXT, SAME)), AttentionKind.encoder))
    figure = next(heads.draw(subject_of(model, encoder=axis)))
    assert figure.numbers["columns"] == ["same position", "first position", "last position", "entropy"]
    assert figure.numbers["strongest"] == ["spread", "same position"]


def test_layers_that_reduce_their_keys_share_a_table_with_others():
    layers = (GivenWeights(given, AttentionKind.encoder) for given in (random_weights(0, 2, 6, 3), SAME[None]))
    image = np.zeros((16, 24, 3), np.uint8)
    figure = next(heads.draw(subject_of(Model(*layers), image=image)))
    assert figure.numbers["columns"] == ["first position", "last position", "entropy"]
    assert figure.picture.rows == ["layer 1, head 1: spread", "layer 1, head 2: spread", "layer 2, head 1: spread"]
    assert figure.numbers["layers"] == [1, 1, 2] and figure.numbers["heads"] == [1, 2, 1]


def test_an_input_of_one_token_does_not_change_the_means():
    class Growing(GivenWeights):
        """A layer whose first input has one token."""

        def forward(self) -> None:
            self.record("weights", self.tensors["weights"] if alone["read"] else torch.ones(1, 1, 1, 1))

    alone = {"read": False}
    model = Model(Growing(NEXT[None], AttentionKind.encoder))

    def run(several):
        alone["read"] = several
        model()

    examples = [
        Example("one", lambda: run(False), encoder=tokens("a")), Example("six", lambda: run(True), encoder=WORDS)
    ]  # fmt: skip
    (table,) = heads.draw(Subject(model, cast(Any, None), examples))
    (expected,) = heads.draw(Subject(model, cast(Any, None), examples[1:]))
    assert table.numbers["strongest"] == ["next position"]
    np.testing.assert_array_equal(table.numbers["shares"], expected.numbers["shares"])
    (only,) = heads.draw(Subject(model, cast(Any, None), examples[:1]))
    assert only.numbers["layers"] == only.numbers["heads"] == [1]


def test_the_heads_of_all_layers_are_compared_in_one_pass(monkeypatch):
    def tensors():
        return {"values": torch.randn(1, 2, 6, 4), "outputs": torch.randn(1, 2, 6, 4)}

    torch.manual_seed(0)
    kind, runs = AttentionKind.encoder, []
    model = Model(*(GivenWeights(random_weights(seed, 2, 6, 6), kind, **tensors()) for seed in range(3)))
    subject = subject_of(model, encoder=WORDS)
    assert len(subject.layers(kind)) == 3  # known before the passes are counted
    model.register_forward_hook(lambda *_: runs.append(1))
    together = heads.diversity(subject, kind)
    assert together is not None and len(runs) == 1 and together.numbers["layers"] == [1, 2, 3]
    monkeypatch.setattr(base, "RECORDED_BYTES", 2 * 4 * 2 * 6 * 6)
    apart = heads.diversity(subject, kind)
    assert apart is not None and len(runs) == 1 + 2  # two layers, and one
    for name, values in together.numbers.items():
        assert values == pytest.approx(apart.numbers[name])


def test_equal_heads_agree_and_orthogonal_ones_do_not():
    equal = torch.ones(1, 2, 6, 4)
    apart = torch.stack((torch.tensor([1.0, 0, 0, 0]), torch.tensor([0, 1.0, 0, 0])))[None, :, None].expand(1, 2, 6, 4)
    model = Model(GivenWeights(np.stack((SAME, SAME)), AttentionKind.encoder, values=equal, outputs=apart))
    table, figure = heads.draw(subject_of(model, encoder=WORDS))
    assert table.name == "heads-encoder-1" and figure.name == "heads-encoder-diversity"
    numbers = figure.numbers
    assert numbers["subspace"] == pytest.approx([-1]) and numbers["position"] == pytest.approx([-1])
    assert numbers["output"] == pytest.approx([-0.5])  # a head agrees with itself
    single = Model(GivenWeights(SAME[None], AttentionKind.encoder, values=equal[:, :1], outputs=equal[:, :1]))
    assert [figure.name for figure in heads.draw(subject_of(single, encoder=WORDS))] == ["heads-encoder-1"]
