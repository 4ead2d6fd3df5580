"""What figures that look inside a model rely on, for every family."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import svg
from tformer_cli.figures import attention, distance, heads, looks, rollout
from tformer_cli.figures.base import Subject
from tformer_cli.figures.page import plain

TOLERANCE = 1e-5


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
        assert bool(kind.widget(subject)) == (module is attention and not reason)


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
            logits = lens.logits(states[-1])
        assert len(lens.pieces(logits.argmax(-1).tolist())) == len(axis)
