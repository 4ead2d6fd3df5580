"""SAGAN: its blocks beside their equations, and which statistics are used when."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from tformer_cli.config.family import Sizes
from tformer_cli.errors import ConfigError
from tformer_cli.models.sagan import GeneratorNorm, SAGANConfig, SpectralNorms
from tformer_cli.models.sagan.model import SAGAN, ConditionalNorm, build, convolve_doubled, convolve_halved
from tformer_cli.nn.feature_attention import FeatureMapAttention
from tformer_cli.nn.spectral_norm import SpectralNorm

SIZES = Sizes(channels=1, image_size=8, labels=3)


def small(sizes: Sizes = SIZES, **settings) -> SAGAN:
    torch.manual_seed(1)
    values = {"noise_dim": 6, "generator": [8, 8, 16], "discriminator": [8, 16, 16]}
    return build(SAGANConfig(**(values | settings)), sizes)


def randomised(model: SAGAN) -> SAGAN:
    """Return the model with weights that are nowhere 0 or 1 by chance, in evaluation mode."""
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return model.eval()


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (32, 3), ([8, 12], 3)])
def test_images_have_the_size_of_the_data(size, channels):
    model = small(Sizes(channels=channels, image_size=size, labels=3))
    height, width = (size, size) if isinstance(size, int) else size
    images = model.generator(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))
    assert images.shape == (4, channels, height, width) and images.abs().max() <= 1
    assert model.discriminator(images, torch.tensor([0, 1, 2, 0])).shape == (4,)


@pytest.mark.parametrize("norm", GeneratorNorm)
def test_conditional_normalisation_has_a_gain_and_a_shift_of_each_label(norm):
    torch.manual_seed(2)
    layer, x, labels = ConditionalNorm(16, 3, norm), torch.randn(5, 16, 4, 4), torch.tensor([0, 2, 2, 1, 0])
    assert (layer.gain.weight == 1).all() and (layer.shift.weight == 0).all()
    layer.gain.weight.data.normal_()
    layer.shift.weight.data.normal_()
    if norm is GeneratorNorm.batch:
        normalised = (x - x.mean((0, 2, 3), keepdim=True)) / (
            x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
        ).sqrt()
    else:
        grouped = x.view(5, 8, 2, 4, 4)
        normalised = (grouped - grouped.mean((2, 3, 4), keepdim=True)) / (
            grouped.var((2, 3, 4), unbiased=False, keepdim=True) + 1e-5
        ).sqrt()
        normalised = normalised.view_as(x)
    expected = torch.stack(
        [normalised[i] * layer.gain.weight[y, :, None, None] + layer.shift.weight[y, :, None, None]
         for i, y in enumerate(labels.tolist())]
    )  # fmt: skip
    torch.testing.assert_close(layer(x, labels), expected)


@pytest.mark.parametrize(("channels", "groups"), [(8, 8), (24, 8), (12, 4), (6, 2), (5, 1)])
def test_the_number_of_groups_divides_the_channels(channels, groups):
    assert ConditionalNorm(channels, 3, GeneratorNorm.group).groups == groups


def test_evaluation_uses_running_statistics_and_moves_nothing():
    model = small(spectral_norm=SpectralNorms.both)
    noise, labels = torch.randn(16, 6), torch.arange(16) % 3
    for _ in range(5):
        model.generator(noise, labels)
    before = copy.deepcopy(model.state_dict())
    model.eval()
    images = model.generator(noise, labels)
    model.discriminator(images, labels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(model.generator(noise[:1], labels[:1]), images[:1])  # independent of the batch
    model.train()
    assert not torch.allclose(model.generator(noise[:4], labels[:4]), images[:4], atol=1e-3)


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_convolutions_with_a_change_of_size_are_those_before_or_after_it(size):
    torch.manual_seed(3)
    layer = torch.nn.Conv2d(5, 7, 3, padding=1).double()
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(convolve_doubled(x, layer), layer(doubled))
    torch.testing.assert_close(convolve_halved(x, layer), F.avg_pool2d(layer(x), 2))


@pytest.mark.parametrize("sizes", [SIZES, Sizes(channels=1, image_size=8)])
def test_the_score_is_a_projection_of_summed_features(sizes):
    model = randomised(small(sizes, attention=False))
    images, net = torch.rand(4, 1, 8, 8) * 2 - 1, model.discriminator
    labels = torch.tensor([2, 0, 1, 1]) if sizes.labels else None
    x = images
    for number, block in enumerate(net.blocks):
        branch = block.second(F.relu(block.first(x if number == 0 else F.relu(x))))
        shortcut = block.shortcut(x)
        halves = number < 2
        x = F.avg_pool2d(branch, 2) + F.avg_pool2d(shortcut, 2) if halves else branch + shortcut
    features = F.relu(x).sum((2, 3))
    expected = features @ net.output.weight[0] + net.output.bias
    if labels is not None:
        expected = expected + (net.projection.weight[labels] * features).sum(1)
    torch.testing.assert_close(net(images, labels), expected, rtol=1e-4, atol=1e-5)


def test_a_generator_is_its_blocks():
    model = randomised(small(attention=False)).generator
    noise, labels = torch.randn(3, 6), torch.tensor([2, 0, 1])
    x = model.project(noise).view(3, 8, 2, 2)
    for block in model.blocks:
        branch = F.relu(block.norms[0](x, labels)).repeat_interleave(2, 2).repeat_interleave(2, 3)
        branch = block.second(F.relu(block.norms[1](block.first(branch), labels)))
        x = branch + block.shortcut(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    expected = torch.tanh(model.output(F.relu(model.norm(x, torch.zeros(3, dtype=torch.int64)))))
    torch.testing.assert_close(model(noise, labels), expected, rtol=1e-4, atol=1e-5)
    assert len(model.norm.gain.weight) == 1  # the last one does not depend on the label


def test_attention_is_in_both_nets_or_in_none_and_the_rest_is_the_same():
    with_it, without = small(), small(attention=False)
    layers = [name for name, module in with_it.named_modules() if isinstance(module, FeatureMapAttention)]
    assert layers == ["generator.attention", "discriminator.attention"]
    names = {name for name, _ in without.named_parameters()}
    assert {name for name, _ in with_it.named_parameters() if ".attention." not in name} == names


@pytest.mark.parametrize(("choice", "nets"), [("none", set()), ("discriminator", {"discriminator"}),
                                              ("both", {"generator", "discriminator"})])  # fmt: skip
def test_spectral_norms_are_where_the_setting_says(choice, nets):
    model = small(spectral_norm=SpectralNorms[choice])
    normalised = [name for name, module in model.named_modules() if isinstance(module, SpectralNorm)]
    assert {name.partition(".")[0] for name in normalised} == nets
    layers = [m for n in nets for m in getattr(model, n).modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(normalised) == len(layers) + ("discriminator" in nets)  # and the embedding of labels


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"generator": [8]}, "model.generator=[64,64,32]"),
        ({"halvings": 4}, "model.halvings=3"),
        ({"generator_attention": 3}, "model.generator_attention=2"),
        ({"discriminator_attention": 4}, "model.discriminator_attention=3"),
    ],
)
def test_impossible_nets_are_refused(settings, remedy):
    config = SAGANConfig(**settings)
    with pytest.raises(ConfigError) as caught:
        config.check()
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("size", "halvings", "block", "remedy"),
    [
        ((8, 8), 3, 3, "model.discriminator_attention=2"),
        ((16, 8), 3, 3, "model.discriminator_attention=2"),
        ((2, 2), 1, 1, "model.halvings=0"),
        ((8, 8), 2, 3, None),
        ((8, 8), 3, 2, None),
        ((16, 16), 3, 3, None),
    ],
)
def test_self_attention_on_too_small_maps_is_refused(size, halvings, block, remedy):
    config = SAGANConfig(generator=[8, 8], discriminator=[8] * 3, halvings=halvings, discriminator_attention=block)
    if remedy is None:
        config.check_map(size)
    else:
        with pytest.raises(ConfigError, match=r"model\.discriminator_attention: the map after block") as caught:
            config.check_map(size)
        assert remedy in str(caught.value)
        key, value = remedy.removeprefix("model.").split("=")
        setattr(config, key, int(value))
        config.check_map(size)
    images = torch.zeros(2, 1, *size)
    build(config, Sizes(channels=1, image_size=list(size), labels=3)).discriminator(images, torch.tensor([0, 1]))
