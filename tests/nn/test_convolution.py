"""The Conformer's convolutions: against torch's layers without padding, and with padding that is noise."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Normalisation
from tformer_cli.nn.convolution import (
    MOMENTUM,
    NORMALISATIONS,
    ConvolutionModule,
    FrameBatchNorm,
    FrameGroupNorm,
    Frames,
    Subsampling,
    depthwise,
)

DIM = 6
LENGTHS = torch.tensor([9, 4, 0, 7])


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.double()


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def valid(x: Tensor, lengths: Tensor = LENGTHS) -> Tensor:
    return torch.cat([row[:length] for row, length in zip(x, lengths.tolist(), strict=True)])


def module(norm: Normalisation = Normalisation.batch, kernel_size: int = 5, **settings) -> ConvolutionModule:
    return randomised(ConvolutionModule(DIM, kernel_size, norm, **settings))


def test_frames() -> None:
    frames = Frames(LENGTHS, 9)
    x = noise(4, 9, DIM).requires_grad_()
    packed = frames.pack(x)
    assert torch.equal(packed, valid(x))
    assert torch.equal(frames.unpack(packed), frames.clear(x))
    assert torch.equal(frames.clear(x), x * frames.real)
    assert torch.equal(frames.clear(torch.full_like(x, torch.nan)).isnan(), frames.real.expand_as(x))
    seed = noise(*packed.shape)
    (got,) = torch.autograd.grad((packed * seed).sum(), x)
    (expected,) = torch.autograd.grad((valid(x) * seed).sum(), x)
    assert torch.equal(got, expected)
    assert torch.autograd.gradcheck(lambda rows: frames.unpack(rows), (noise(20, 2).requires_grad_(),))


def test_frames_of_a_batch_without_padding_are_not_copied() -> None:
    frames, x = Frames(torch.tensor([5, 5]), 5), noise(2, 5, DIM)
    assert frames.clear(x) is x and frames.pack(x).data_ptr() == x.data_ptr()
    assert frames.unpack(frames.pack(x)).data_ptr() == x.data_ptr()


def test_batch_normalisation_is_torchs_on_valid_frames_alone() -> None:
    ours, theirs = randomised(FrameBatchNorm(DIM)), nn.BatchNorm1d(DIM, momentum=MOMENTUM).double()
    theirs.load_state_dict({"weight": ours.weight, "bias": ours.bias}, strict=False)
    frames = Frames(LENGTHS, 9)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        x = (3 * noise(4, 9, DIM) + 1).requires_grad_()
        got, expected = valid(ours(x, frames)), theirs(valid(x))
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(ours.mean, theirs.running_mean)
        torch.testing.assert_close(ours.variance, theirs.running_var)
        seed = noise(*got.shape)
        inputs = [x, ours.weight, ours.bias]
        theirs_inputs = [x, theirs.weight, theirs.bias]
        gradients = torch.autograd.grad((got * seed).sum(), inputs)
        for a, b in zip(gradients, torch.autograd.grad((expected * seed).sum(), theirs_inputs), strict=True):
            torch.testing.assert_close(a, b)


def test_running_statistics_are_saved_and_float32_whatever_the_precision() -> None:
    norm = FrameBatchNorm(DIM)
    assert set(norm.state_dict()) == {"weight", "bias", "mean", "variance"}
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(torch.randn(2, 9, DIM, dtype=torch.bfloat16), Frames(torch.tensor([9, 4]), 9))
    assert out.dtype is torch.bfloat16
    assert norm.mean.dtype is norm.variance.dtype is torch.float32 and norm.mean.any()


def test_several_batches_may_go_forward_before_one_goes_back() -> None:
    """As with a broadcast of another rank's statistics: nothing that autograd keeps is written to."""
    norm, frames = randomised(FrameBatchNorm(DIM)), Frames(LENGTHS, 9)
    outputs = [norm(noise(4, 9, DIM), frames) for _ in range(2)]
    norm.eval()
    outputs.append(norm(noise(4, 9, DIM).requires_grad_(), frames))
    norm.mean.zero_()
    sum(out.sum() for out in outputs).backward()


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_frame_is_normalised_by_the_running_statistics(count: int) -> None:
    norm = randomised(FrameBatchNorm(DIM))
    nn.init.normal_(norm.mean)
    before, x, frames = norm.mean.clone(), noise(1, 3, DIM), Frames(torch.tensor([count]), 3)
    got = norm(x, frames)
    assert torch.equal(norm.mean, before) and not got[:, count:].any()
    assert torch.equal(got, norm.eval()(x, frames))


