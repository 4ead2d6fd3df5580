"""Disagreement of heads against a plain loop over heads and positions, and against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.properties.families import VARIANTS, family_named
from tformer_cli.config.schema import AttentionKind, RegulariseConfig
from tformer_cli.errors import ConfigError
from tformer_cli.nn.taps import tappable_layers, tapped
from tformer_cli.objectives.base import Objective
from tformer_cli.objectives.regularisers import TERMS, cosine_agreement, mean_over, regularised, weight_agreement

ALL = [f"regularise.{name}=1" for name in TERMS]
HEADS, POSITIONS, WIDTH = 3, 5, 4


def plain(name: str, tensor: Tensor, lengths: list[int]) -> Tensor:
    """The disagreement of each example, (B,), by loops over positions and pairs of heads, in float64."""
    values = tensor.double()
    heads, of_examples = values.shape[1], []
    for row, length in zip(values, lengths, strict=True):
        at_positions = []
        for position in range(length):
            pairs = []
            for i in range(heads):
                for j in range(heads):
                    x, y = row[i, position], row[j, position]
                    overlap = (x * y).abs().sum() if name == "disagreement_position" else x @ y / (x.norm() * y.norm())
                    pairs.append(overlap)
            at_positions.append(-sum(pairs) / heads**2)
        of_examples.append(sum(at_positions) / length)
    return torch.stack(of_examples)


@pytest.mark.parametrize("name", TERMS)
def test_values_and_gradients_equal_a_plain_loop(name):
    torch.manual_seed(0)
    tensor = torch.randn(4, HEADS, POSITIONS, WIDTH)
    if name == "disagreement_position":
        tensor = tensor.softmax(-1)
    tensor.requires_grad_()
    lengths = [5, 3, 1, 2]
    got = -mean_over(TERMS[name].agreement(tensor), torch.tensor(lengths))
    expected = plain(name, tensor, lengths)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    (gradient,) = torch.autograd.grad((got * weights).sum(), tensor)
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), tensor)
    torch.testing.assert_close(gradient, expected_gradient.float(), rtol=1e-4, atol=1e-6)


def test_closed_forms():
    same = torch.randn(2, 1, POSITIONS, WIDTH).expand(-1, HEADS, -1, -1)
    torch.testing.assert_close(cosine_agreement(same * torch.tensor([1.0, 2.0, 9.0])[:, None, None]), torch.ones(2, 5))
    orthogonal = torch.eye(WIDTH)[:HEADS, None].expand(2, -1, POSITIONS, -1)
    torch.testing.assert_close(cosine_agreement(orthogonal), torch.full((2, 5), 1 / HEADS))
    uniform = torch.full((2, HEADS, POSITIONS, 7), 1 / 7)
    torch.testing.assert_close(weight_agreement(uniform), torch.full((2, POSITIONS), 1 / 7))
    certain = torch.eye(7)[:HEADS, None].expand(2, -1, POSITIONS, -1)  # each head attends to another key
    torch.testing.assert_close(weight_agreement(certain), torch.full((2, POSITIONS), 1 / HEADS))


def test_bfloat16_is_computed_in_float32():
    tensor = torch.randn(2, HEADS, POSITIONS, WIDTH).bfloat16()
    assert torch.equal(cosine_agreement(tensor), cosine_agreement(tensor.float()))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("translation", {"encoder.blocks.0.attention": "encoder", "decoder.blocks.0.attention": "decoder",
                         "decoder.blocks.0.cross": "cross"}),
        ("captions", {"encoder.stack.blocks.0.attention": "encoder", "decoder.decoder.blocks.0.attention": "decoder",
                      "decoder.decoder.blocks.0.cross": "cross"}),
        ("conformer", {"encoder.stack.blocks.0.attention": "encoder", "decoder.blocks.0.attention": "decoder",
                       "decoder.blocks.0.cross": "cross"}),
        ("editing", {"encoder.blocks.0.attention": "encoder", "decoder.blocks.0.attention": "decoder",
                         "decoder.blocks.0.cross": "cross"}),
        ("gpt", {"stack.blocks.0.attention": "decoder"}),
        ("bert", {"encoder.stack.blocks.0.attention": "encoder"}),
        ("vit", {"encoder.stack.blocks.0.attention": "encoder"}),
        ("recurrent translation", {"decoder.cross": "cross"}),
        ("sagan", {"generator.attention": "encoder", "discriminator.attention": "encoder"}),
    ],
)  # fmt: skip
def test_layers_know_the_kind_of_their_attention(name, kinds, tmp_path):
    task = family_named(name).task(tmp_path)
    layers = tappable_layers(task.model())
    assert {layer: tappable.kind.name for layer, tappable in layers.items()} == kinds


def test_unknown_lengths_are_no_mean_over_padding(tmp_path, monkeypatch):
    """Without lengths of the memory, padding would count as real positions."""
    task, model = prepared("translation", tmp_path, ALL[0])
    objective, batch = task.phases[0].objective, task.view("train").batch(0, 0)
    lengths = {AttentionKind.decoder: batch.target_lengths}
    monkeypatch.setattr(objective.objective, "lengths", lambda outputs, batch: lengths)
    with pytest.raises(ValueError, match="encoder.blocks.0.attention: [A-Za-z]* has no lengths of the encoder"):
        objective.loss(model, objective.outputs(model, batch), batch)


class SumOfMeans(Objective):
    """An objective whose loss has counts of its own."""

    def counts(self, batch):
        return {"count": torch.tensor(1)}


@pytest.mark.parametrize("name", ["consistency", *TERMS])
def test_a_sum_of_several_means_is_refused(name):
    config = RegulariseConfig(**{name: 1.0})
    with pytest.raises(ConfigError, match=f"regularise.{name}: the loss of this task is a sum of several means"):
        regularised(SumOfMeans(data=None), config)


def prepared(name: str, folder, *more: str):
    task = family_named(name).task(folder, "model.dropout=0", *more)
    torch.manual_seed(0)
    model = task.model()
    for value in model.parameters():
        value.data.add_(0.3 * torch.randn_like(value))
    return task, model.train()


@pytest.mark.parametrize("attention", ["all", "encoder", "decoder", "cross"])
def test_the_loss_of_a_translation_model_has_the_disagreements_of_its_real_tokens(attention, tmp_path):
    weights = dict(zip(TERMS, (0.5, 2.0, 3.0), strict=True))
    settings = [f"regularise.{name}={weight}" for name, weight in weights.items()]
    task, model = prepared("translation", tmp_path, *settings, f"regularise.attention={attention}")
    objective = task.phases[0].objective
    view = task.view("train")
    batch = view.batch(0, 0)
    assert len(set(batch.source_lengths.tolist())) > 1 < len(set(batch.target_lengths.tolist()))
    loss = objective.loss(model, objective.outputs(model, batch), batch)
    with tapped(model, {"values", "weights", "outputs"}) as records:
        outputs = objective.objective.outputs(model, batch)
    expected = objective.objective.loss(model, outputs, batch).total
    sources, targets = batch.source_lengths.tolist(), batch.target_lengths.tolist()
    for name, weight in weights.items():
        tap = TERMS[name].tap
        layers = {"encoder.blocks.0.attention": sources, "decoder.blocks.0.attention": targets}
        layers["decoder.blocks.0.cross"] = sources if tap == "values" else targets
        kinds = {layer: tappable.kind.name for layer, tappable in tappable_layers(model).items()}
        chosen = {layer: lengths for layer, lengths in layers.items() if attention in ("all", kinds[layer])}
        terms = [plain(name, records[layer][tap][0], lengths) for layer, lengths in chosen.items()]
        disagreement = (torch.stack(terms).mean(0) * batch.target_lengths).sum()
        assert float(loss.parts[name]) == pytest.approx(float(disagreement.detach()), rel=1e-5)
        expected = expected - weight * disagreement
    assert float(loss.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert int(loss.count) == sum(targets)


@pytest.mark.parametrize("name", ["translation", "conformer", "vit", "bert"])
def test_an_evaluation_has_the_plain_loss(name, tmp_path):
    task, model = prepared(name, tmp_path, *ALL)
    plain_task = family_named(name).task(tmp_path)
    batch = task.view("validation").batch(0, 0)
    with torch.no_grad():
        loss, expected = (each.loss(model.eval(), batch) for each in (task, plain_task))
    assert float(loss.total) == float(expected.total) and loss.parts.keys() == expected.parts.keys()


def test_a_larger_disagreement_lowers_the_loss_and_training_raises_it(tmp_path):
    """Gradient descent on the term alone makes heads differ."""
    task, model = prepared("gpt", tmp_path, "regularise.disagreement_output=100")
    objective, batch = task.phases[0].objective, task.view("train").batch(0, 0)
    values = []
    for _ in range(5):
        model.zero_grad()
        loss = objective.loss(model, objective.outputs(model, batch), batch)
        loss.total.backward()
        values.append(float(loss.parts["disagreement_output"] / loss.count))
        for value in model.parameters():
            value.data.sub_(0.02 * value.grad / (value.grad.norm() + 1e-9))
    assert values == sorted(values) and values[0] < values[-1] - 0.01


NO_HEADS = "disagreement_.*: the model has no attention with several heads"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("translation", ["model.heads=1", ALL[0]], NO_HEADS),
        ("translation", ["regularise.attention=cross"], "regularise.attention: cross has no effect"),
        ("bert", ["regularise.attention=cross", ALL[2]], "the model has no cross attention.*attention=encoder"),
        ("gpt", ["regularise.attention=encoder", ALL[2]], "the model has no encoder attention.*attention=decoder"),
        ("conformer", ["regularise.attention=cross", "model.decoder_depth=0", ALL[1]], "has no cross attention"),
        (
            "captions",
            ["decoder.heads=1", "regularise.attention=decoder", ALL[1]],
            "no decoder attention with several heads.*attention=encoder",
        ),
        ("recurrent translation", [ALL[1]], NO_HEADS),
    ],
)
def test_what_has_no_effect_is_refused(name, settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as error:
        family_named(name).task(tmp_path, *settings).model()
    assert "\n" not in str(error.value)


def test_a_model_without_attention_has_no_heads_to_disagree(tmp_path):
    resnet = next(family for family in VARIANTS if family.name == "resnet")
    with pytest.raises(ConfigError, match=NO_HEADS):
        resnet.task(tmp_path, ALL[2]).model()
