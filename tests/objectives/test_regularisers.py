"""The disagreement of heads as a part of the loss, beside a plain loop over heads and positions."""

from __future__ import annotations

import pytest
import torch

from tests.analysis.test_diversity import plain
from tests.properties.families import family_named
from tformer_cli.analysis.diversity import TERMS
from tformer_cli.config.schema import AttentionKind, RegulariseConfig
from tformer_cli.errors import ConfigError
from tformer_cli.nn.taps import tappable_layers, tapped
from tformer_cli.objectives.base import Objective
from tformer_cli.objectives.regularisers import regularised

ALL = [f"regularise.{name}=1" for name in TERMS]


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
        (
            "conformer",
            ["regularise.attention=cross", "model.decoder_depth=0", "decode.beam=5", ALL[1]],
            "has no cross attention",
        ),
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
    resnet = family_named("resnet")
    with pytest.raises(ConfigError, match=NO_HEADS):
        resnet.task(tmp_path, ALL[2]).model()
