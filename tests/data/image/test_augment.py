"""Augmentation: a function of seed, epoch and sample alone, and what each setting does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from tests.properties.waits import Waits
from tformer_cli.config.schema import AugmentConfig, Crop, ImageDataConfig
from tformer_cli.data.image import augment, colour
from tformer_cli.data.image.augment import Augmentation, beta_quantile, blend, draw_blends, normalise
from tformer_cli.data.image.colour import COLOUR_OPERATIONS, Operation

PADDED, RESIZED = {"crop": Crop.padded, "padding": 4}, {"crop": Crop.resized}
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2}
SETTINGS = {
    "none": {},
    "padded": PADDED,
    "resized": RESIZED,
    "flip": {"flip": 0.5},
    "rotation": {"rotation": 40},
    "scale": {"scale": 1.5},
    **{name: {name: value} for name, value in JITTER.items()},
    "operations": {"operations": 2},
    "many": {"operations": 6, "magnitude": 25},
    "erase": {"erase": 0.7},
    "all": {**RESIZED, **JITTER, "flip": 0.5, "rotation": 10, "scale": 0.1, "operations": 3, "erase": 0.5},
    "padded_all": {**PADDED, **JITTER, "flip": 0.5, "rotation": 10, "scale": 0.1, "operations": 3, "erase": 0.5},
}


def settings(size: int, channels: int = 3, **others) -> ImageDataConfig:
    return ImageDataConfig(image_size=size, channels=channels, **others)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def run(pixels: torch.Tensor, size: int, epoch: int = 0, seed: int = 1, **config) -> torch.Tensor:
    """Whole canvases, as samples 0, 1, ..., with a mean of 0 and a deviation of 1."""
    augmentation = Augmentation(AugmentConfig(**config), settings(size, pixels.shape[1], mean=[0.0], std=[1.0]), seed)
    sizes = torch.tensor(pixels.shape[2:]).expand(len(pixels), 2)
    return augmentation(pixels, sizes, torch.arange(len(pixels)), epoch)


def slopes(count: int, height: int, width: int) -> torch.Tensor:
    """Red is the row, green the column, (count, 3, height, width), uint8."""
    rows, columns = torch.arange(height)[:, None].expand(height, width), torch.arange(width).expand(height, width)
    return torch.stack((rows, columns, 0 * rows)).to(torch.uint8).expand(count, -1, -1, -1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_picture_does_not_depend_on_its_batch(name, channels):
    """Alone on a canvas of its own size it becomes the same, to the last bit, as among others on a larger one."""
    random = np.random.default_rng(3)
    sizes = torch.from_numpy(random.integers(32, 70, (19, 2)))
    pixels, samples = noise(19, channels, 71, 77), torch.from_numpy(random.permutation(1000)[:19])
    data = settings(32, channels, mean=[0.4] * channels, std=[0.3])
    augmentation = Augmentation(AugmentConfig(**SETTINGS[name]), data, seed=5)
    together = augmentation(pixels, sizes, samples, epoch=2)
    assert together.shape == (19, channels, 32, 32) and together.dtype == torch.float32 and together.isfinite().all()
    for i, (height, width) in enumerate(sizes.tolist()):
        alone = augmentation(
            pixels[i : i + 1, :, :height, :width].clone(), sizes[i : i + 1], samples[i : i + 1], epoch=2
        )
        assert torch.equal(alone[0], together[i])
    again = Augmentation(AugmentConfig(**SETTINGS[name]), data, seed=5)(pixels, sizes, samples, epoch=2)
    assert torch.equal(again, together)
    if name not in ("none", "saturation", "hue") or (channels == 3 and name != "none"):
        for seed, epoch in ((5, 3), (6, 2)):
            other = Augmentation(AugmentConfig(**SETTINGS[name]), data, seed)(pixels, sizes, samples, epoch)
            changed = (other != together).flatten(1).any(1)
            assert changed.float().mean() > 0.3


def test_one_setting_does_not_change_what_another_draws():
    """What is next to nothing changes next to nothing, also where pixels are then interpolated."""
    pixels, base = noise(20, 3, 40, 40), {**PADDED, "flip": 0.5, "contrast": 0.4}
    plain = run(pixels, 32, **base)
    for other in ("brightness", "saturation", "hue", "rotation", "scale"):
        torch.testing.assert_close(run(pixels, 32, **base, **{other: 1e-6}), plain, atol=1e-3, rtol=0)


def test_draws_of_settings_are_unrelated():
    """How bright, how rich in contrast and colour, how turned and mirrored, of two pixels of two colours."""
    pixels = torch.tensor([[[90, 60]], [[70, 90]], [[60, 80]]], dtype=torch.uint8).expand(2000, -1, -1, -1)
    pixels = torch.cat((pixels, pixels), 2)
    settings_ = ({"brightness": 0.3}, {"contrast": 0.3}, {"saturation": 0.3}, {"hue": 0.05}, {"flip": 0.5})
    seen = np.stack([run(pixels, 2, **row)[:, 1, 0, 0].numpy() for row in settings_])
    assert (seen.std(1) > 0).all()
    assert np.abs(np.corrcoef(seen) - np.eye(5)).max() < 4.5 / math.sqrt(2000)


def test_without_settings_it_is_evaluation():
    pixels, sizes = noise(3, 3, 20, 25), torch.tensor([[20, 25], [16, 17], [18, 16]])
    data = settings(16, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])
    augmented = Augmentation(AugmentConfig(), data, 0)(pixels, sizes, torch.arange(3), 0)
    expected = normalise(augment.center(pixels, sizes, (16, 16)), data)
    assert torch.equal(augmented, expected)
    by_hand = (pixels[0, 1, 2:18, 4:20].numpy() / 255 - 0.4) / 0.3
    assert np.allclose(expected[0, 1].numpy(), by_hand, atol=1e-6)


def test_padded_crops_are_slices_of_the_padded_picture_all_as_often():
    data = settings(8, mean=[0.3, 0.4, 0.6], std=[0.2])
    pixels = noise(1, 3, 8, 8).expand(2000, -1, -1, -1)
    config = AugmentConfig(crop=Crop.padded, padding=2, flip=0.5)
    augmented = Augmentation(config, data, 0)(pixels, torch.full((2000, 2), 8), torch.arange(2000), 0).numpy()
    padded = np.pad(normalise(pixels[:1], data)[0].numpy(), ((0, 0), (2, 2), (2, 2)))
    slices = [padded[:, top : top + 8, left : left + 8] for top in range(5) for left in range(5)]
    expected = np.stack([part[:, :, ::way] for part in slices for way in (1, -1)])
    same = (augmented[:, None] == expected).all((2, 3, 4))
    assert (same.sum(1) == 1).all()
    assert ((same.sum(0) - 40) ** 2 / 40).sum() < 49 + 4 * math.sqrt(2 * 49)


def test_shares_of_flips():
    pixels = noise(600, 3, 12, 12)
    unchanged, mirrored = run(pixels, 12), run(pixels, 12, flip=1.0)
    assert torch.equal(mirrored, unchanged.flip(3))
    some = (run(pixels, 12, flip=0.25) == mirrored).flatten(1).all(1)
    assert some.float().mean() == pytest.approx(0.25, abs=0.07)
    full_crop = {"crop": Crop.resized, "area_low": 1.0, "aspect": 1.0}
    torch.testing.assert_close(run(pixels, 12, flip=1.0, **full_crop), mirrored)  # the other way of moving pixels


def box(images: torch.Tensor) -> torch.Tensor:
    """Top, left, height and width, (B, 4), of what `slopes` shows."""
    size = images.shape[2]
    levels = 255 * images
    rows, columns = levels[:, 0].mean(2), levels[:, 1].mean(1)
    extents = torch.stack([(line[:, -1] - line[:, 0]) / (size - 1) * size for line in (rows, columns)], 1)
    return torch.cat((torch.stack([line.mean(1) + 0.5 for line in (rows, columns)], 1) - extents / 2, extents), 1)


@pytest.mark.parametrize(("height", "width"), [(200, 200), (100, 180)])
def test_resized_crops_are_of_the_declared_areas_and_aspects(height, width):
    top, left, tall, wide = box(run(slopes(1500, height, width), 8, crop=Crop.resized, area_low=0.2)).unbind(1)
    assert min(top.min(), left.min()) > -0.6 and (top + tall).max() < height + 0.6 and (left + wide).max() < width + 0.6
    area, aspect = (tall * wide / (height * width)).numpy(), (wide / tall).numpy()
    assert area.min() == pytest.approx(0.2, abs=0.02) and aspect.min() == pytest.approx(0.75, abs=0.03)
    assert aspect.max() == pytest.approx(4 / 3, abs=0.05)
    random = np.random.default_rng(0)  # the same by rejection
    areas, ratios = random.uniform(0.2, 1, 40_000), np.exp(random.uniform(-np.log(4 / 3), np.log(4 / 3), 40_000))
    pixels = areas * height * width
    fits = (np.sqrt(pixels * ratios) <= width) & (np.sqrt(pixels / ratios) <= height)
    assert stats.ks_2samp(area, areas[fits]).pvalue > 1e-3 and stats.ks_2samp(aspect, ratios[fits]).pvalue > 1e-3
    assert stats.kstest((top / (height - tall).clamp(min=1))[tall < height * 0.8].numpy(), "uniform").pvalue > 1e-3


def test_a_long_picture_gives_its_middle_where_no_part_fits():
    augmented = box(run(slopes(4, 60, 250), 8, crop=Crop.resized, area_low=0.9))
    expected = torch.tensor([0.0, 85.0, 60.0, 80.0]).expand(4, 4)
    torch.testing.assert_close(augmented, expected, atol=0.6, rtol=0)


def test_scale_and_rotation_stay_within_their_bounds():
    pixels = slopes(800, 250, 250)
    ratio = box(run(pixels, 50, scale=0.5))[:, 2] / 50
    assert stats.kstest(ratio.log().numpy(), stats.uniform(-math.log(1.5), 2 * math.log(1.5)).cdf).pvalue > 1e-3
    turned = 255 * run(pixels, 50, rotation=20)
    angle = torch.atan2(turned[:, 0, 25, -1] - turned[:, 0, 25, 0], turned[:, 1, 25, -1] - turned[:, 1, 25, 0])
    assert stats.kstest(angle.rad2deg().numpy(), stats.uniform(-20, 40).cdf).pvalue > 1e-3


def test_what_is_outside_is_the_mean_colour():
    """Exactly 0 when normalised; and nothing of the canvas beside the picture, here all white, is seen."""
    pixels = torch.full((30, 3, 40, 50), 255, dtype=torch.uint8)
    pixels[:, :, :32, :32] = 51
    data = settings(32, mean=[0.5, 0.4, 0.3], std=[0.5])
    picture = (0.2 - torch.tensor(data.mean)) / 0.5
    for config in ({"rotation": 180, "scale": 0.4}, {"crop": Crop.padded, "padding": 9}):
        augmentation = Augmentation(AugmentConfig(**config), data, 0)
        augmented = augmentation(pixels, torch.full((30, 2), 32), torch.arange(30), 0)
        outside = (augmented == 0).all(1)
        assert 0.05 < outside.float().mean() < 0.6
        inside = augmented.movedim(1, 3)[~outside]
        torch.testing.assert_close(inside, picture.expand_as(inside))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_jitter_is_as_strong_as_it_says(name):
    pixels = (noise(1, 3, 16, 16) // 4 + 60).expand(500, -1, -1, -1)
    plain, augmented = run(pixels[:1], 16), run(pixels, 16, **{name: 0.4})
    other = {
        "brightness": torch.zeros(1),
        "contrast": (255 * colour.grey(plain)).round().mean() / 255,
        "saturation": colour.grey(plain),
    }[name]
    factor = ((augmented - other) * (plain - other)).sum((1, 2, 3)) / (plain - other).square().sum()
    assert stats.kstest(factor.numpy(), stats.uniform(0.6, 0.8).cdf).pvalue > 1e-3


def test_no_factor_is_below_zero():
    factor = run(torch.full((500, 1, 1, 1), 51, dtype=torch.uint8), 1, brightness=2.0).flatten() / 0.2
    assert stats.kstest(factor.numpy(), stats.uniform(0, 3).cdf).pvalue > 1e-3


def test_hue_turns_by_up_to_its_limit():
    red = torch.zeros(500, 3, 4, 4, dtype=torch.uint8)
    red[:, 0] = 255
    augmented = run(red, 4, hue=0.1)[:, :, 0, 0]
    turn = (augmented[:, 1] - augmented[:, 2]) / 6
    assert stats.kstest(turn.numpy(), stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3


def test_every_operation_of_randaugment_is_drawn_as_often_with_either_sign(monkeypatch):
    seen: dict[int, list[float]] = {operation: [] for operation in COLOUR_OPERATIONS}

    def watch(operation: Operation, images: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        seen[operation].extend(strength.flatten().tolist())
        return images

    monkeypatch.setattr(colour, "operate", watch)
    pixels = noise(1, 3, 4, 4).expand(3000, -1, -1, -1)
    augmented = run(pixels, 4, operations=2, magnitude=12)
    expected = 3000 * 2 / 14
    for strengths in seen.values():
        assert len(strengths) == pytest.approx(expected, abs=4 * math.sqrt(expected))
        assert np.unique(np.abs(strengths)).tolist() == pytest.approx([0.4])
        assert abs(np.sign(strengths).sum()) < 4 * math.sqrt(len(strengths))
    still = (augmented == run(pixels[:1], 4)).flatten(1).all(1)
    assert still.float().mean() == pytest.approx((9 / 14) ** 2, abs=0.04)  # none of the five geometric ones


def test_erasing_takes_a_rectangle_of_noise():
    count, size = 600, 40
    pixels = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    augmented = run(pixels, size, erase=1.0)
    erased = (augmented != 0).any(1)
    rows, columns = erased.any(2), erased.any(1)
    height, width = rows.sum(1), columns.sum(1)
    assert (erased.sum((1, 2)) == height * width).all()
    area, aspect = (height * width / size**2).numpy(), (height / width).numpy()
    assert stats.kstest(area, stats.uniform(0.02, 0.31).cdf).statistic < 0.08
    assert 0.25 < aspect.min() < 0.45 and 2.4 < aspect.max() < 3.8 and np.median(aspect) == pytest.approx(1, abs=0.15)
    top = rows.float().argmax(1) / (size - height).clamp(min=1)
    assert stats.kstest(top[height < 25].numpy(), "uniform").statistic < 0.1
    assert stats.kstest(augmented.movedim(1, 3)[erased][::7].flatten().numpy(), "uniform").pvalue > 1e-3
    first = augmented[0].movedim(0, 2)[erased[0]]
    assert first.unique().numel() > 0.99 * first.numel()  # each channel of each pixel on its own
    some = (run(pixels, size, erase=0.25) != 0).flatten(1).any(1)
    assert some.float().mean() == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.8, 1.0, 1.3, 8.0, 400.0])
def test_beta_is_that_of_scipy(alpha):
    probability = torch.cat((torch.linspace(0, 0.999999, 5001), torch.tensor([1e-7, 1e-5, 1e-3]))).double()
    expected = stats.beta.ppf(probability.numpy(), alpha, alpha)
    assert np.abs(beta_quantile(alpha, probability).numpy() - expected).max() < 2e-4


def mixed(count: int = 1500, size: int = 16, **config) -> tuple[torch.Tensor, torch.Tensor]:
    """Of ones, with zeros: what is seen is the weight."""
    ones = torch.ones(count, 3, size, size)
    shares, boxes = draw_blends(AugmentConfig(**config), (size, size), torch.arange(count), 0, 1)
    return blend(ones, 0 * ones, shares, boxes), shares


def test_mixup_blends_by_the_share_in_the_target():
    images, share = mixed(mixup=0.4)
    assert share.dtype == torch.float32
    assert torch.equal(images, share[:, None, None, None].expand_as(images))
    assert stats.kstest(share.numpy(), stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


def test_cutmix_shares_are_those_of_the_pixels():
    images, share = mixed(cutmix=1.0)
    assert set(images.unique().tolist()) == {0, 1}
    covered = images[:, 0] == 0
    torch.testing.assert_close(share, 1 - covered.float().mean((1, 2)))
    assert (covered.sum((1, 2)) == covered.any(1).sum(1) * covered.any(2).sum(1)).all()  # rectangles
    random = np.random.default_rng(0)  # Yun et al. 2019, appendix A: algorithm 1
    half = (16 * np.sqrt(1 - random.uniform(size=40_000))).astype(int) // 2
    middle = random.integers(16, size=(2, 40_000))
    sides = (middle + half).clip(0, 16) - (middle - half).clip(0, 16)
    assert stats.ks_2samp(share.numpy(), 1 - sides.prod(0) / 256).pvalue > 1e-3


def test_with_both_each_sample_takes_either():
    images, share = mixed(mixup=0.4, cutmix=1.0)
    cut = ((images == 0) | (images == 1)).flatten(1).all(1)
    assert cut.float().mean() == pytest.approx(0.5, abs=0.06)
    torch.testing.assert_close(images.mean((1, 2, 3)), share)
    same, certain = mixed()
    assert (same == 1).all() and (certain == 1).all()


@pytest.mark.parametrize("config", [{"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}])
def test_a_mixture_does_not_depend_on_its_batch(config):
    images, others = torch.randn(2, 9, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    samples, settings_ = torch.arange(9) * 7, AugmentConfig(**config)
    shares, boxes = draw_blends(settings_, (20, 20), samples, 3, 1)
    together = blend(images, others, shares, boxes)
    for i in range(9):
        row = slice(i, i + 1)
        share, box = draw_blends(settings_, (20, 20), samples[row], 3, 1)
        alone = blend(images[row], others[row], share, box)
        assert torch.equal(alone[0], together[i]) and torch.equal(share, shares[row])
    later = draw_blends(settings_, (20, 20), samples, 4, 1)[0]
    assert (later != shares).any()


@pytest.mark.parametrize("name", ["all", "padded_all", "many"])
def test_copies_to_the_device_do_not_wait_for_it(name):
    """Without random erasing, which counts the erased pixels on the device."""
    with Waits() as waits:
        images = run(torch.empty(20, 3, 12, 12, dtype=torch.uint8, device="meta"), 8, **{**SETTINGS[name], "erase": 0})
    assert images.device.type == "meta" and not waits.calls
