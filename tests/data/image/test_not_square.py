"""Images that are not square: settings, scaling, augmentation, models, training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tformer_cli.config.compose import compose, from_yaml, to_yaml
from tformer_cli.config.schema import AugmentConfig, Crop, Fit, ImageDataConfig, ImageHeadConfig, Pooling, Positions
from tformer_cli.data.image.augment import Augmentation, blend, draw_blends
from tformer_cli.data.image.pictures import read_picture, stored_size
from tformer_cli.errors import ConfigError
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.models.resnet import ResNetConfig
from tformer_cli.models.vit import Stem, ViTConfig
from tformer_cli.models.vit.model import ViT
from tformer_cli.train.launch import launch
from tformer_cli.trained.opening import open_run

ALL = AugmentConfig(
    crop=Crop.resized, flip=0.5, rotation=10, scale=0.1, brightness=0.2, hue=0.1, operations=2, erase=0.5
)


# --- settings ---


def test_a_pair_is_height_and_width_and_a_number_is_both(tmp_path):
    overrides = ["data.path=x", "data.image_size=[32,128]", "model.patch_size=8"]
    config = compose("vit/masked_patches", overrides)
    assert config.data.image_size == [32, 128] and config.data.height_width == (32, 128)
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert from_yaml(tmp_path / "config.yaml") == config
    assert compose("vit/masked_patches", ["data.path=x", "data.image_size=16"]).data.height_width == (16, 16)


@pytest.mark.parametrize(
    ("size", "cause", "remedy"),
    [
        ("[32]", "neither one number nor two", "data.image_size=[32,128]"),
        ("[32,64,3]", "neither one number nor two", "data.image_size=[32,128]"),
        ("[30,128]", "is not divisible by 4", "data.image_size=[32,128]"),
        ("30", "is not divisible by 4", "data.image_size=32"),
        ("[0,32]", "0 is not between", ""),
        ("[32,many]", "'many' is not a whole number", ""),
        ("32x128", "not a whole number", ""),
    ],
)
def test_what_is_no_size_is_refused(size, cause, remedy):
    with pytest.raises(ConfigError, match=r"data\.image_size") as error:
        compose("vit/masked_patches", ["data.path=x", f"data.image_size={size}"])
    assert cause in error.value.cause and remedy in (error.value.remedy or "")


# --- decoding ---


def data(size, fit=Fit.crop, **settings) -> ImageDataConfig:
    return ImageDataConfig(image_size=size, fit=fit, **{"crop_share": 1.0, **settings})


def a_picture(height: int, width: int, folder: Path) -> Path:
    """Write an image with a red left half and a blue right half."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 255
    Image.fromarray(pixels).save(folder / "a.png")
    return folder / "a.png"


@pytest.mark.parametrize("shape", [(40, 40), (20, 200), (200, 20), (33, 77)])
def test_scaled_pictures_cover_fill_or_fit_into_the_size(shape, tmp_path):
    path = a_picture(*shape, tmp_path)
    height, width = stored_size(data([16, 64]))
    assert (height, width) == (16, 64)
    covering = read_picture(path, data([16, 64])).shape[:2]
    assert covering[0] >= height and covering[1] >= width and (covering[0] == height or covering[1] == width)
    assert abs(covering[0] / covering[1] / (shape[0] / shape[1]) - 1) < 0.05
    stretched = read_picture(path, data([16, 64], Fit.stretch))
    assert stretched.shape == (16, 64, 3) and stretched[:, :30, 0].min() > 200 and stretched[:, 34:, 2].min() > 200
    padded = read_picture(path, data([16, 64], Fit.pad, mean=[0.2, 0.4, 0.6]))
    assert padded.shape == (16, 64, 3)
    of_picture = (padded != np.array([51, 102, 153])).any(-1)
    rows, columns = of_picture.any(1).sum(), of_picture.any(0).sum()
    assert rows == 16 or columns == 64
    assert abs(rows / columns / (shape[0] / shape[1]) - 1) < 0.25


