"""The Conformer against torchaudio's and Hugging Face's with the same random weights, and its invariants."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from tformer_cli.config.schema import GRID_POSITIONS, Activation, Combine, Norm, Normalisation, Positions
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.models.conformer import ConformerConfig
from tformer_cli.models.conformer.model import Conformer
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.nn import backend as backends
from tformer_cli.nn.attention import Attention, Mask
from tformer_cli.nn.block import Block, Stack
from tformer_cli.nn.convolution import ConvolutionModule, Frames
from tformer_cli.nn.dropout import Dropout

BINS, VOCABULARY = 10, 13
LINE = [scheme for scheme in Positions if scheme not in GRID_POSITIONS]
SETTINGS = {scheme.name: {"positions": scheme} for scheme in LINE}
SETTINGS |= {
    "group": {"convolution_norm": Normalisation.group},
    "layer": {"convolution_norm": Normalisation.layer, "positions": Positions.rotary},
    "causal": {"causal_convolution": True},
    "eight": {"subsampling": 8, "subsampling_dim": 3},
    "post-norm": {"norm": Norm.post, "positions": Positions.rotary},
    "without-bias": {"bias": False},
    "without-convolution": {"convolution": False},
    "without-attention": {"self_attention": False, "positions": Positions.t5},
    "swish-beta": {"activation": Activation.swish_beta, "positions": Positions.rotary},
    "concatenated": {"positions": Positions.sinusoidal, "combine": Combine.concatenate},
}
DIM, HEADS, FFN, KERNEL, DEPTH = 24, 4, 40, 7, 3


def randomised(model: nn.Module) -> nn.Module:
    """Weights and statistics that are nowhere 0 or 1 by chance; in evaluation mode."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "frequency" not in name:
                value.copy_(0.2 * torch.randn_like(value) + (1 if "norm.weight" in name else 0))
        for name, value in model.named_buffers():
            if name.endswith(("norm.mean", "norm.variance")):
                value.copy_(torch.rand_like(value) + (0.5 if "variance" in name else 0))
    return model.eval()


def config(**settings) -> ConformerConfig:
    values = {
        "dim": 16, "heads": 2, "ffn_dim": 24, "depth": 2, "kernel_size": 5, "relative_distance": 4, "dropout": 0.1,
        "decoder_depth": 1, "max_length": 16, "max_frames": 40,
    }  # fmt: skip
    return ConformerConfig(**values | settings)


def build(dtype: torch.dtype = torch.float64, **settings) -> Conformer:
    return randomised(Conformer(config(**settings), BINS, VOCABULARY)).to(dtype)


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS.keys())
def model(request: pytest.FixtureRequest) -> Conformer:
    return build(**request.param)


