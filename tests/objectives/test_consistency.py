"""Consistency of two passes against the plain formulas, and the parts of a step that it depends on."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.properties.families import family_named
from tformer_cli import tasks
from tformer_cli.errors import ConfigError
from tformer_cli.train.launch import launch


def prepared(name: str, folder, *more: str):
    """The task, its objective in training, a model far from its start, and a batch."""
    task = family_named(name).task(folder, *more)
    torch.manual_seed(0)
    model = task.model()
    for value in model.parameters():
        value.data.add_(0.2 * torch.randn_like(value))
    return task, task.phases[0].objective, model.train(), task.view("train").batch(0, 0)


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """1/2 [KL(p || q) + KL(q || p)] of logits (..., V), summed, in float64."""
    p, q = (logits.double().log_softmax(-1) for logits in (first, second))
    return ((p.exp() * (p - q)).sum() + (q.exp() * (q - p)).sum()) / 2


@pytest.mark.parametrize("name", ["translation", "gpt", "captions"])
def test_r_drop_is_half_of_the_papers_loss_over_the_tokens_of_one_copy(name, tmp_path):
    alpha, smoothing = 5.0, 0.1
    settings = [f"regularise.consistency={alpha}", "model.dropout=0.3", f"optim.label_smoothing={smoothing}"]
    _, objective, model, batch = prepared(name, tmp_path, *settings)
    objective.begin_step(1)
    outputs = objective.outputs(model, batch)
    hidden = [output if isinstance(output, Tensor) else output.hidden for output in outputs]
    assert not torch.equal(*hidden)  # two masks
    for value in hidden:
        value.retain_grad()
    loss = objective.loss(model, outputs, batch)
    real = torch.arange(batch.targets.shape[1]) < batch.target_lengths[:, None]
    logits = [model.logits(value)[real] for value in hidden]
    entropies = [
        functional.cross_entropy(scores, batch.targets[real], reduction="sum", label_smoothing=smoothing)
        for scores in logits
    ]
    expected = (sum(entropies) + alpha * divergence(*logits)) / 2
    assert float(loss.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert int(loss.count) == int(real.sum())
    assert float(loss.parts["consistency"]) == pytest.approx(float(divergence(*logits).detach()), rel=1e-4)
    nll = sum(functional.cross_entropy(scores, batch.targets[real], reduction="sum") for scores in logits) / 2
    assert float(loss.parts["nll"]) == pytest.approx(float(nll.detach()), rel=1e-5)
    gradients = torch.autograd.grad(expected, hidden, retain_graph=True)
    for got, gradient in zip(torch.autograd.grad(loss.total, hidden), gradients, strict=True):
        torch.testing.assert_close(got, gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["text classification", "vit"])
def test_r_drop_of_labels(name, tmp_path):
    settings = ["regularise.consistency=2", "model.dropout=0.3"]
    _, objective, model, batch = prepared(name, tmp_path, *settings)
    objective.begin_step(1)
    first, second = objective.outputs(model, batch)
    loss = objective.loss(model, (first, second), batch)
    plain = sum(objective.objective.loss(model, scores, batch).total for scores in (first, second)) / 2
    expected = plain + divergence(first, second)
    assert not torch.equal(first, second)
    assert float(loss.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    (got,) = torch.autograd.grad(loss.total, first, retain_graph=True)
    (gradient,) = torch.autograd.grad(expected, first)
    torch.testing.assert_close(got, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["translation", "text classification"])
def test_equal_passes_have_the_plain_loss(name, tmp_path):
    settings = ["regularise.consistency=5", "model.dropout=0.3"]
    _, objective, model, batch = prepared(name, tmp_path, *settings)
    objective.begin_step(1)
    outputs = objective.objective.outputs(model, batch)
    loss = objective.loss(model, (outputs, outputs), batch)
    plain = objective.objective.loss(model, outputs, batch)
    assert float(loss.parts["consistency"]) == 0
    assert float(loss.total.detach()) == pytest.approx(float(plain.total.detach()), rel=1e-6)


CTC = ["regularise.consistency=0.2", "augment.time_masks=2", "augment.time_mask_share=0.3", "model.dropout=0"]


@pytest.mark.parametrize("depth", [0, 1])
def test_cr_ctc_compares_two_views_with_constant_targets(depth, tmp_path):
    special = pytest.importorskip("scipy.special")
    _, objective, model, batch = prepared("conformer", tmp_path, *CTC, f"model.decoder_depth={depth}", "decode.beam=5")
    objective.begin_step(500)
    first, second = objective.outputs(model, batch)
    loss = objective.loss(model, (first, second), batch)
    frames = first.memory.lengths.tolist()
    assert len(set(frames)) > 1 and torch.equal(first.memory.lengths, second.memory.lengths)
    pairs = [(first.log_probs[row, :size].exp(), second.log_probs[row, :size].exp()) for row, size in enumerate(frames)]
    numbers = [[value.detach().double().numpy() for value in pair] for pair in pairs]
    both = sum(special.rel_entr(q, p).sum() + special.rel_entr(p, q).sum() for p, q in numbers)
    assert both > 0.01
    assert float(loss.parts["consistency"]) == pytest.approx(both / 2, rel=1e-4)
    plain = [objective.objective.loss(model, outputs, batch).total for outputs in (first, second)]
    weight = 0.2 * 500 / 2000
    expected = float(sum(plain).detach()) / 2 + weight * both / 2
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-5)
    # the gradient of KL(sg(q) || p) by log p is -q
    for view, other, total in ((first, second, plain[0]), (second, first, plain[1])):
        (got,) = torch.autograd.grad(loss.total, view.log_probs, retain_graph=True)
        (of_plain,) = torch.autograd.grad(total / 2, view.log_probs, retain_graph=True)
        for row, size in enumerate(frames):
            q = other.log_probs[row, :size].exp().detach()
            torch.testing.assert_close((got - of_plain)[row, :size], -weight / 2 * q, rtol=1e-3, atol=1e-5)
            assert not (got - of_plain)[row, size:].any()


def test_the_parts_of_cr_ctc_are_means_over_both_views(tmp_path):
    _, objective, model, batch = prepared("conformer", tmp_path, *CTC)
    objective.begin_step(500)
    with torch.no_grad():
        outputs = objective.outputs(model, batch)
        loss = objective.loss(model, outputs, batch)
        first, second = (objective.objective.loss(model, view, batch) for view in outputs)
    assert int(loss.count) == int(first.count) and loss.parts.keys() == {*first.parts, "consistency"}
    for name, part in first.parts.items():
        assert float(part) != float(second.parts[name])
        assert float(loss.parts[name]) == pytest.approx(float(part + second.parts[name]) / 2)


@pytest.mark.parametrize("name", ["text classification", "conformer"])
def test_the_divergence_of_outputs_in_bfloat16_is_computed_in_float32(name, tmp_path):
    settings = CTC if name == "conformer" else ["regularise.consistency=2", "model.dropout=0.3"]
    _, objective, model, batch = prepared(name, tmp_path, *settings)
    objective.begin_step(500)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = objective.outputs(model, batch)
        got = objective.divergence(*outputs)
    if name == "conformer":
        frames = outputs[0].memory.lengths.tolist()
        pairs = [[view.log_probs[row, :size] for view in outputs] for row, size in enumerate(frames)]
        expected = sum(float(divergence(*pair).detach()) for pair in pairs)
    else:
        expected = float(divergence(*outputs).detach())
    assert got.dtype is torch.float32 and float(got.detach()) == pytest.approx(expected, rel=1e-4)


def test_equal_views_do_not_diverge(tmp_path):
    _, objective, model, batch = prepared("conformer", tmp_path, *CTC)
    outputs = objective.objective.outputs(model, batch)
    assert float(objective.loss(model, (outputs, outputs), batch).parts["consistency"]) == 0


def test_views_differ_in_their_masks_alone(tmp_path):
    task, *_ = prepared("conformer", tmp_path, *CTC, "augment.time_warp=5", "augment.noise=1")
    batch = task.view("train").batch(0, 0)
    second = dataclasses.replace(batch, view=1)
    views = [task.data.inputs(each, training=True)[0] for each in (batch, second)]
    hidden = [view == 0 for view in views]
    assert not torch.equal(*hidden)
    seen = ~hidden[0] & ~hidden[1]
    assert seen.any() and torch.equal(views[0][seen], views[1][seen])  # one warp, one noise
    again, _ = task.data.inputs(second, training=True)
    assert torch.equal(views[1], again)
    plain = [task.data.inputs(each, training=False)[0] for each in (batch, second)]
    assert torch.equal(*plain)


@pytest.mark.parametrize("name", ["translation", "text classification", "conformer"])
def test_an_evaluation_has_the_plain_loss(name, tmp_path):
    task, _, model, _ = prepared(name, tmp_path, "regularise.consistency=1", "model.dropout=0.3")
    plain = family_named(name).task(tmp_path)
    batch = task.view("validation").batch(0, 0)
    with torch.no_grad():
        loss, expected = (each.loss(model.eval(), batch) for each in (task, plain))
    assert float(loss.total) == float(expected.total) and loss.parts.keys() == expected.parts.keys()


def test_the_weight_rises_with_the_steps(tmp_path):
    """R-Drop has its weight from the start, CR-CTC after 2,000 steps."""
    text, speech = (
        tasks.build(family_named(name).config(tmp_path, "regularise.consistency=4", "model.dropout=0.3"))
        for name in ("translation", "conformer")
    )
    weights = []
    for objective in (text.phases[0].objective, speech.phases[0].objective):
        for step in (1, 500, 2000, 9000):
            objective.begin_step(step)
            weights.append(objective.weight)
    assert weights == [2, 2, 2, 2, 4 / 2000, 1, 4, 4]


def test_the_loop_tells_the_step_also_after_a_resume(tmp_path, monkeypatch):
    from tformer_cli.objectives.consistency import Consistency

    steps, begin_step = [], Consistency.begin_step
    monkeypatch.setattr(Consistency, "begin_step", lambda self, step: (steps.append(step), begin_step(self, step)))
    family = family_named("translation")
    settings = ["regularise.consistency=1", "model.dropout=0.1", "regularise.disagreement_output=1"]
    settings += ["trainer.evaluate_decoded=false", "trainer.samples=0"]
    for last, resume in ((2, False), (3, True)):
        config = family.config(tmp_path, *settings, f"trainer.steps={last}", "trainer.log_every=1")
        launch(config, tmp_path / "run", resume=resume, quiet=True)
    assert steps == [1, 2, 3]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert lines.count('"train/consistency"') == lines.count('"train/disagreement_output"') == 3


def test_a_step_of_r_drop_is_the_sum_of_its_micro_batches(tmp_path):
    """With given outputs, the loss of a batch and its gradient are the sums of those of its examples."""
    _, objective, model, batch = prepared("translation", tmp_path, "regularise.consistency=5", "model.dropout=0.3")
    objective.begin_step(1)
    first, second = (outputs.detach().requires_grad_() for outputs in objective.outputs(model, batch))
    together = objective.loss(model, (first, second), batch)
    differentiated = (model.output_layer()[0], first, second)
    gradients = torch.autograd.grad(together.total, differentiated)
    sums = [torch.zeros_like(value) for value in gradients]
    alone = []
    for row in range(len(batch.sample_ids)):
        fields = {item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)}
        part = {name: value[row : row + 1] if isinstance(value, Tensor) else value for name, value in fields.items()}
        rows = (first[row : row + 1], second[row : row + 1])
        alone.append(objective.loss(model, rows, type(batch)(**part)))
        for total, gradient in zip(sums, torch.autograd.grad(alone[-1].total, differentiated), strict=True):
            total += gradient
    for gradient, total in zip(gradients, sums, strict=True):
        assert gradient.abs().max() > 0.01
        torch.testing.assert_close(gradient, total, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))
    assert math.isclose(float(together.total.detach()), sum(float(loss.total.detach()) for loss in alone), rel_tol=1e-5)
    assert int(together.count) == sum(int(loss.count) for loss in alone)
    assert np.isclose(float(together.parts["consistency"]), sum(float(loss.parts["consistency"]) for loss in alone))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("translation", ["model.dropout=0"], "two passes over a batch are equal.*model.dropout=0.1"),
        ("bert", [], "regularise.consistency: not available for this task"),
        ("token tagging", [], "regularise.consistency: not available for this task"),
        ("conformer", ["objective.ctc_weight=0"], "objective.ctc_weight is 0"),
        (
            "conformer",
            ["model.dropout=0", "augment.time_masks=0", "augment.frequency_masks=0"],
            "two passes over a batch are equal",
        ),
        (
            "conformer",
            ["model.dropout=0", "augment.time_masks=2", "augment.time_mask_share=0", "augment.frequency_masks=0"],
            "two passes over a batch are equal",
        ),
        ("translation", ["regularise.consistency=0", "regularise.consistency_warmup=50"], "warmup=0"),
        ("conformer", ["regularise.consistency=0", "regularise.consistency_warmup=50"], "warmup=2000"),
    ],
)
def test_consistency_is_refused_where_it_has_no_meaning(name, settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as error:
        family = family_named(name)
        tasks.build(family.config(tmp_path, "model.dropout=0.1", "regularise.consistency=1", *settings))
    assert "\n" not in str(error.value)


def test_numbers_have_no_distribution(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("text\tlabel\n" + "".join(f"a film {row}\t{row / 7:.2f}\n" for row in range(20)))
    settings = [f"data.path={path}", "data.target=number", "model.dropout=0.1", "regularise.consistency=1"]
    settings += ["data.validation_share=0.3", "tokenizer.vocab_size=21"]
    with pytest.raises(ConfigError, match="needs exactly one label per example"):
        family_named("text classification").task(tmp_path, *settings).model()
