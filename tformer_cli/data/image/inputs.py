"""Batches of images, and the model's input: augmented images in training, the centre of each in evaluation.

Batches contain complete images as bytes. The training process crops and augments them on the training device
(`augment`), with random numbers for each image derived from (seed, epoch, sample).

Nothing here knows about labels or texts, so that all data with images can use it.

Shapes: B images; R = B, or 2B with a partner for each; C channels; H and W are height and width of the largest image.
S x S (or height and width) is `image_size`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import AugmentConfig, ImageDataConfig
from tformer_cli.data.core.batch import Batch
from tformer_cli.data.image.augment import Augmentation, blend, center, denormalise, draw_blends, normalise, uniforms
from tformer_cli.data.image.images import Images

PARTNER_STREAM = 64
"""Stream of the random numbers that select partners."""


@dataclass
class ImageBatch(Batch):
    """A batch of images before augmentation.

    Attributes:
        pixels: (R, C, H, W), uint8, each in the upper left corner.
        shapes: heights and widths, (R, 2), int64.
        draws: numbers from which random numbers of images are derived, (B,), int64: their rows in the split, and other
            numbers for those that an epoch repeats.
        epoch: the epoch, from which random numbers are derived.
        partners: rows of the last B images in the split, (B,), int64; None: there are no partners.
        shares: weight of each image in its target, (B,), float32; None: there are no partners.
        boxes: the rectangle that its partner covers, see `augment.draw_blends`, (B, 4), int64; None: there are no
            partners.
    """

    pixels: Tensor
    shapes: Tensor
    draws: Tensor
    epoch: int
    partners: Tensor | None = None
    shares: Tensor | None = None
    boxes: Tensor | None = None
    unit: ClassVar[str] = "images"
    is_padded: ClassVar[bool] = False

    def sizes(self) -> tuple[int, int]:
        """Return the number of images twice: none is padding."""
        return len(self.sample_ids), len(self.sample_ids)


class ImageInputs:
    """The collation of images into batches, and the model's input from a batch.

    Args:
        data: size, mean and standard deviation of images.
        augment: the augmentation.
        seed: seed of the run.
    """

    def __init__(self, data: ImageDataConfig, augment: AugmentConfig, seed: int) -> None:
        self.data, self.augment, self.seed = data, augment, seed
        self.augmentation = Augmentation(augment, data, seed)

    def batch(self, images: Images, draws: np.ndarray, epoch: int, *, blended: bool = False) -> ImageBatch:
        """Return a batch of images.

        Args:
            images: the split.
            draws: rows of the split, or these plus multiples of its length, (B,), int64; see `ImageBatch`.
            epoch: counts from 0.
            blended: whether `augment` has mixup or CutMix, which need a partner for each image.
        """
        draws = np.asarray(draws, np.int64)
        rows, samples = draws % len(images), torch.from_numpy(draws)
        ids = torch.from_numpy(rows)
        if not (blended and (self.augment.mixup or self.augment.cutmix)):
            return ImageBatch(ids, *canvas(images.pixels.gather(rows)), samples, epoch)
        partners = self._partners(samples, epoch, len(images))
        pixels, shapes = canvas(images.pixels.gather(np.concatenate((rows, partners.numpy()))))
        shares, boxes = draw_blends(self.augment, self.data.height_width, samples, epoch, self.seed)
        return ImageBatch(ids, pixels, shapes, samples, epoch, partners, shares, boxes)

    def inputs(self, batch: ImageBatch, *, training: bool) -> Tensor:
        """Return the model's input, (B, C, S, S), float32, on the device of the batch.

        Args:
            batch: the images.
            training: whether images are augmented, and blended if they have partners.
        """
        if not training:
            count = len(batch.sample_ids)
            return self.centers(batch.pixels[:count], batch.shapes[:count])
        if batch.partners is None or batch.shares is None or batch.boxes is None:
            return self.augmentation(batch.pixels, batch.shapes, batch.draws, batch.epoch)
        draws = torch.cat((batch.draws, batch.partners))
        images, partners = self.augmentation(batch.pixels, batch.shapes, draws, batch.epoch).chunk(2)
        return blend(images, partners, batch.shares, batch.boxes)

    def centers(self, pixels: Tensor, shapes: Tensor) -> Tensor:
        """Return the centre of each image, which is the model's input in evaluation and prediction.

        Args:
            pixels: (B, C, H, W), uint8, each in the upper left corner.
            shapes: heights and widths, (B, 2), int64.

        Returns:
            (B, C, S, S), float32, normalised.
        """
        return normalise(center(pixels, shapes, self.data.height_width), self.data)

    def of_images(self, images: Sequence[np.ndarray], device: torch.device) -> Tensor:
        """Return the model's input for a user's images, (B, C, S, S), float32.

        Args:
            images: outputs of `read_picture`, (H, W, C) uint8 each; at least one.
            device: device of the model.
        """
        seen = []
        for image in images:
            pixels, shapes = canvas([image])
            seen.append(self.centers(pixels.to(device), shapes.to(device)))
        return torch.cat(seen)

    def visible(self, images: Tensor) -> list[np.ndarray]:
        """Return the displayable images of a model's inputs, (B, C, S, S): each (S, S, C), uint8."""
        pixels = (255 * denormalise(images.float(), self.data)).round().clamp(0, 255).byte()
        return list(pixels.permute(0, 2, 3, 1).cpu().numpy())

    def _partners(self, draws: Tensor, epoch: int, count: int) -> Tensor:
        """Return the row of a partner for each draw, (B,), int64, whatever other images are in the batch."""
        uniform = uniforms(self.seed, epoch, draws, 1, PARTNER_STREAM)[:, 0]
        return (uniform.double() * count).long()


def canvas(images: np.ndarray | Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return images in one tensor.

    Args:
        images: (R, H, W, C), or (H, W, C) each; uint8.

    Returns:
        (R, C, H, W), uint8, each in the upper left corner, and heights and widths, (R, 2), int64.
    """
    shapes = np.array([image.shape[:2] for image in images], np.int64)
    if not isinstance(images, np.ndarray):
        padded = np.zeros((len(images), *shapes.max(0), images[0].shape[2]), np.uint8)
        for corner, image in zip(padded, images, strict=True):
            corner[: image.shape[0], : image.shape[1]] = image
        images = padded
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(shapes)