def test_a_square_is_scaled_as_before(tmp_path):
    path = a_picture(33, 77, tmp_path)
    plain = Image.open(path).resize((round(77 * 20 / 33), 20), Image.Resampling.BICUBIC)
    assert (read_picture(path, data(20)) == np.asarray(plain)).all()
    assert (read_picture(path, data([20, 20])) == np.asarray(plain)).all()


# --- augmentation ---


def slopes(count: int, height: int, width: int) -> torch.Tensor:
    """Return images whose red is the row and green the column, (count, 3, height, width), uint8."""
    rows, columns = torch.arange(height)[:, None].expand(height, width), torch.arange(width).expand(height, width)
    return torch.stack((rows, columns, 0 * rows)).to(torch.uint8).repeat(count, 1, 1, 1)


def augmented(pixels: torch.Tensor, size: list[int], config: AugmentConfig) -> torch.Tensor:
    sizes = torch.tensor(pixels.shape[2:]).expand(len(pixels), 2)
    settings = data(size, mean=[0.0], std=[1.0])
    return Augmentation(config, settings, seed=1)(pixels, sizes, torch.arange(len(pixels)), 0)


@pytest.mark.parametrize("crop", list(Crop), ids=lambda crop: crop.name)
def test_rows_stay_rows_and_columns_stay_columns(crop):
    config = AugmentConfig(crop=crop, padding=2, aspect=1.2, area_low=0.3)
    seen = 255 * augmented(slopes(64, 40, 120), [20, 60], config)
    assert seen.shape == (64, 3, 20, 60)
    inner = seen[:, :, 2:-2, 2:-2]  # the part that remains after a shift
    down, across = inner[:, 0].diff(dim=1), inner[:, 1].diff(dim=2)
    assert inner[:, 0].diff(dim=2).abs().max() < 1e-3 and inner[:, 1].diff(dim=1).abs().max() < 1e-3
    assert down.min() > 0 and across.min() > 0
    ratio = down.mean((1, 2)) / across.mean((1, 2))  # the distortion of a crop
    assert (ratio > 1 / 1.35).all() and (ratio < 1.35).all()
    if crop is Crop.none:
        assert torch.allclose(seen[0, 0, :, 0], torch.arange(10.0, 30)) and seen[0, 1, 0, 0].round() == 30


@pytest.mark.parametrize("size", [[8, 24], [24, 8], [16, 20]])
def test_everything_at_once_gives_the_size_and_does_not_depend_on_the_batch(size):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 30, 50), np.uint8))
    seen = augmented(pixels, size, ALL)
    assert seen.shape == (6, 3, *size) and seen.isfinite().all()
    assert torch.equal(seen[:2], augmented(pixels[:2], size, ALL))


def test_an_erased_rectangle_has_the_shape_of_the_picture():
    seen = augmented(torch.zeros(400, 3, 16, 64, dtype=torch.uint8), [16, 64], AugmentConfig(erase=1.0))
    erased = seen.ne(0).any(1)
    heights, widths = erased.any(2).sum(1), erased.any(1).sum(1)
    assert (erased.flatten(1).sum(1) == heights * widths).all() and (heights > 0).all()
    assert 0.5 < (heights / 16).mean() / (widths / 64).mean() < 2
    assert (heights > 12).any() and (widths > 48).any()


def test_the_share_of_a_cut_mix_is_that_of_its_pixels():
    images, others = torch.ones(64, 3, 8, 40), torch.zeros(64, 3, 8, 40)
    share, boxes = draw_blends(AugmentConfig(cutmix=1.0), (8, 40), torch.arange(64), 0, seed=1)
    mixed = blend(images, others, share, boxes)
    torch.testing.assert_close(mixed[:, 0].mean((1, 2)), share)
    covered = mixed[:, 0] == 0
    assert covered[:, 4:].any() and covered[:, :, 20:].any()


# --- models ---


def exchanged(images: torch.Tensor, first: tuple[int, int], second: tuple[int, int], patch: int = 4) -> torch.Tensor:
    changed = images.clone()
    cells = [tuple(slice(index * patch, (index + 1) * patch) for index in cell) for cell in (first, second)]
    for to, source in (cells, cells[::-1]):
        changed[..., to[0], to[1]] = images[..., source[0], source[1]]
    return changed


