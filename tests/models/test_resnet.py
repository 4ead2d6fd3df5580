"""ResNet against Hugging Face's with the same random weights; squeeze and excitation, group normalisation, stems."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn

from tformer_cli.config.schema import ImageHeadConfig, Pooling
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.models.resnet import BatchOrGroup, ResNetConfig, ResNetStem
from tformer_cli.models.resnet.model import ResNet, SqueezeExcitation, StandardisedConvolution

HEAD = ImageHeadConfig(pooling=Pooling.mean)
SHAPES = [
    {"depths": [1, 2, 1], "dim": 6, "bottleneck": True},
    {"depths": [2, 2], "dim": 5, "bottleneck": False},
    {"depths": [3], "dim": 8, "bottleneck": True},
]


def randomised(model: nn.Module) -> nn.Module:
    """Weights and statistics that are nowhere 0 or 1 by chance."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(0.3 * torch.randn_like(value) + (1 if value.dim() == 1 and "weight" in name else 0))
        for name, value in model.named_buffers():
            if "running" in name:
                value.copy_(torch.rand_like(value) + (0.5 if "var" in name else 0))
    return model.eval()


def theirs_like(ours: ImageClassifier, config: ResNetConfig) -> nn.Module:
    """Their model with our weights, layer by layer in the order of use."""
    widths = [config.dim * 2**number * (4 if config.bottleneck else 1) for number in range(len(config.depths))]
    theirs = transformers.ResNetForImageClassification(
        transformers.ResNetConfig(
            embedding_size=config.dim, hidden_sizes=widths, depths=config.depths, num_labels=3,
            layer_type="bottleneck" if config.bottleneck else "basic",
        )
    )  # fmt: skip
    pairs = [(ours.encoder.stem, theirs.resnet.embedder.embedder)]
    for mine, stage in zip(ours.encoder.stages, theirs.resnet.encoder.stages, strict=True):
        for block, layer in zip(mine, stage.layers, strict=True):
            pairs += zip(block.convolutions, layer.layer, strict=True)
            if not isinstance(block.shortcut, nn.Identity):
                pairs.append((block.shortcut, layer.shortcut))
    for mine, layer in pairs:
        layer.convolution.load_state_dict(mine.convolution.state_dict())
        layer.normalization.load_state_dict(mine.norm.state_dict())
    theirs.classifier[1].load_state_dict(ours.head.output.state_dict())
    return theirs.eval()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.no_grad()
def test_equals_huggingface(shape: dict) -> None:
    config = ResNetConfig(**shape)
    ours = randomised(ImageClassifier(ResNet(config, 3), HEAD, 3))
    theirs = theirs_like(ours, config)
    images = torch.randn(2, 3, 40, 40)
    expected = theirs(images).logits
    torch.testing.assert_close(ours(images) / expected.abs().max(), expected / expected.abs().max())
    feature_map = ours.encoder(images)
    assert feature_map.shape[:2] == (2, ours.encoder.width)
    assert -(-40 // config.pixels) == feature_map.shape[2] == feature_map.shape[3]


@pytest.mark.parametrize(
    ("settings", "millions"),
    [
        ({"depths": [2, 2, 2, 2], "bottleneck": False}, 11.69),
        ({"depths": [3, 4, 6, 3]}, 25.56),
        ({"depths": [3, 4, 6, 3], "squeeze": 16}, 28.09),
    ],
    ids=["resnet18", "resnet50", "se_resnet50"],
)
def test_parameters_of_the_papers_models(settings: dict, millions: float) -> None:
    with torch.device("meta"):
        model = ImageClassifier(ResNet(ResNetConfig(**settings), 3), HEAD, 1000)
    assert sum(value.numel() for value in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_blocks_start_as_their_shortcuts() -> None:
    model = ResNet(ResNetConfig(depths=[3], dim=8, squeeze=2), 3)
    x = torch.rand(2, 32, 5, 5)
    assert torch.equal(model.stages[0][1](x), x)


@torch.no_grad()
def test_squeeze_and_excitation_is_the_papers() -> None:
    module = SqueezeExcitation(6, 3)
    x = torch.randn(2, 6, 4, 5)
    z = torch.stack([channel.mean() for channel in x.flatten(0, 1)]).view(2, 6)
    hidden = (z @ module.squeeze.weight.T + module.squeeze.bias).clamp(min=0)
    assert hidden.shape == (2, 2)
    s = 1 / (1 + torch.exp(-(hidden @ module.excite.weight.T + module.excite.bias)))
    torch.testing.assert_close(module(x), torch.einsum("bchw,bc->bchw", x, s))
    model = randomised(ResNet(ResNetConfig(depths=[1], dim=8, squeeze=2), 3))
    images = torch.randn(1, 3, 32, 32)
    before = model(images)
    model.stages[0][0].squeeze.excite.bias.sub_(50)  # a factor of 0 leaves the shortcut alone
    block, outputs = model.stages[0][0], []
    block.shortcut.register_forward_hook(lambda module, args, out: outputs.append(out))
    after = model(images)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, outputs[0].clamp(min=0), atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_filters_are_standardised_and_groups_do_not_see_the_batch() -> None:
    module = StandardisedConvolution(3, 5, 3, padding=1, bias=False)
    weight = module.weight.flatten(1)
    weight = (weight - weight.mean(1, keepdim=True)) / weight.var(1, correction=0, keepdim=True).sqrt()
    x = torch.randn(2, 3, 6, 6)
    expected = nn.functional.conv2d(x, weight.view_as(module.weight), padding=1)
    torch.testing.assert_close(module(x), expected, atol=1e-3, rtol=1e-3)
    model = ResNet(ResNetConfig(depths=[1, 1], dim=32, norm=BatchOrGroup.group), 3)
    norms = [part for part in model.modules() if isinstance(part, nn.GroupNorm)]
    assert norms and all(part.num_groups == 32 for part in norms)
    assert not [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(model(images)[:1], model(images[:1]), atol=1e-5, rtol=1e-5)


def test_channels_are_innermost_in_memory() -> None:
    model = ResNet(ResNetConfig(depths=[1, 1], dim=8), 3)
    assert model(torch.randn(2, 3, 32, 32)).is_contiguous(memory_format=torch.channels_last)


def test_a_small_stem_keeps_the_resolution() -> None:
    config = ResNetConfig(depths=[1, 1], dim=8, stem=ResNetStem.small)
    assert ResNet(config, 1)(torch.randn(2, 1, 16, 16)).shape == (2, 64, 8, 8) and config.pixels == 2


def test_a_frozen_network_keeps_its_statistics() -> None:
    model = ImageClassifier(ResNet(ResNetConfig(depths=[1], dim=8), 3), ImageHeadConfig(frozen=True), 3).train()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    model(torch.randn(4, 3, 16, 16)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())
    assert [name for name, value in model.named_parameters() if value.grad is not None] == [
        "head.output.weight",
        "head.output.bias",
    ]
