"""Blocks and stacks against torch.nn's Transformer layers with the same random weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Activation, Norm, Normalisation, Positions, TransformerConfig
from tformer_cli.nn.attention import Attention, KeyValueCache, Mask
from tformer_cli.nn.block import Block, Residual, Stack
from tformer_cli.nn.convolution import ConvolutionModule, Frames

DIM, HEADS, FFN = 24, 3, 40
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5}


def config(**settings) -> TransformerConfig:
    values = {
        "dim": DIM,
        "heads": HEADS,
        "ffn_dim": FFN,
        "dropout": 0.0,
        "positions": Positions.none,
    }
    return TransformerConfig(**values | settings)


def randomised(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.to(dtype).eval()


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    parts = (ours.project_q, ours.project_kv) if ours.cross else (ours.project_qkv,)
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.project_out.state_dict())


@torch.no_grad()
def copy_block(ours: Block, theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> None:
    copy_attention(ours.attention.sublayer, theirs.self_attn)
    norms = [ours.attention.norm]
    if ours.cross is not None:
        copy_attention(ours.cross.sublayer, theirs.multihead_attn)
        norms.append(ours.cross.norm)
    norms.append(ours.feed_forward.norm)
    for number, norm in enumerate(norms, start=1):
        getattr(theirs, f"norm{number}").load_state_dict(norm.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward.sublayer.project_in.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.sublayer.project_out.state_dict())


def theirs_like(ours: Stack, settings: TransformerConfig, *, cross: bool, dtype: torch.dtype) -> nn.Module:
    kind = nn.TransformerDecoderLayer if cross else nn.TransformerEncoderLayer
    layer = kind(
        DIM, HEADS, FFN, dropout=0.0, activation=settings.activation.name, batch_first=True,
        norm_first=settings.norm is Norm.pre, dtype=dtype,
    )  # fmt: skip
    norm = nn.LayerNorm(DIM, dtype=dtype) if settings.norm is Norm.pre else None
    if cross:
        theirs = nn.TransformerDecoder(layer, len(ours.blocks), norm)
    else:
        theirs = nn.TransformerEncoder(layer, len(ours.blocks), norm, enable_nested_tensor=False)
    for block, copied in zip(ours.blocks, theirs.layers, strict=True):
        copy_block(block, copied)
    if norm is not None:
        theirs.norm.load_state_dict(ours.norm.state_dict())
    return theirs.train()  # torch's evaluation mode has kernels of its own, which know no gradient; dropout is 0


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("norm", Norm, ids=lambda norm: norm.name)
@pytest.mark.parametrize("activation", [Activation.relu, Activation.gelu], ids=lambda activation: activation.name)
@pytest.mark.parametrize("cross", [False, True], ids=["encoder", "decoder"])
def test_equals_torch(backend: str, dtype: torch.dtype, norm: Norm, activation: Activation, cross: bool) -> None:
    settings = config(norm=norm, activation=activation)
    ours = randomised(Stack(settings, 3, cross=cross, bidirectional=not cross), dtype)
    theirs = theirs_like(ours, settings, cross=cross, dtype=dtype)
    x = torch.randn(3, 6, DIM, dtype=dtype, requires_grad=True)
    memory = torch.randn(3, 7, DIM, dtype=dtype, requires_grad=True)
    lengths = torch.tensor([7, 3, 5])
    if cross:
        forbidden = nn.Transformer.generate_square_subsequent_mask(6, dtype=dtype)
        padding = torch.zeros(3, 7, dtype=dtype).masked_fill(torch.arange(7) >= lengths[:, None], -torch.inf)
        expected = theirs(x, memory, tgt_mask=forbidden, memory_key_padding_mask=padding)
        got = ours(x, memory, mask=Mask(causal=True), memory_mask=Mask.from_lengths(lengths, 7))
        inputs: list[Tensor] = [x, memory]
    else:
        expected = theirs(memory, src_key_padding_mask=torch.arange(7) >= lengths[:, None])
        got = ours(memory, mask=Mask.from_lengths(lengths, 7))
        inputs = [memory]
    torch.testing.assert_close(got, expected, atol=CLOSE[dtype], rtol=1e-4)
    seed = torch.randn_like(got)
    for a, b in zip(
        torch.autograd.grad((got * seed).sum(), inputs),
        torch.autograd.grad((expected * seed).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a / b.abs().max(), b / b.abs().max(), atol=10 * CLOSE[dtype], rtol=1e-3)


@pytest.mark.parametrize("norm", Norm, ids=lambda norm: norm.name)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_residual_form(norm: Norm, scale: float) -> None:
    inner = nn.Linear(6, 6)
    layer = Residual(6, inner, norm=norm, dropout=0.3, scale=scale)
    nn.init.normal_(layer.norm.weight)
    x = torch.randn(2, 3, 6)
    torch.manual_seed(5)
    got = layer(x)
    torch.manual_seed(5)
    if norm is Norm.pre:
        expected = x + scale * layer.dropout(inner(layer.norm(x)))
    else:
        expected = layer.norm(x + scale * layer.dropout(inner(x)))
    torch.testing.assert_close(got, expected)


def test_without_bias_nothing_has_one() -> None:
    stack = Stack(config(bias=False), 2, cross=True)
    assert not [name for name, _ in stack.named_parameters() if "bias" in name]


@pytest.mark.parametrize("cross", [False, True], ids=["encoder", "decoder"])
def test_t5_bias_is_shared_by_the_blocks_and_reaches_self_attention_only(backend: str, cross: bool) -> None:
    settings = config(positions=Positions.t5, relative_distance=8)
    stack = randomised(Stack(settings, 2, cross=cross, bidirectional=not cross), torch.float64)
    x, memory = torch.randn(2, 1, 6, DIM, dtype=torch.float64)
    memory = memory if cross else None
    mask = Mask(causal=cross)
    assert sum("bias.weight" in name for name, _ in stack.named_parameters()) == 1
    here = torch.arange(6)
    bias = stack.bias.weight[stack.bias.bucket(here[None, :] - here[:, None])].permute(2, 0, 1)
    expected = x
    for block in stack.blocks:
        expected = block.attention.sublayer(block.attention.norm(expected), mask=mask, bias=bias) + expected
        if cross:
            expected = expected + block.cross.sublayer(block.cross.norm(expected), memory)
        expected = expected + block.feed_forward.sublayer(block.feed_forward.norm(expected))
    torch.testing.assert_close(stack(x, memory, mask=mask), stack.norm(expected))


def test_layer_scale_multiplies_each_sublayer_by_learned_factors() -> None:
    torch.manual_seed(0)
    stack = Stack(config(layer_scale=0.125), 2).double()
    factors = [value for name, value in stack.named_parameters() if name.endswith("layer_scale.factors")]
    assert len(factors) == 4 and all(torch.equal(value, torch.full_like(value, 0.125)) for value in factors)
    for value in factors:
        nn.init.normal_(value)
    x = torch.randn(2, 5, DIM, dtype=torch.float64)
    expected = x
    for block in stack.blocks:
        for part in (block.attention, block.feed_forward):
            expected = expected + part.layer_scale.factors * part.sublayer(part.norm(expected))
    torch.testing.assert_close(stack(x), stack.norm(expected))
    assert not [name for name in Stack(config(), 2).state_dict() if "scale" in name]


@pytest.mark.parametrize("norm", Norm, ids=lambda norm: norm.name)
def test_without_residual_connections_a_block_is_its_sublayers_in_turn(norm: Norm) -> None:
    torch.manual_seed(0)
    stack = Stack(config(norm=norm, residual=False), 2, cross=True).double()
    x, memory = torch.randn(2, 5, DIM, dtype=torch.float64), torch.randn(2, 4, DIM, dtype=torch.float64)
    expected = x
    for block in stack.blocks:
        for part, inputs in ((block.attention, ()), (block.cross, (memory,)), (block.feed_forward, ())):
            if norm is Norm.pre:
                expected = part.sublayer(part.norm(expected), *inputs)
            else:
                expected = part.norm(part.sublayer(expected, *inputs))
    torch.testing.assert_close(stack(x, memory), stack.norm(expected))


def test_stochastic_depth_grows_from_none_to_its_rate() -> None:
    stack = Stack(config(stochastic_depth=0.4), 5)
    for part in ("attention", "feed_forward"):
        rates = [getattr(block, part).stochastic_depth.rate for block in stack.blocks]
        assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("norm", Norm, ids=lambda norm: norm.name)
def test_stochastic_depth_leaves_out_whole_examples_and_keeps_the_mean(norm: Norm) -> None:
    torch.manual_seed(0)
    inner = nn.Linear(6, 6)
    layer = Residual(6, inner, norm=norm, dropout=0.0, stochastic_depth=0.3)
    x = torch.randn(1, 3, 6).expand(4000, -1, -1)
    with torch.no_grad():
        got = layer(x)
        branch = inner(layer.norm(x) if norm is Norm.pre else x)
        stays = x + branch / 0.7
        out, stays = (x, stays) if norm is Norm.pre else (layer.norm(x), layer.norm(stays))
        left_out = (got - out).abs().amax((1, 2)) < 1e-5
        torch.testing.assert_close(got[~left_out], stays[~left_out], atol=1e-5, rtol=1e-5)
        assert 0.27 < float(left_out.float().mean()) < 0.33
        single = layer.eval()(x[:1])
    torch.testing.assert_close(single, x[:1] + branch[:1] if norm is Norm.pre else layer.norm(x[:1] + branch[:1]))


LINE = [scheme for scheme in Positions if not scheme.name.endswith("_2d")]


@pytest.mark.parametrize("norm", Norm, ids=lambda norm: norm.name)
@pytest.mark.parametrize("scheme", LINE, ids=lambda scheme: scheme.name)
def test_the_first_tokens_alone_are_those_of_all(backend: str, norm: Norm, scheme: Positions) -> None:
    stack = randomised(Stack(config(norm=norm, positions=scheme), 2), torch.float64)
    x = torch.randn(3, 6, DIM, dtype=torch.float64, requires_grad=True)
    mask = Mask.from_lengths(torch.tensor([6, 3, 5]), 6)
    made: list[Tensor] = []
    stack.blocks[-1].feed_forward.sublayer.register_forward_hook(lambda *call: made.append(call[2]))
    some, every = stack(x, mask=mask, first=2), stack(x, mask=mask)[:, :2]
    assert [output.shape[1] for output in made] == [2, 6]  # nothing else was made
    torch.testing.assert_close(some, every, atol=1e-12, rtol=1e-9)
    inputs = [x, *stack.parameters()]
    gradients = (torch.autograd.grad(out.square().sum(), inputs, materialize_grads=True) for out in (some, every))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def convolution() -> ConvolutionModule:
    return ConvolutionModule(DIM, 5, Normalisation.layer)


@pytest.mark.parametrize("norm", Norm, ids=lambda norm: norm.name)
def test_with_a_convolution_a_block_is_the_conformers(backend: str, norm: Norm) -> None:
    """Gulati et al. 2020, eq. 1."""
    stack = randomised(Stack(config(norm=norm), 2, macaron=True, convolution=convolution), torch.float64)
    x, lengths = torch.randn(3, 6, DIM, dtype=torch.float64), torch.tensor([6, 3, 5])
    mask, frames = Mask.from_lengths(lengths, 6), Frames(lengths, 6)
    expected = x
    for block in stack.blocks:
        for part, scale, arguments in (
            (block.feed_forward_before, 0.5, {}),
            (block.attention, 1.0, {"mask": mask}),
            (block.convolution, 1.0, {"frames": frames}),
            (block.feed_forward, 0.5, {}),
        ):
            if norm is Norm.pre:
                expected = expected + scale * part.sublayer(part.norm(expected), **arguments)
            else:
                expected = part.norm(expected + scale * part.sublayer(expected, **arguments))
        expected = block.norm(expected)
        assert isinstance(block.norm, nn.LayerNorm if norm is Norm.pre else nn.Identity)
    assert isinstance(stack.norm, nn.Identity)
    torch.testing.assert_close(stack(x, mask=mask, frames=frames), expected)


def test_convolutions_need_all_frames() -> None:
    stack, x = Stack(config(), 1, macaron=True, convolution=convolution), torch.randn(1, 4, DIM)
    frames = Frames(torch.tensor([4]), 4)
    caches = [KeyValueCache(1, HEADS, 4, DIM // HEADS, x)]
    for arguments in ({}, {"frames": frames, "first": 1}, {"frames": frames, "caches": caches}):
        with pytest.raises(ValueError, match="convolutions need frames"):
            stack(x, **arguments)