def test_group_normalisation_is_torchs_on_each_recording_alone() -> None:
    ours, theirs = randomised(FrameGroupNorm(DIM)), nn.GroupNorm(1, DIM).double()
    theirs.load_state_dict(ours.state_dict())
    x = 3 * noise(4, 9, DIM) + 1
    got = ours(x, Frames(LENGTHS, 9))
    assert got.isfinite().all()
    for row, length in enumerate(LENGTHS.tolist()):
        if length:
            torch.testing.assert_close(got[row : row + 1, :length].mT, theirs(x[row : row + 1, :length].mT))


def test_group_normalisation_is_computed_in_float32() -> None:
    norm, frames = FrameGroupNorm(DIM), Frames(LENGTHS, 9)
    x = (300 + 10 * noise(4, 9, DIM)).bfloat16()
    got, exact = norm(x, frames), norm(x.double(), frames)
    torch.testing.assert_close(got[[0, 1, 3]].double(), exact[[0, 1, 3]], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("size", "before"), [(5, 2), (5, 4), (1, 0), (7, 3)])
def test_depthwise_convolution_is_the_formula(size: int, before: int) -> None:
    x, weight, bias = noise(2, 4, 3).requires_grad_(), noise(3, 1, size).requires_grad_(), noise(3).requires_grad_()
    after = size - 1 - before

    def ours(*args: Tensor) -> Tensor:
        return depthwise(*args, before, after)

    got = ours(x, weight, bias)
    for t in range(4):
        expected = bias
        for k in range(size):
            if 0 <= t + k - before < 4:
                expected = expected + weight[:, 0, k] * x[:, t + k - before]
        torch.testing.assert_close(got[:, t], expected.expand(2, -1))
    assert torch.autograd.gradcheck(ours, (x, weight, bias))


def test_depthwise_convolution_of_bfloat16_returns_on_a_cpu() -> None:
    """In a process of its own: a library's kernel that never returns cannot be interrupted."""
    code = """
import torch
from tformer_cli.nn.convolution import depthwise
x, w = torch.randn(2, 40, 16), torch.randn(16, 1, 15, requires_grad=True)
with torch.autocast("cpu", torch.bfloat16):
    y = depthwise(x.bfloat16(), w, None, 7, 7)
y.sum().backward()
torch.testing.assert_close(y, depthwise(x.bfloat16().float(), w, None, 7, 7))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", Normalisation, ids=lambda norm: norm.name)
def test_module_is_the_papers_figure_2(norm: Normalisation, bias: bool) -> None:
    """Pointwise, GLU, depthwise, normalisation, swish, pointwise: by torch's layers, without padding."""
    ours = module(norm, bias=bias).eval()
    assert bias == any("bias" in name for name, _ in ours.named_parameters() if not name.startswith("norm"))
    x, frames = noise(2, 9, DIM), Frames(torch.tensor([9, 9]), 9)
    w = {name: value[..., None] for name, value in ours.named_parameters() if name.startswith("project")}
    b = {name: getattr(ours, name).bias for name in ("project_in", "depthwise", "project_out")}
    y = nn.functional.glu(nn.functional.conv1d(x.mT, w["project_in.weight"], b["project_in"]), dim=1)
    y = nn.functional.conv1d(y, ours.depthwise.weight, b["depthwise"], padding=2, groups=DIM)
    y = nn.functional.silu(ours.norm(y.mT, frames)).mT
    y = nn.functional.conv1d(y, w["project_out.weight"], b["project_out"]).mT
    torch.testing.assert_close(ours(x, frames), y)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm", Normalisation, ids=lambda norm: norm.name)
