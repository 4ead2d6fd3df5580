"""Optimisers and learning rates follow their published formulas."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from tests.properties.families import family_named
from tformer_cli.config.schema import Method, OptimConfig, Schedule
from tformer_cli.models.sagan import GeneratorNorm
from tformer_cli.models.sagan.model import ConditionalNorm
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.nn.convolution import FrameBatchNorm
from tformer_cli.train import muon
from tformer_cli.train.averaging import MovingAverage
from tformer_cli.train.budget import Budget
from tformer_cli.train.layers import layer_scales
from tformer_cli.train.muon import orthogonalized
from tformer_cli.train.optim import build_optimizer, decayed, load_optimizer_tensors, optimizer_tensors
from tformer_cli.train.schedule import LearningRate


def rates(schedule: Schedule, steps: int = 100, **settings) -> list[float]:
    config = OptimConfig(lr=1.0, warmup_steps=10, schedule=schedule, **settings)
    return [LearningRate(config, Budget(steps)).advance(step, 0.0) for step in range(1, steps + 1)]


@pytest.mark.parametrize("schedule", list(Schedule))
def test_warm_up_is_linear_to_the_peak(schedule):
    factors = rates(schedule)
    assert factors[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert max(factors) == pytest.approx(1.0)


@pytest.mark.parametrize("steps", [10, 100, 2, 0])
def test_a_resumed_run_has_the_warm_up_of_its_new_setting(steps):
    before = LearningRate(OptimConfig(lr=1.0, warmup_steps=10, schedule=Schedule.constant), Budget(200))
    for step in range(1, 6):
        before.advance(step, 0.0)
    after = LearningRate(OptimConfig(lr=1.0, warmup_steps=steps, schedule=Schedule.constant), Budget(200))
    after.restore(dataclasses.asdict(before.state), Budget(200), 5, 0.0)
    assert not after.shortened
    rates = [after.advance(step, 0.0) for step in range(6, 121)]
    assert rates == pytest.approx([min(1.0, step / max(steps, 1)) for step in range(6, 121)])


def test_shapes_after_the_warm_up():
    assert rates(Schedule.constant)[-1] == 1.0
    assert rates(Schedule.inverse_square_root)[39] == pytest.approx(math.sqrt(10 / 40))
    assert rates(Schedule.linear, final_lr_ratio=0.1)[-1] == pytest.approx(0.1)
    assert rates(Schedule.linear)[54] == pytest.approx(0.5)
    assert rates(Schedule.cosine, final_lr_ratio=0.2)[-1] == pytest.approx(0.2)
    assert rates(Schedule.cosine)[54] == pytest.approx(0.5)
    stable = rates(Schedule.warmup_stable_decay, decay_steps=20)
    assert stable[79] == 1.0 and stable[89] == pytest.approx(0.5) and stable[-1] == pytest.approx(0.0)


def test_only_matrices_decay():
    model = Seq2Seq(Seq2SeqConfig(dim=8, heads=2, ffn_dim=16, encoder_depth=1, decoder_depth=1), 20, 20)
    yes, no = decayed(model)
    assert sorted(yes + no) == sorted(name for name, _ in model.named_parameters())
    assert all(name.endswith("weight") and "norm" not in name and "embedding" not in name for name in yes)
    assert any("embedding" in name for name in no) and any("norm" in name for name in no)
    tied = nn.ModuleDict({"output": nn.Linear(4, 7), "embedding": nn.Embedding(7, 4)})
    tied["output"].weight = tied["embedding"].weight
    assert decayed(tied) == ([], ["output.weight", "output.bias"])


@pytest.mark.parametrize("method", list(Method), ids=lambda method: method.name)
def test_each_parameter_is_in_the_group_that_it_belongs_to(method):
    model = nn.ModuleDict({
        "embedding": nn.Embedding(7, 4),
        "blocks": nn.ModuleList([nn.Conv1d(4, 4, 3, groups=4), nn.LayerNorm(4)]),
        "output": nn.Linear(4, 7),
    })  # fmt: skip
    model["embedding"].requires_grad_(False)
    rates = dict(lr=0.3, weight_decay=0.1, momentum=0.8, layer_decay=0.5, beta1=0.7, beta2=0.6, eps=0.01)
    optimizer = build_optimizer(model, OptimConfig(method=method, **rates))
    assert optimizer.defaults["lr"] == 0.3 and optimizer.defaults["betas"] == (0.7, 0.6)
    assert optimizer.defaults["eps"] == 0.01 and optimizer.defaults["fused"]
    names = {id(value): name for name, value in model.named_parameters()}
    groups = {
        names[id(value)]: tuple(group[key] for key in ("weight_decay", "muon", "momentum", "scale"))
        for group in optimizer.param_groups
        for value in group["params"]
    }
    assert groups == {
        "blocks.0.weight": (0.1, False, 0.8, 0.25),  # depthwise: no matrix
        "blocks.0.bias": (0.0, False, 0.8, 0.25),
        "blocks.1.weight": (0.0, False, 0.8, 0.5),
        "blocks.1.bias": (0.0, False, 0.8, 0.5),
        "output.weight": (0.1, method is Method.muon, 0.8, 1.0),
        "output.bias": (0.0, False, 0.8, 1.0),
    }


def train_a_little(model: nn.Module, optimizer, steps: int, infinite_at: int = -1) -> None:
    for step in range(steps):
        torch.manual_seed(step)
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.grad_scale = torch.tensor(1.0)
        optimizer.found_inf = torch.tensor(float(step == infinite_at))
        optimizer.step()
        optimizer.zero_grad()


METHODS = [OptimConfig(method=method, weight_decay=0.1) for method in Method]


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.method.value)
def test_found_inf_leaves_everything_as_it_is(config):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, config)
    train_a_little(model, optimizer, 2)
    before = {
        name: value.clone()
        for name, value in {**dict(model.named_parameters()), **optimizer_tensors(model, optimizer)}.items()
    }
    train_a_little(model, optimizer, 1, infinite_at=0)
    after = {**dict(model.named_parameters()), **optimizer_tensors(model, optimizer)}
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.method.value)
def test_state_goes_out_and_in(config):
    torch.manual_seed(0)
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = build_optimizer(model, config)
    train_a_little(model, optimizer, 3)
    other.load_state_dict(model.state_dict())
    again = build_optimizer(other, config)
    load_optimizer_tensors(
        other, again, {name: value.clone() for name, value in optimizer_tensors(model, optimizer).items()}
    )
    train_a_little(model, optimizer, 3)
    train_a_little(other, again, 3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_moving_average_forgets_the_start_soon_and_swaps():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = MovingAverage(model, 0.9)
    expected = 0.0
    for step in range(1, 200):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert average.average[0].item() == pytest.approx(expected, rel=1e-5)
    with average.replacing():
        assert model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert model.weight.item() == 199.0


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm1d(3), FrameBatchNorm(3), ConditionalNorm(3, 2, GeneratorNorm.batch)],
    ids=lambda x: type(x).__name__,
)
def test_a_moving_average_averages_running_statistics(layer):
    statistics = [buffer for buffer in layer.buffers() if buffer.is_floating_point()]
    assert len(statistics) == 2
    average = MovingAverage(layer, 0.5)
    expected = [buffer.clone() for buffer in statistics]
    for step in range(1, 4):
        decay = min(0.5, (1 + step) / (10 + step))
        for index, buffer in enumerate(statistics):
            buffer.fill_(float(10 * step + index))
            expected[index] = decay * expected[index] + (1 - decay) * buffer
        average.update(step)
    with average.replacing():
        for buffer, value in zip(statistics, expected, strict=True):
            torch.testing.assert_close(buffer, value)
    assert [buffer.flatten()[0].item() for buffer in statistics] == [30, 31]


def test_orthogonalized_is_near_the_polar_factor():
    for shape in ((3, 16, 40), (2, 40, 16)):
        x = torch.randn(*shape, dtype=torch.float64)
        u, _, v = torch.linalg.svd(x, full_matrices=False)
        result = orthogonalized(x)
        values = torch.linalg.svdvals(result)
        assert values.min() > 0.6 and values.max() < 1.25
        assert torch.nn.functional.cosine_similarity(result.flatten(), (u @ v).flatten(), dim=0) > 0.98


def test_orthogonalized_does_not_use_tf32(monkeypatch):
    seen = []
    monkeypatch.setattr(muon, "_factor", lambda gram: seen.append(torch.get_float32_matmul_precision()) or gram)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        orthogonalized(torch.ones(1, 2, 2))
        assert set(seen) == {"highest"} and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_muon_takes_the_steps_of_torchs_own():
    torch.manual_seed(0)
    model, other = nn.Linear(24, 16, bias=False), nn.Linear(24, 16, bias=False)
    other.load_state_dict(model.state_dict())
    ours = build_optimizer(model, OptimConfig(method=Method.muon, lr=0.01, weight_decay=0.1))
    theirs = torch.optim.Muon(other.parameters(), lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    start = model.weight.detach().clone()
    for _ in range(5):
        gradient = torch.randn(16, 24)
        model.weight.grad, other.weight.grad = 8 * gradient, gradient.clone()
        ours.grad_scale, ours.found_inf = torch.tensor(8.0), torch.tensor(0.0)
        ours.step()
        theirs.step()
    moved = (other.weight - start).norm()
    assert (model.weight - other.weight).norm() < 0.02 * moved  # theirs iterates in bfloat16


LAYERS = {
    "translation": (
        ["model.tie_embeddings=none", "model.positions=learnable_sinusoidal"],
        {"source_embedding.weight": 2, "source_positions.frequency": 2, "encoder.blocks.0.": 1, "encoder.norm.bias": 0,
         "target_embedding.weight": 5, "target_positions.frequency": 5, "decoder.blocks.0.": 4, "decoder.blocks.3.": 1,
         "decoder.norm.bias": 0, "output.weight": 0},
    ),
    "translation, tied": (["model.final_bias=true"], {"target_embedding.weight": 5, "final_bias": 0}),
    "recurrent translation": (
        ["model.tie_embeddings=all"],
        {"encoder.embedding.weight": 5, "encoder.stack.blocks.0.": 1, "decoder.stack.blocks.0.": 4,
         "decoder.initial.0.bias": 5, "decoder.stack.blocks.3.": 1, "decoder.readout.project.bias": 0},
    ),
    "recurrent translation, untied": (
        ["model.tie_embeddings=none"],
        {"encoder.embedding.weight": 2, "decoder.embedding.weight": 5, "decoder.output.weight": 0},
    ),
    "editing": (
        ["model.tie_embeddings=none", "model.shared_decoder=false", "model.delete_depth=2"],
        {"source_embedding.weight": 2, "encoder.blocks.0.": 1, "target_embedding.weight": 5, "decoder.blocks.0.": 4,
         "delete_decoder.blocks.0.": 2, "delete_head.weight": 0, "output.weight": 0},
    ),
    "captions": (
        ["decoder.depth=4"],
        {"encoder.patches.project.bias": 2, "encoder.stack.blocks.0.": 1, "bridge.weight": 0,
         "decoder.target_embedding.weight": 5, "decoder.target_positions.table": 5, "decoder.decoder.blocks.0.": 4},
    ),
    "conformer": (
        ["model.decoder_depth=4"],
        {"encoder.subsampling.project.bias": 2, "ctc.bias": 0, "target_embedding.weight": 5, "decoder.blocks.0.": 4},
    ),
    "bert": (
        ["model.depth=4"],
        {"encoder.embedding.weight": 5, "encoder.positions.table": 5, "encoder.norm.bias": 5,
         "encoder.stack.blocks.0.": 4, "encoder.stack.blocks.3.": 1, "encoder.stack.norm.bias": 0, "head.bias": 0},
    ),
    "vit": (
        ["model.depth=4"],
        {"encoder.class_token": 5, "encoder.positions.table": 5, "encoder.patches.project.bias": 5,
         "encoder.stack.blocks.0.": 4, "head.output.bias": 0},
    ),
    "masked patches": ([], {"mask": 2, "encoder.stack.blocks.0.": 1, "output.bias": 0}),
    "gpt": (["model.depth=4"], {"embedding.weight": 5, "stack.blocks.0.": 4, "stack.norm.bias": 0}),
    "translation, biased": (
        ["model.positions=t5"],
        {"encoder.bias": 2, "encoder.norm.bias": 0, "decoder.bias": 5, "decoder.blocks.0.": 4, "decoder.norm.bias": 0},
    ),
    "vit, biased": (
        ["model.depth=4", "model.positions=relative_2d"], {"encoder.stack.bias": 5, "encoder.stack.norm.bias": 0}
    ),
    "vit, hybrid": (
        ["model.stem=resnet", "model.resnet.depths=[2]", "model.resnet.dim=8", "model.patch_size=1", "model.depth=4"],
        {"encoder.stem.": 5, "encoder.patches.project.bias": 5, "encoder.stack.blocks.0.": 4, "head.output.bias": 0},
    ),
    "resnet": (
        ["model.depths=[1,2]"],
        {"encoder.stem.": 4, "encoder.stages.0.0.": 3, "encoder.stages.1.0.": 2, "encoder.stages.1.1.": 1,
         "head.output.bias": 0},
    ),
}  # fmt: skip
"""Layers above parameters of real models, by the beginnings of their names; encoders have depth 1, decoders 4."""


@pytest.mark.parametrize("case", LAYERS)
def test_lower_layers_learn_less(case, tmp_path):
    settings, layers = LAYERS[case]
    family = family_named(case.split(",")[0])
    if family.name.endswith("translation") or family.name == "editing":
        settings = [*settings, "model.encoder_depth=1", "model.decoder_depth=4"]
    model = family.task(tmp_path, *settings).model()
    scales = layer_scales(model, 0.5)
    assert list(scales) == [name for name, _ in model.named_parameters()]
    for prefix, above in layers.items():
        assert {scale for name, scale in scales.items() if name.startswith(prefix)} == {0.5**above}, prefix
    assert set(layer_scales(model, 1.0).values()) == {1.0}


def test_the_optimiser_has_the_factors(tmp_path):
    model = family_named("bert").task(tmp_path, "model.depth=4").model()
    optimizer = build_optimizer(model, OptimConfig(layer_decay=0.5))
    scales = {id(value): group["scale"] for group in optimizer.param_groups for value in group["params"]}
    expected = layer_scales(model, 0.5)
    assert {name: scales[id(value)] for name, value in model.named_parameters()} == expected


@pytest.mark.parametrize("method", list(Method), ids=lambda method: method.name)
def test_a_resumed_optimiser_knows_how_weights_lie_in_memory(method):
    """Convolutions have channels innermost, files do not."""

    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, numbers: range) -> None:
        for number in numbers:
            torch.manual_seed(number)
            model(torch.randn(2, 3, 5, 5)).square().sum().backward()
            optimizer.grad_scale, optimizer.found_inf = torch.ones(()), torch.zeros(())
            optimizer.step()
            optimizer.zero_grad()

    config, models = OptimConfig(method=method), []
    for interrupted in (False, True):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        optimizer = build_optimizer(model, config)
        steps(model, optimizer, range(3))
        if interrupted:
            saved = {name: value.clone().contiguous() for name, value in optimizer_tensors(model, optimizer).items()}
            optimizer = build_optimizer(model, config)
            load_optimizer_tensors(model, optimizer, saved)
        steps(model, optimizer, range(3, 6))
        models.append(model)
    assert all(torch.equal(a, b) for a, b in zip(*(model.parameters() for model in models), strict=True))
