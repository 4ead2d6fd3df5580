"""Vision Transformer: every position scheme, resolutions, stems, hidden patches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Activation, Combine, ImageHeadConfig, Norm, Pooling, Positions
from tformer_cli.errors import RunError
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.models.patch_head import MaskedPatchModel
from tformer_cli.models.resnet import ResNetConfig
from tformer_cli.models.vit import Stem, ViTConfig
from tformer_cli.models.vit.model import ViT

SIZE, CHANNELS, PATCH = 12, 2, 4


def config(**settings) -> ViTConfig:
    shape = {"dim": 16, "heads": 2, "ffn_dim": 20, "depth": 2, "patch_size": PATCH, "dropout": 0.0}
    return ViTConfig(**shape | settings)


def moved(model: nn.Module) -> nn.Module:
    """The model with other weights than it starts with, so that nothing is zero by chance."""
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return model.double().eval()


def exchanged(images: Tensor) -> Tensor:
    """The pictures with two patches in each other's place."""
    images = images.clone()
    images[..., :PATCH, :PATCH], images[..., PATCH : 2 * PATCH, -PATCH:] = (
        images[..., PATCH : 2 * PATCH, -PATCH:].clone(), images[..., :PATCH, :PATCH].clone(),
    )  # fmt: skip
    return images


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("positions", list(Positions), ids=lambda scheme: scheme.name)
@torch.no_grad()
def test_only_a_model_with_positions_knows_where_patches_lie(backend: str, positions: Positions, class_token) -> None:
    head = ImageHeadConfig(pooling=Pooling.cls if class_token else Pooling.mean)
    model = moved(ImageClassifier(ViT(config(positions=positions, class_token=class_token), SIZE, CHANNELS), head, 3))
    images = torch.randn(2, CHANNELS, SIZE, SIZE, dtype=torch.float64)
    scores = model(images)
    assert scores.shape == (2, 3) and model.encoder(images).shape == (2, 9 + class_token, 16)
    changes = (scores - model(exchanged(images))).abs().max()
    blind = positions in (Positions.none, Positions.index)  # pre-norm subtracts the mean of the components
    assert changes < 1e-12 if blind else changes > 1e-6


@pytest.mark.parametrize("positions", list(Positions), ids=lambda scheme: scheme.name)
def test_every_weight_learns(positions: Positions) -> None:
    model = ImageClassifier(ViT(config(positions=positions, layer_scale=0.1), SIZE, CHANNELS), ImageHeadConfig(), 3)
    moved(model)(torch.randn(2, CHANNELS, SIZE, SIZE, dtype=torch.float64)).square().sum().backward()
    still = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert not still


@torch.no_grad()
def test_first_equation() -> None:
    """z_0 = [x_class; x_1 E; ...] + E_pos, patches row by row, as a convolution would cut them."""
    model = moved(ViT(config(), SIZE, CHANNELS))
    found: list[Tensor] = []
    model.stack.register_forward_pre_hook(lambda module, args: found.append(args[0]))
    images = torch.randn(2, CHANNELS, SIZE, SIZE, dtype=torch.float64)
    model(images)
    weight = model.patches.project.weight.unflatten(1, (CHANNELS, PATCH, PATCH))
    patches = nn.functional.conv2d(images, weight, model.patches.project.bias, stride=PATCH)
    patches = patches + model.positions.table.permute(2, 0, 1)
    expected = torch.cat(
        ((model.class_token + model.positions.class_vector).expand(2, 1, -1), patches.flatten(2).mT), dim=1
    )
    torch.testing.assert_close(found[0], expected)


@torch.no_grad()
def test_initialisation_is_the_authors() -> None:
    torch.manual_seed(0)
    shape = {"dim": 256, "ffn_dim": 1024, "depth": 1, "heads": 4}
    model = ImageClassifier(ViT(config(**shape), 64, 3), ImageHeadConfig(hidden=True), 5)
    attention = model.encoder.stack.blocks[0].attention.sublayer
    mlp = model.encoder.stack.blocks[0].feed_forward.sublayer
    for projection in (*attention.project_qkv.weight.chunk(3), attention.project_out.weight):
        bound = math.sqrt(6 / 512)
        assert bound * 0.99 < projection.max() < bound and projection.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert mlp.project_in.weight.std() == pytest.approx((2 / 1280) ** 0.5, rel=0.02)
    assert 5e-7 < mlp.project_in.bias.std() < 2e-6 and not attention.project_qkv.bias.any()
    assert model.encoder.patches.project.weight.std() == pytest.approx((3 * PATCH**2) ** -0.5, rel=0.02)
    assert model.head.hidden.weight.std() == pytest.approx(256**-0.5, rel=0.02)
    assert model.encoder.positions.table.std() == pytest.approx(0.02, rel=0.05)
    assert not model.encoder.class_token.any() and not model.head.output.weight.any()
    assert not model(torch.randn(1, 3, 64, 64)).any()


@torch.no_grad()
def test_pooling() -> None:
    images = torch.randn(2, CHANNELS, SIZE, SIZE, dtype=torch.float64)
    for pooling in Pooling:
        model = moved(ImageClassifier(ViT(config(), SIZE, CHANNELS), ImageHeadConfig(pooling=pooling, hidden=True), 3))
        tokens = model.encoder(images)
        vector = tokens[:, 0] if pooling is Pooling.cls else tokens[:, 1:].mean(1)
        expected = model.head.output(torch.tanh(model.head.hidden(vector)))
        torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("stem", list(Stem), ids=lambda stem: stem.name)
