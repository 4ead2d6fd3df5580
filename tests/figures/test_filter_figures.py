"""Figures of the filters of the first layer: their numbers beside a library and the weights that read an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from tests.figures.models import figures_of
from tformer_cli.draw import svg
from tformer_cli.figures import filters
from tformer_cli.models.resnet import ResNetConfig
from tformer_cli.models.resnet.model import ResNet
from tformer_cli.models.vit import Stem, ViTConfig
from tformer_cli.models.vit.model import ViT


def vit(stem, patch_size=4, channels=3):
    small = ResNetConfig(depths=[1], dim=8)
    config = ViTConfig(dim=16, heads=2, ffn_dim=16, depth=1, patch_size=patch_size, stem=stem, stem_dim=4, resnet=small)
    return ViT(config, 16, channels)


def test_components_of_the_patch_embedding_are_those_of_scikit_learn():
    model = vit(Stem.patches, channels=1)
    (figure,) = figures_of(filters.KIND, nn.ModuleDict({"encoder": model})).values()
    library = PCA().fit(model.patches.project.weight.detach().double().numpy())
    images = figure.numbers["filters"]
    assert images.shape == (16, 4, 4, 1)
    products = (images[:15].reshape(15, -1) * library.components_[:15]).sum(1)
    np.testing.assert_allclose(np.abs(products), 1, atol=1e-6)
    np.testing.assert_allclose(figure.numbers["explained"], library.explained_variance_ratio_, atol=1e-6)


def test_filters_of_patches_are_in_the_order_of_the_pixels():
    model = vit(Stem.patches)
    weights, of_patches = model.pixel_filters()
    images = torch.randn(1, 3, 16, 16)
    expected = torch.einsum("fchw,chw->f", weights, images[0, :, 4:8, 8:12]) + model.patches.project.bias
    assert of_patches
    torch.testing.assert_close(model.embed(images)[0, 1 * 4 + 2], expected)


@pytest.mark.parametrize("stem", [Stem.convolutions, Stem.resnet])
def test_of_a_stem_the_first_convolution_is_drawn(stem):
    model = vit(stem)
    (figure,) = figures_of(filters.KIND, model).values()
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    assert first.in_channels == 3 and "Plain weights" in figure.caption
    np.testing.assert_allclose(figure.numbers["filters"], first.weight.detach().permute(0, 2, 3, 1), rtol=1e-6)


def test_a_stem_of_patches_of_one_pixel_has_no_convolution():
    (figure,) = figures_of(filters.KIND, vit(Stem.convolutions, patch_size=1)).values()
    assert figure.numbers["filters"].shape[1:] == (1, 1, 3)


def test_many_filters_are_drawn_in_part():
    model = ResNet(ResNetConfig(depths=[1], dim=80), 3)
    (figure,) = figures_of(filters.KIND, model).values()
    assert figure.numbers["filters"].shape == (64, 7, 7, 3) and "first 64 of 80" in figure.caption
    assert svg(figure.picture).startswith("<svg")


def test_zero_is_grey_and_the_extreme_value_is_full():
    image = filters.picture_of(np.array([[[0.0], [-0.5], [0.25]]]))
    assert image[0, :, 0].tolist() == [128, 0, 191]


def test_a_model_of_text_has_no_filters():
    with pytest.raises(LookupError, match="no encoder of images"):
        figures_of(filters.KIND, nn.Linear(2, 2))