def test_a_recording_alone_is_as_in_a_padded_batch(norm: Normalisation, causal: bool) -> None:
    ours = module(norm, causal=causal).eval()
    x = 10 * noise(4, 9, DIM)
    got = ours(x, Frames(LENGTHS, 9))
    assert got.isfinite().all()
    for row, length in enumerate(LENGTHS.tolist()):
        if length:
            alone = ours(x[row : row + 1, :length], Frames(LENGTHS[row : row + 1], length))
            torch.testing.assert_close(got[row : row + 1, :length], alone, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("norm", Normalisation, ids=lambda norm: norm.name)
def test_training_does_not_see_padding_either(norm: Normalisation) -> None:
    """Values, running statistics and gradients are the same, whatever the padding holds and how long it is."""
    results = []
    for size in (9, 14):
        torch.manual_seed(3)
        ours, x = module(norm), noise(4, 9, DIM)
        x = torch.cat((torch.where(Frames(LENGTHS, 9).real, x, size), noise(4, size - 9, DIM)), 1).requires_grad_()
        got = valid(ours(x, Frames(LENGTHS, size)))
        gradients = torch.autograd.grad(got.square().sum(), [x, *ours.parameters()])
        results.append([got, valid(gradients[0]), *gradients[1:], *ours.buffers()])
        assert not torch.where(Frames(LENGTHS, size).real, 0.0, gradients[0]).any()
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm", [Normalisation.batch, Normalisation.layer], ids=lambda norm: norm.name)
def test_which_frames_are_seen(norm: Normalisation, causal: bool) -> None:
    """A kernel of 5 sees two frames on each side, or four before; nothing else."""
    ours = module(norm, causal=causal).eval()
    x = noise(1, 15, DIM).requires_grad_()
    (gradient,) = torch.autograd.grad(ours(x, Frames(torch.tensor([15]), 15))[0, 7].sum(), x)
    seen = gradient[0].abs().sum(1).nonzero().flatten().tolist()
    assert seen == (list(range(3, 8)) if causal else list(range(5, 10)))


def test_every_normalisation_has_its_layer() -> None:
    assert set(NORMALISATIONS) == set(Normalisation)


def test_subsampling_keeps_the_size_of_what_passes_its_relus() -> None:
    for convolution in Subsampling(8, DIM, 4, 256).convolutions:
        weight, bias = convolution.weight, convolution.bias
        fan_in = weight[0].numel()
        assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)  # He et al. 2015, eq. 10
        assert not bias.any()


@pytest.mark.parametrize("factor", [4, 8])
@pytest.mark.parametrize("bins", [80, 13, 1])
def test_subsampling_is_convolutions_and_a_linear_layer(factor: int, bins: int) -> None:
    ours = randomised(Subsampling(bins, DIM, factor, 3))
    features = noise(2, 50, bins)
    x = features[:, None]
    for convolution in ours.convolutions:
        x = nn.functional.conv2d(x, convolution.weight, convolution.bias, stride=2, padding=(0, 1)).relu()
    expected = ours.project(x.permute(0, 2, 3, 1).reshape(2, x.shape[2], -1))
    got, lengths = ours(features, torch.tensor([50, 3]))
    torch.testing.assert_close(got, expected)
    assert lengths.tolist() == [{4: 11, 8: 5}[factor], 0] and len(got[0]) == lengths[0]


@pytest.mark.parametrize("factor", [4, 8])
def test_lengths_are_what_comes_out_of_each_recording_alone(factor: int) -> None:
    ours = randomised(Subsampling(5, DIM, factor, 2)).eval()
    counts = torch.arange(60)
    features = noise(60, 59, 5)
    together, lengths = ours(features, counts)
    assert np.array_equal(ours.output_frames(counts.numpy()), lengths.numpy())
    assert lengths.max() == together.shape[1]
    least = 2 * factor - 1
    assert lengths[: least + 1].tolist() == [0] * least + [1]
    for row in range(60):
        alone, length = ours(features[row : row + 1, :row], counts[row : row + 1])
        assert alone.shape[1] == max(1, int(length)) and int(length) == int(lengths[row])
        valid = int(length)
        torch.testing.assert_close(together[row, :valid], alone[0, :valid], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_convolutions_have_channels_innermost(dtype: torch.dtype) -> None:
    """Weights and what comes out of each: another layout costs copies, and a slow gradient of the ReLU."""
    ours, out = Subsampling(80, DIM, 4, 8), []
    for part in ours.convolutions:
        part.register_forward_hook(lambda part, args, output: out.append(output))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        ours(torch.randn(2, 40, 80), torch.tensor([40, 30]))
    assert [x.dtype for x in out] == 2 * [dtype]
    for x in (*out, *(part.weight for part in ours.convolutions)):
        assert x.is_contiguous(memory_format=torch.channels_last)