def test_a_frozen_encoder_stays_as_it_is(stem: Stem) -> None:
    """Its weights, and what its normalisations remember of the batches."""
    settings = config(stem=stem, stem_dim=4, resnet=ResNetConfig(depths=[1], dim=4, bottleneck=False))
    settings.patch_size = 1 if stem is Stem.resnet else PATCH
    model = ImageClassifier(ViT(settings, SIZE, CHANNELS), ImageHeadConfig(frozen=True), 3).train()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=1.0)
    model(torch.randn(4, CHANNELS, SIZE, SIZE)).square().add(1).log().sum().backward()
    model.head.output.bias.grad.add_(1)
    optimizer.step()
    assert model.encoder.grid == (3, 3) and model.head.output.bias.any()
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())
    assert not model.eval().encoder.training


@pytest.mark.parametrize("stem", [Stem.convolutions, Stem.resnet], ids=lambda stem: stem.name)
def test_stems_of_convolutions_have_the_grid_of_the_patches(stem: Stem) -> None:
    settings = config(stem=stem, stem_dim=4, patch_size=8 if stem is Stem.convolutions else 2)
    settings.resnet = ResNetConfig(depths=[1, 1], dim=4)
    side = 8 if stem is Stem.convolutions else 16
    assert settings.patch_pixels == side
    model = ViT(settings, 3 * side, CHANNELS)
    assert model.grid == (3, 3) and model(torch.randn(2, CHANNELS, 3 * side, 3 * side)).shape == (2, 10, 16)
    if stem is Stem.convolutions:
        assert [part.convolution.out_channels for part in model.stem if hasattr(part, "convolution")] == [4, 8, 16]


LEARNED = [Positions.learned, Positions.learned_2d, Positions.relative_2d]


@pytest.mark.parametrize("positions", list(Positions), ids=lambda scheme: scheme.name)
def test_fitting_to_the_same_resolution_changes_nothing(positions: Positions) -> None:
    model = ImageClassifier(ViT(config(positions=positions), SIZE, CHANNELS), ImageHeadConfig(), 3)
    weights = dict(model.state_dict())
    fitted = model.fit(weights)
    assert fitted.keys() == weights.keys() and all(torch.equal(fitted[name], weights[name]) for name in weights)


@pytest.mark.parametrize("positions", list(Positions), ids=lambda scheme: scheme.name)
def test_weights_fit_any_other_resolution(positions: Positions) -> None:
    weights = moved(MaskedPatchModel(ViT(config(positions=positions), SIZE, CHANNELS), 5)).state_dict()
    larger = MaskedPatchModel(ViT(config(positions=positions), 2 * SIZE, CHANNELS), 5)
    fitted = larger.fit(weights)
    larger.load_state_dict(fitted)
    changed = [name for name in weights if fitted[name].shape != weights[name].shape]
    assert bool(changed) == (positions in LEARNED)
    assert larger.encoder.grid == (6, 6)


def test_class_is_left_out_or_missed() -> None:
    for positions in LEARNED:
        with_class, without = (
            MaskedPatchModel(ViT(config(positions=positions, class_token=there), SIZE, CHANNELS), 5)
            for there in (True, False)
        )
        without.load_state_dict(without.fit(with_class.state_dict()))
        with pytest.raises(RunError, match="no .class. token: model.class_token=false"):
            with_class.fit(without.state_dict())


@pytest.mark.parametrize("shuffle", [False, True])
@torch.no_grad()
def test_hidden_patches_do_not_reach_the_output(shuffle: bool) -> None:
    """A prediction of a hidden patch does not depend on its pixels, that of another one does; and gradient flows."""
    model = moved(MaskedPatchModel(ViT(config(), SIZE, CHANNELS), 7))
    images = torch.randn(2, CHANNELS, SIZE, SIZE, dtype=torch.float64)
    hidden = torch.zeros(2, 9, dtype=torch.bool)
    hidden[0, 4] = hidden[1, 0] = True
    shuffled = torch.arange(9).expand(2, -1).clone()
    if shuffle:
        shuffled[:, 8] = 3  # what stands in place 8 is patch 3
    changed = images.clone()
    changed[0, :, PATCH : 2 * PATCH, PATCH : 2 * PATCH] += 1  # patch 4 of the first picture
    indices = torch.tensor([4, 0, 9 + 4, 9])
    before, after = (model(pictures, hidden, shuffled if shuffle else None, indices) for pictures in (images, changed))
    assert before.shape == (4, 7) and torch.equal(before, after)
    changed = images.clone()
    changed[:, :, -PATCH:, -PATCH:] += 1  # patch 8 of both, in whose place another stands if shuffled
    after = model(changed, hidden, shuffled if shuffle else None, indices)
    assert torch.equal(before, after) == shuffle


def test_the_vector_of_hidden_patches_learns() -> None:
    model = moved(MaskedPatchModel(ViT(config(), SIZE, CHANNELS), 7))
    images, hidden = torch.randn(1, CHANNELS, SIZE, SIZE, dtype=torch.float64), torch.arange(9)[None] == 3
    model(images, hidden, None, torch.tensor([3])).sum().backward()
    assert model.mask.grad.any() and model.encoder.patches.project.weight.grad.any()


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": Norm.post},
        {"bias": False},
        {"activation": Activation.swiglu},
        {"combine": Combine.concatenate, "positions": Positions.learned_2d},
        {"stochastic_depth": 0.3, "layer_scale": 1e-4},
    ],
    ids=str,
)
def test_the_cores_settings(settings: dict) -> None:
    model = moved(ImageClassifier(ViT(config(**settings), SIZE, CHANNELS), ImageHeadConfig(), 3)).train()
    scores = model(torch.randn(2, CHANNELS, SIZE, SIZE, dtype=torch.float64))
    scores.square().sum().backward()
    assert scores.isfinite().all() and model.encoder.patches.project.weight.grad.any()