def padded_batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Recordings and targets of different lengths; the padding is noise, which must not matter."""
    lengths, target_lengths = torch.tensor([61, 35, 4, 50]), torch.tensor([4, 6, 2, 1])
    return torch.randn(4, 61, BINS, dtype=dtype), lengths, torch.randint(VOCABULARY, (4, 6)), target_lengths


@torch.no_grad()
def test_padding_and_batch_mates_change_nothing(backend: str, model: Conformer) -> None:
    features, lengths, target, target_lengths = padded_batch()
    memory = model.encode(features, lengths)
    assert memory.lengths.tolist() == model.output_frames(lengths).tolist() and memory.lengths[2] == 0
    assert np.array_equal(model.output_frames(lengths.numpy()), memory.lengths.numpy())
    scores, written = model.ctc_logits(memory.states), model.logits(model.decode(memory, target))
    assert scores.shape == (4, int(memory.lengths[0]), VOCABULARY) and scores.isfinite().all()
    assert torch.equal(written, model.logits(model(features, lengths, target)))
    for row in range(4):
        s, t, frames = int(lengths[row]), int(target_lengths[row]), int(memory.lengths[row])
        alone = model.encode(features[row : row + 1, :s], lengths[row : row + 1])
        assert alone.lengths.tolist() == [frames]
        again = model.logits(model.decode(alone, target[row : row + 1, :t]))
        close = {"atol": 1e-7, "rtol": 1e-7}  # rotary turns in float32
        torch.testing.assert_close(scores[row, :frames], model.ctc_logits(alone.states)[0, :frames], **close)
        torch.testing.assert_close(written[row : row + 1, :t], again, **close)


@torch.no_grad()
def test_padding_changes_nothing_in_float32(backend: str) -> None:
    model = build(torch.float32, dim=64, heads=4, ffn_dim=256, depth=4, kernel_size=31)
    features, lengths, _, _ = padded_batch(torch.float32)
    together = model.encode(features, lengths)
    for row in (0, 1, 3):
        alone = model.encode(features[row : row + 1, : lengths[row]], lengths[row : row + 1]).states
        torch.testing.assert_close(together.states[row : row + 1, : alone.shape[1]], alone, atol=1e-5, rtol=1e-6)


def test_backends_agree_in_value_and_gradient(monkeypatch: pytest.MonkeyPatch, model: Conformer) -> None:
    features, lengths, target, _ = padded_batch()
    results = []
    for name in ("explicit", "fused"):
        monkeypatch.setattr(backends, "attention", name)
        memory = model.encode(features, lengths)
        out = [model.ctc_logits(memory.states)[0], model.logits(model.decode(memory, target))]
        loss = sum(part.square().mean() for part in out)
        results.append([*out, *torch.autograd.grad(loss, list(model.parameters()))])
    for explicit, fused in zip(*results, strict=True):
        torch.testing.assert_close(explicit, fused, atol=1e-9, rtol=1e-7)


def test_every_weight_learns(model: Conformer) -> None:
    features, lengths, target, _ = padded_batch()
    model.train()
    memory = model.encode(features, lengths)
    loss = model.ctc_logits(memory.states)[0].square().sum() + model.logits(model.decode(memory, target)).square().sum()
    loss.backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())
    still = {name for name, value in model.named_parameters() if not value.grad.any()}
    assert not still


@torch.no_grad()
def test_cached_decoding_equals_the_full_pass(backend: str, model: Conformer) -> None:
    features, lengths, target, _ = padded_batch()
    full = model(features, lengths, target)
    state = model.start(model.encode(features, lengths), beams=1, max_steps=6)
    steps = torch.cat([model.step(target[:, t : t + 1], state) for t in range(6)], dim=1)
    torch.testing.assert_close(steps, full, atol=1e-6, rtol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(("setting", "part"), [("convolution", "convolution"), ("self_attention", "attention")])
def test_a_block_without_a_part_is_one_whose_part_adds_nothing(setting: str, part: str) -> None:
    complete = build()
    for block in complete.encoder.stack.blocks:
        for value in getattr(block, part).sublayer.project_out.parameters():
            value.zero_()
    without = build(**{setting: False})
    weights = complete.state_dict()
    without.load_state_dict({name: weights[name] for name in without.state_dict()})
    left_out = {name for name in weights if name not in without.state_dict()}
    assert left_out and all(f".{part}." in name and name.startswith("encoder.stack.blocks.") for name in left_out)
    features, lengths, _, _ = padded_batch()
    torch.testing.assert_close(without.encode(features, lengths).states, complete.encode(features, lengths).states)


def test_a_conformer_needs_convolution_or_attention() -> None:
    with pytest.raises(ConfigError, match="model.convolution and model.self_attention cannot both be false"):
        config(convolution=False, self_attention=False).check()


def test_without_a_decoder_there_are_no_weights_of_one() -> None:
    model = Conformer(config(decoder_depth=0), BINS, VOCABULARY)
    assert {name.partition(".")[0] for name in model.state_dict()} == {"encoder", "ctc"}


def test_dropout_is_seeded_and_off_in_evaluation() -> None:
    model = build(dropout=0.3)
    features, lengths, _, _ = padded_batch()

    def scores() -> Tensor:
        return model.ctc_logits(model.encode(features, lengths).states)

    assert torch.equal(scores(), scores())
    model.train()
    torch.manual_seed(4)
    first = scores()
    assert not torch.equal(first, scores())
    torch.manual_seed(4)
    assert torch.equal(first, scores())


@torch.no_grad()
def test_the_decoder_is_the_transformers() -> None:
    ours = build()
    common = {item.name for item in fields(Seq2SeqConfig)} & {item.name for item in fields(ConformerConfig)}
    same = Seq2SeqConfig(**{name: getattr(ours.config, name) for name in common}, encoder_depth=1)
    theirs = randomised(Seq2Seq(same, VOCABULARY, VOCABULARY)).double()
    weights = {name: value for name, value in theirs.state_dict().items() if name in ours.state_dict()}
    assert {name.split(".")[0] for name in weights} >= {"decoder", "target_embedding"}
    ours.load_state_dict(weights, strict=False)
    features, lengths, target, _ = padded_batch()
    memory = ours.encode(features, lengths)
    hidden = ours.decode(memory, target)
    assert torch.equal(hidden, theirs.decode(memory, target)) and hidden.any()
    assert torch.equal(ours.logits(hidden), theirs.logits(hidden))


def test_projections_begin_as_glorot_and_bengio_have_them() -> None:
    model = Conformer(config(dim=64, ffn_dim=96), BINS, VOCABULARY)
    block = model.encoder.stack.blocks[0]
    linear = [model.ctc, block.attention.sublayer.project_out, *block.convolution.sublayer.children()]
    weights = [each.weight for each in linear if isinstance(each, nn.Linear)]
    weights += block.attention.sublayer.project_qkv.weight.chunk(3)  # each a matrix of its own
    assert len(weights) == 7
    for weight in weights:
        bound = (6 / sum(weight.shape)) ** 0.5  # eq. 16
        assert 0.9 * bound < weight.abs().max() <= bound


@torch.no_grad()
def test_every_dropout_acts() -> None:
    model = build(norm=Norm.pre).train()
    features, lengths, target, _ = padded_batch()
    dropouts = {name: module for name, module in model.named_modules() if isinstance(module, Dropout)}
    for each in model.modules():
        if isinstance(each, Attention):
            each.dropout = 0.0

    def outputs() -> Tensor:
        memory = model.encode(features, lengths)
        return torch.cat([model.ctc_logits(memory.states).flatten(), model.decode(memory, target).flatten()])

    for name, module in dropouts.items():
        for other in dropouts.values():
            other.rate = 0.0
        assert torch.equal(outputs(), outputs())
        module.rate = 0.5
        assert not torch.equal(outputs(), outputs()), name
    for module in dropouts.values():
        module.rate = 0.5 if module is model.dropout else 0.0
    memory = model.encode(features, lengths)
    assert not torch.equal(model.ctc_logits(memory.states), model.ctc_logits(memory.states))
    assert not torch.equal(model.decode(memory, target), model.decode(memory, target))


@pytest.mark.parametrize("scheme", [Positions.learned, Positions.sinusoidal], ids=lambda scheme: scheme.name)
def test_a_recording_that_is_too_long_for_absolute_positions_is_named(scheme: Positions) -> None:
    model = build(positions=scheme, max_frames=10)
    features = torch.randn(1, 61, BINS, dtype=torch.float64)
    with pytest.raises(DataError, match=rf"14 frames after subsampling, but model.positions={scheme.name} has only 10"):
        model.encode(features, torch.tensor([61]))


@pytest.mark.parametrize(
    ("shape", "millions"),
    [
        ({"depth": 16, "dim": 144, "heads": 4, "ffn_dim": 576}, 8.86),
        ({"depth": 16, "dim": 256, "heads": 4, "ffn_dim": 1024}, 27.59),
        ({"depth": 17, "dim": 512, "heads": 8, "ffn_dim": 2048}, 115.64),
    ],
    ids=["small", "medium", "large"],
)
def test_parameters_of_the_papers_models(shape: dict, millions: float) -> None:
    """Table 1 has 10.3, 30.7 and 118.8 million with an LSTM decoder and a joint network, which CTC does without."""
    with torch.device("meta"):
        model = Conformer(ConformerConfig(**shape), 80, 1024)
    assert sum(value.numel() for value in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


# --- torchaudio's Conformer ---


def torchaudio_conformer() -> ModuleType:
    """Their file alone, from where `make` puts the package: it does not load without what its binaries want."""
    path = Path(sys.prefix) / "torchaudio" / "torchaudio" / "models" / "conformer.py"
    if not path.is_file():
        pytest.skip("torchaudio is not beside the environment; `make test` puts it there")
    spec = importlib.util.spec_from_file_location("torchaudio_conformer", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stack(**settings) -> Stack:
    """Blocks alone, of random weights."""
    shape = {"dim": DIM, "heads": HEADS, "ffn_dim": FFN, "depth": DEPTH, "kernel_size": KERNEL, "dropout": 0.0}
    encoder = Conformer(ConformerConfig(**shape | settings), BINS, VOCABULARY).encoder
    return randomised(encoder.stack)


def run(blocks: Stack, x: Tensor, lengths: Tensor) -> Tensor:
    return blocks(x, mask=Mask.from_lengths(lengths, x.shape[1]), frames=Frames(lengths, x.shape[1]))


@torch.no_grad()
def copy_feed_forward(residual: nn.Module, norm: nn.Module, first: nn.Module, second: nn.Module) -> None:
    norm.load_state_dict(residual.norm.state_dict())
    first.load_state_dict(residual.sublayer.project_in.state_dict())
    second.load_state_dict(residual.sublayer.project_out.state_dict())


@torch.no_grad()
def copy_convolution(ours: ConvolutionModule, first: nn.Module, depthwise: nn.Module, norm: nn.Module, last: nn.Module):
    for mine, theirs in ((ours.project_in, first), (ours.depthwise, depthwise), (ours.project_out, last)):
        theirs.weight.copy_(mine.weight.view_as(theirs.weight))
        if theirs.bias is not None:
            theirs.bias.copy_(mine.bias)
    norm.weight.copy_(ours.norm.weight)
    norm.bias.copy_(ours.norm.bias)
    if isinstance(norm, nn.BatchNorm1d):
        norm.running_mean.copy_(ours.norm.mean)
        norm.running_var.copy_(ours.norm.variance)


@torch.no_grad()
def torchaudio_like(ours: Stack, norm: Normalisation) -> nn.Module:
    """Their model with our weights."""
    group = norm is Normalisation.group
    theirs = torchaudio_conformer().Conformer(DIM, HEADS, FFN, DEPTH, KERNEL, use_group_norm=group)
    for block, layer in zip(ours.blocks, theirs.conformer_layers, strict=True):
        for part, module in ((block.feed_forward_before, layer.ffn1), (block.feed_forward, layer.ffn2)):
            copy_feed_forward(part, module.sequential[0], module.sequential[1], module.sequential[4])
        layer.self_attn_layer_norm.load_state_dict(block.attention.norm.state_dict())
        layer.self_attn.in_proj_weight.copy_(block.attention.sublayer.project_qkv.weight)
        layer.self_attn.in_proj_bias.copy_(block.attention.sublayer.project_qkv.bias)
        layer.self_attn.out_proj.load_state_dict(block.attention.sublayer.project_out.state_dict())
        parts = layer.conv_module.sequential
        layer.conv_module.layer_norm.load_state_dict(block.convolution.norm.state_dict())
        copy_convolution(block.convolution.sublayer, parts[0], parts[2], parts[3], parts[5])
        layer.final_layer_norm.load_state_dict(block.norm.state_dict())
    return theirs.eval()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("norm", [Normalisation.batch, Normalisation.group], ids=lambda norm: norm.name)
def test_equals_torchaudio(backend: str, norm: Normalisation, training: bool) -> None:
    ours = stack(positions=Positions.none, convolution_norm=norm).train(training)
    theirs = torchaudio_like(ours, norm).train(training)
    x, lengths = torch.randn(3, 20, DIM, requires_grad=True), torch.tensor([20, 20, 20])
    got, expected = run(ours, x, lengths), theirs(x, lengths)[0]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    seed = torch.randn_like(got)
    (a,) = torch.autograd.grad((got * seed).sum(), x)
    (b,) = torch.autograd.grad((expected * seed).sum(), x)
    torch.testing.assert_close(a / b.abs().max(), b / b.abs().max(), atol=1e-5, rtol=1e-5)
    for block, layer in zip(ours.blocks, theirs.conformer_layers, strict=True):
        if norm is Normalisation.batch:
            theirs_norm = layer.conv_module.sequential[3]
            torch.testing.assert_close(block.convolution.sublayer.norm.mean, theirs_norm.running_mean)
            torch.testing.assert_close(block.convolution.sublayer.norm.variance, theirs_norm.running_var)


@torch.no_grad()
def test_equals_what_torchaudio_gives_without_padding(backend: str) -> None:
    """Theirs convolves padding: within a batch the last frames of a shorter recording are others. Ours are the same."""
    ours = stack(positions=Positions.none)
    theirs = torchaudio_like(ours, Normalisation.batch)
    x, lengths = torch.randn(2, 20, DIM), torch.tensor([20, 12])
    alone = theirs(x[1:, :12], lengths[1:])[0][0]
    torch.testing.assert_close(run(ours, x, lengths)[1, :12], alone, atol=1e-5, rtol=1e-5)
    assert (theirs(x, lengths)[0][1, :12] - alone).abs().max() > 0.01


# --- Hugging Face's Wav2Vec2-Conformer ---


def half_order(width: int) -> Tensor:
    """Where numbers lie that theirs turns as (i, i + K / 2) and ours as (2 i, 2 i + 1), in heads of width K."""
    return torch.arange(width).view(2, -1).T.flatten()


def frequency_wise() -> Tensor:
    """A projection that keeps each rotary frequency to itself (heads may mix), and so commutes with turning; (D, D).

    Numbers of a head lie as in theirs: first all real parts, then all imaginary ones.
    """
    pairs = DIM // HEADS // 2
    real, imaginary = 0.3 * torch.randn(2, pairs, HEADS, HEADS)
    weight = torch.zeros(HEADS, 2, pairs, HEADS, 2, pairs)
    for pair in range(pairs):
        weight[:, 0, pair, :, 0, pair] = weight[:, 1, pair, :, 1, pair] = real[pair]
        weight[:, 1, pair, :, 0, pair] = imaginary[pair]
        weight[:, 0, pair, :, 1, pair] = -imaginary[pair]
    return weight.view(DIM, DIM)


@torch.no_grad()
def huggingface_like(ours: Stack, kind: str) -> tuple[list[nn.Module], nn.Module]:
    """Their layers with our weights, and what makes their positions; turns rotary weights into what theirs can do.

    Theirs turns the layer's input, before the projections to queries and keys, where Su et al. 2021, eq. 16, turns
    these: the same for projections that keep each frequency to itself, without biases.
    """
    shape = transformers.Wav2Vec2ConformerConfig(
        hidden_size=DIM, num_attention_heads=HEADS, intermediate_size=FFN, conv_depthwise_kernel_size=KERNEL,
        position_embeddings_type=kind, hidden_act="swish", num_hidden_layers=DEPTH, hidden_dropout=0.0,
        num_conv_pos_embedding_groups=2, attn_implementation="eager",
    )  # fmt: skip
    encoder = transformers.Wav2Vec2ConformerModel(shape).encoder
    for block, layer in zip(ours.blocks, encoder.layers, strict=True):
        for part, norm, module in (
            (block.feed_forward_before, layer.ffn1_layer_norm, layer.ffn1),
            (block.feed_forward, layer.ffn2_layer_norm, layer.ffn2),
        ):
            copy_feed_forward(part, norm, module.intermediate_dense, module.output_dense)
        attention = block.attention.sublayer
        layer.self_attn_layer_norm.load_state_dict(block.attention.norm.state_dict())
        linears = [layer.self_attn.linear_q, layer.self_attn.linear_k, layer.self_attn.linear_v]
        if kind == "rotary":
            order = half_order(DIM // HEADS)
            rows = (torch.arange(HEADS)[:, None] * (DIM // HEADS) + order).flatten()
            for linear, part in zip(linears[:2], attention.project_qkv.weight.chunk(3), strict=False):
                linear.weight.copy_(frequency_wise())
                part.copy_(linear.weight[rows])
            attention.project_qkv.bias[: 2 * DIM] = 0
        else:
            layer.self_attn.linear_pos.load_state_dict(attention.transformer_xl.project.state_dict())
            layer.self_attn.pos_bias_u.copy_(attention.transformer_xl.content_bias.squeeze(1))
            layer.self_attn.pos_bias_v.copy_(attention.transformer_xl.position_bias.squeeze(1))
            for linear, weight in zip(linears, attention.project_qkv.weight.chunk(3), strict=True):
                linear.weight.copy_(weight)
        linears[2].weight.copy_(attention.project_qkv.weight[2 * DIM :])
        for linear, bias in zip(linears, attention.project_qkv.bias.chunk(3), strict=True):
            linear.bias.copy_(bias)
        layer.self_attn.linear_out.load_state_dict(attention.project_out.state_dict())
        theirs = layer.conv_module
        ours_convolution = block.convolution.sublayer
        for part in (ours_convolution.project_in, ours_convolution.depthwise, ours_convolution.project_out):
            part.bias.zero_()  # theirs have none
        theirs.layer_norm.load_state_dict(block.convolution.norm.state_dict())
        copy_convolution(
            ours_convolution, theirs.pointwise_conv1, theirs.depthwise_conv, theirs.batch_norm, theirs.pointwise_conv2
        )
        layer.final_layer_norm.load_state_dict(block.norm.state_dict())
    return list(encoder.eval().layers), encoder.embed_positions


def run_theirs(layers: list[nn.Module], positions: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
    allowed = (torch.arange(x.shape[1]) < lengths[:, None])[:, None, None]
    added = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(x.dtype).min)
    embedded = positions(x)
    for layer in layers:
        x = layer(x, attention_mask=added, relative_position_embeddings=embedded)
        x = x[0] if isinstance(x, tuple) else x
    return x


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [(Positions.transformer_xl, "relative"), (Positions.rotary, "rotary")],
    ids=["relative", "rotary"],
)
@torch.no_grad()
def test_equals_huggingface(backend: str, scheme: Positions, kind: str) -> None:
    """And what theirs gives without padding: within a batch, theirs lets padding into the convolutions."""
    ours = stack(positions=scheme)
    layers, positions = huggingface_like(ours, kind)
    x, lengths = torch.randn(2, 20, DIM), torch.tensor([20, 12])
    expected = run_theirs(layers, positions, x, torch.tensor([20, 20]))
    torch.testing.assert_close(run(ours, x, torch.tensor([20, 20])), expected, atol=1e-5, rtol=1e-5)
    alone = run_theirs(layers, positions, x[1:, :12], lengths[1:])[0]
    torch.testing.assert_close(run(ours, x, lengths)[1, :12], alone, atol=1e-5, rtol=1e-5)
    assert (run_theirs(layers, positions, x, lengths)[1, :12] - alone).abs().max() > 0.01
    turned = run(ours, x.flip(1), torch.tensor([20, 20])).flip(1)
    assert (turned - expected).abs().max() > 0.01  # the order of frames counts at all


def test_blocks_are_the_shared_ones() -> None:
    model = build()
    assert all(type(block) is Block for block in (*model.encoder.stack.blocks, *model.decoder.blocks))