@pytest.mark.parametrize("positions", list(Positions), ids=lambda scheme: scheme.name)
@torch.no_grad()
def test_every_position_scheme_knows_rows_from_columns(backend: str, positions: Positions):
    """Exchanging two patches changes the output, in a grid of 2 x 5 and of 5 x 2."""
    torch.manual_seed(1)
    config = ViTConfig(
        dim=16, heads=2, ffn_dim=20, depth=1, patch_size=4, positions=positions, dropout=0, class_token=False
    )
    for size in ([8, 20], [20, 8]):
        model = ImageClassifier(ViT(config, size, 3), ImageHeadConfig(pooling=Pooling.mean), 3)
        for value in model.parameters():
            value.add_(0.2 * torch.randn_like(value))
        model = model.double().eval()
        assert model.encoder.grid == (size[0] // 4, size[1] // 4)
        images = torch.randn(2, 3, *size, dtype=torch.float64)
        change = (model(images) - model(exchanged(images, (0, 0), (1, 1)))).abs().max()
        # An added index is the same in every component, and layer normalisation subtracts it.
        assert bool(change < 1e-12) == (positions in (Positions.none, Positions.index))


@torch.no_grad()
def test_learned_positions_are_resized_along_the_right_axis():
    config = ViTConfig(dim=16, heads=2, ffn_dim=20, depth=1, patch_size=4, dropout=0)
    before, after = (ImageClassifier(ViT(config, size, 3), ImageHeadConfig(), 2) for size in ([8, 16], [8, 32]))
    table = before.encoder.positions.table
    table.copy_(torch.arange(4.0)[None, :, None].expand_as(table) + 10 * torch.arange(2.0)[:, None, None])
    resized = after.fit(before.state_dict())["encoder.positions.table"]
    assert resized.shape == (2, 8, 16)
    torch.testing.assert_close(resized[1] - resized[0], torch.full_like(resized[0], 10))
    assert (resized[0].diff(dim=0) > -0.2).all() and resized[0, -1, 0] - resized[0, 0, 0] > 2.5


@pytest.mark.parametrize("stem", list(Stem), ids=lambda stem: stem.name)
def test_stems_take_pictures_that_are_not_square(stem):
    small = ResNetConfig(depths=[1, 1], dim=8, stem=ResNetConfig().stem, bottleneck=False)
    config = ViTConfig(dim=16, heads=2, ffn_dim=20, depth=1, patch_size=2, stem=stem, stem_dim=8, resnet=small)
    size = [2 * config.patch_pixels, 5 * config.patch_pixels]
    model = ImageClassifier(ViT(config, size, 3), ImageHeadConfig(), 2)
    assert model(torch.randn(2, 3, *size)).shape == (2, 2) and model.encoder.grid == (2, 5)


# --- runs ---

SMALL = [
    "data.source=builtin", "data.path=digits", "data.size=60", "data.channels=1", "data.batch_images=8",
    "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1", "model.patch_size=4", "trainer.steps=2",
    "trainer.threads=1", "trainer.device=cpu", "trainer.precision=fp32", "trainer.attention=explicit",
]  # fmt: skip


@pytest.mark.parametrize("fit", list(Fit), ids=lambda fit: fit.name)
def test_a_run_learns_from_masked_patches_and_is_finetuned_at_another_shape(fit, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    launch(compose("vit/masked_patches", [*SMALL, "data.image_size=[8,16]", f"data.fit={fit.name}"]), first, quiet=True)
    config = compose("quickstart/vit", [*SMALL, "data.image_size=[16,8]", f"data.fit={fit.name}"])
    launch(config, second, initial=first, quiet=True)
    opened = open_run(second, device="cpu")
    assert opened.model.encoder.grid == (4, 2)
    for number in (4, 300):
        Image.fromarray(np.full((number, 50), 90, np.uint8)).save(tmp_path / "a.png")
        [answer] = opened.task.predict(opened.model, [str(tmp_path / "a.png")])
        assert answer.details["label"] in "0123456789"
