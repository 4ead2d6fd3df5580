"""What figures are drawn from: the layers and heads that a user chooses, and those that an input uses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.fixtures.recorded_attention import GivenWeights, Model, random_weights, subject_of, tokens
from tests.properties.families import family_named
from tformer_cli.config.schema import AttentionKind
from tformer_cli.errors import ConfigError
from tformer_cli.figures import attention, base, distance, heads, looks
from tformer_cli.figures.base import Options, Subject, attention_layers, numbered
from tformer_cli.figures.viewer import viewer
from tformer_cli.inspectors.base import files_read

WORDS = tokens("a b c d")


def uneven(options: Options):
    """An encoder with four heads and a decoder with two, whose weights are random."""
    layers = (
        GivenWeights(
            random_weights(0, count, 4, 4),
            kind,
            values=torch.randn(1, count, 4, 3),
            outputs=torch.randn(1, count, 4, 3),
        )
        for count, kind in ((4, AttentionKind.encoder), (2, AttentionKind.decoder))
    )
    return subject_of(Model(*layers), options, encoder=WORDS, decoder=WORDS, outputs=list("abcd"))


def test_layers_without_a_chosen_head_are_left_out():
    subject = uneven(Options(heads=(2, 3)))
    assert [subject.heads(layer) for layer in subject.layers()] == [[1, 2], [1]]
    subject = uneven(Options(heads=(3,)))
    assert [layer.title for layer in subject.layers()] == ["encoder, layer 1"]
    for module in (attention, looks, distance, heads):
        figures = list(module.draw(subject))
        assert figures and all("decoder" not in figure.name for figure in figures)
        for figure in figures:
            assert all(np.isfinite(np.asarray(figure.numbers.get(name, 0))).all() for name in ("weights", "distance"))
    assert "encoder, layer 1" in viewer(subject).html


def test_weights_that_are_not_kept_are_recorded_for_as_many_layers_as_fit(monkeypatch):
    every = [random_weights(seed, 2, 4, 4) for seed in range(5)]
    model, runs = Model(*(GivenWeights(weights, AttentionKind.encoder) for weights in every)), []
    monkeypatch.setattr(base, "CACHED_BYTES", 0)
    subject = subject_of(model, encoder=WORDS)
    model.register_forward_hook(lambda *_: runs.append(1))
    for layers, passes in ((1, 5), (2, 3), (4, 2), (5, 1)):
        monkeypatch.setattr(base, "RECORDED_BYTES", layers * 4 * 2 * 4 * 4)
        runs.clear()
        given = list(subject.weights(subject.examples[0]))
        assert len(runs) == passes and [layer.number for layer, _ in given] == [1, 2, 3, 4, 5]
        for (_, weights), expected in zip(given, every, strict=True):
            np.testing.assert_allclose(weights, expected, atol=1e-6)


def test_weights_of_small_inputs_are_recorded_once():
    model, runs = Model(*(GivenWeights(random_weights(seed, 2, 4, 4), AttentionKind.encoder) for seed in range(3))), []
    subject = subject_of(model, encoder=WORDS)
    model.register_forward_hook(lambda *_: runs.append(1))
    assert len(list(subject.weights(subject.examples[0]))) == len(list(subject.weights(subject.examples[0]))) == 3
    assert len(runs) == 1


def test_a_choice_without_any_head_has_a_reason():
    kinds = AttentionKind.decoder, AttentionKind.decoder
    layers = (GivenWeights(random_weights(0, count, 4, 4), kind) for count, kind in zip((4, 2), kinds, strict=True))
    subject = subject_of(Model(*layers), Options(layers=(2,), heads=(3,)), decoder=WORDS)
    assert subject.layers() == []
    assert attention.KIND.missing(subject) == "the chosen layers do not have the chosen heads"


def test_layers_of_a_generator_of_images_are_those_that_it_runs(tmp_path):
    task = family_named("sagan").task(tmp_path)
    model = task.model().eval()
    assert len(attention_layers(model)) == 2  # one is the discriminator's
    examples = task.inspector.of_split(model, "validation", 1)
    (layer,) = Subject(model, task.inspector, examples).layers()
    assert layer.title == "self-attention, layer 1" and layer.slug == "self-attention-1"
    (table,) = heads.draw(Subject(model, task.inspector, examples))
    assert table.name == "heads-self-attention-1" and table.title == "self-attention: patterns of heads"
    with pytest.raises(ConfigError, match="--layers 2: the model has 1 attention layers"):
        Subject(model, task.inspector, examples, Options(layers=(2,)))


def test_equal_names_of_examples_have_numbers():
    assert numbered(["cat", "dog", "cat", "cat"]) == ["cat", "dog", "cat (2)", "cat (3)"]
    assert numbered(["a", "a", "a (2)"]) == ["a", "a (2)", "a (2) (2)"]


def test_names_of_files_are_printable(tmp_path):
    files = SimpleNamespace(read=lambda content, name: np.zeros(3))
    ((_, name),) = files_read(files, [tmp_path / "caf\udce9.png"])
    assert name == "caf\\udce9.png"
