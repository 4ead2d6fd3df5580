"""Figures of attention rollout: numbers against closed forms, [class] over images, and models that have none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.fixtures.recorded_attention import random_weights, subject_of, tokens
from tformer_cli.config.schema import AttentionKind, TransformerConfig
from tformer_cli.draw import Gallery
from tformer_cli.figures import rollout
from tformer_cli.figures.base import Subject
from tformer_cli.inspectors.base import Axis, Example
from tformer_cli.nn.block import Stack
from tformer_cli.nn.taps import attention_weights

CONFIG = TransformerConfig(dim=8, heads=2, ffn_dim=16)


class Encoder(torch.nn.Module):
    """A stack of blocks over a fixed input."""

    def __init__(self, length: int, depth: int, **settings) -> None:
        super().__init__()
        self.stack = Stack(CONFIG, depth, **settings)
        self.x = torch.randn(1, length, 8)

    def forward(self):
        return self.stack(self.x)


def encoder(length: int, depth: int, **settings) -> Encoder:
    torch.manual_seed(0)
    return Encoder(length, depth, **settings).eval()


def test_rollout_of_a_model_is_the_product_of_its_layers():
    model = encoder(4, 3)
    subject = subject_of(model, encoder=tokens("a b c d"))
    last, layers = rollout.draw(subject)
    product = np.eye(4)
    for weights in attention_weights(model, model).values():
        product = (weights[0].mean(0).numpy() / 2 + np.eye(4) / 2) @ product
    np.testing.assert_allclose(last.numbers["rollout"], product, atol=5e-5)
    np.testing.assert_allclose(layers.numbers["rollout"][-1], product, atol=5e-5)
    assert layers.numbers["rollout"].shape == (3, 4, 4) and last.numbers["positions"] == list("abcd")


def test_uniform_attention_has_the_closed_form():
    model = encoder(5, 3)
    for parameter in model.stack.parameters():
        parameter.data.zero_()
    last, _ = rollout.draw(subject_of(model, encoder=tokens("a b c d e")))
    np.testing.assert_allclose(last.numbers["rollout"], np.eye(5) / 8 + (1 - 1 / 8) / 5, atol=5e-5)


@pytest.mark.parametrize("before", [["[class]"], []])
def test_rollout_over_an_image_is_that_of_class_or_the_mean_of_patches(before):
    axis = Axis.of_patches((2, 3), (4.0, 4.0), before)
    model = encoder(len(axis), 2)
    subject = subject_of(model, encoder=axis, image=np.full((8, 12, 3), 90, np.uint8))
    image, matrix, _ = rollout.draw(subject)
    result = matrix.numbers["rollout"][0, 1:] if before else matrix.numbers["rollout"].mean(0)
    assert isinstance(image.picture, Gallery) and "mean over all patches" in image.caption or before
    captions = ["image", "rollout\nlayer 1", "rollout\nlayer 2", "attention\nlast layer alone"]
    assert image.picture.captions == captions
    assert image.numbers["layers"] == [1, 2, 2] and image.numbers["measures"] == ["rollout", "rollout", "attention"]
    np.testing.assert_allclose(image.numbers["weights"][1].ravel(), result, atol=1e-4)
    last = list(attention_weights(model, model).values())[-1][0].mean(0).numpy()
    alone = last[0, 1:] if before else last.mean(0)
    np.testing.assert_allclose(image.numbers["weights"][2].ravel(), alone, atol=1e-4)


def test_models_that_mix_positions_by_more_than_attention_have_no_rollout():
    from tests.fixtures.recorded_attention import GivenWeights, Model

    recurrent = Model(GivenWeights(random_weights(0, 1, 3, 4), AttentionKind.cross))
    assert "by more than self-attention" in rollout.missing(subject_of(recurrent))
    model = encoder(4, 2)
    example = Example("x", model, encoder=tokens("a b c d"))
    subject = Subject(model, None, [example])
    assert rollout.missing(subject) == ""
    model.stack.convolves = True
    assert "by more than self-attention" in rollout.missing(subject)
    assert rollout.missing(subject_of(Model())) == "the model has no attention layers"
