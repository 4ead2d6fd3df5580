"""Common parts of the tasks on images: splits, batches of decoded images, and the input of the model.

Batches contain complete images as bytes. The training process crops and augments them on the training device
(`data.augment`), with random numbers for each image derived from (seed, epoch, sample).

Shapes: B images; R = B, or 2B with a partner for each; C channels; H and W are height and width of the largest image.
S x S (or height and width) is `image_size`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tformer_cli.data.core.batching import ByEpoch, shuffled
from tformer_cli.data.core.media import shown
from tformer_cli.data.core.splits import find_split
from tformer_cli.data.image.augment import Augmentation, center, denormalise, normalise, uniforms
from tformer_cli.data.image.images import Images, duplicates, picture_files, read_images, read_picture
from tformer_cli.data.image.picture_sources import LAYOUT
from tformer_cli.data.image.pictures import ENDINGS
from tformer_cli.tasks.base import AttentionShape, B, Batch, M, Prediction
from tformer_cli.tasks.files import AnswersFiles
from tformer_cli.tasks.splits import SplitsTask

DRAWN = "validation.txt"
"""In the run folder: the pictures that were drawn for validation, where the data has no such split."""
PARTNER_STREAM = 64
"""Of random numbers: who is blended with whom."""


@dataclass
class ImageBatch(Batch):
    """A batch of images before augmentation.

    Attributes:
        pixels: (R, C, H, W), uint8, each in the upper left corner.
        shapes: heights and widths, (R, 2), int64.
        epoch: the epoch, from which random numbers are derived.
        partners: rows of the last B images in the split, (B,), int64; None: there are no partners.
        draws: numbers from which random numbers are derived, if an image may be drawn several times per epoch, (B,),
            int64; None: its row.
    """

    pixels: Tensor
    shapes: Tensor
    epoch: int
    partners: Tensor | None
    draws: Tensor | None = field(default=None, kw_only=True)
    unit: ClassVar[str] = "images"
    is_padded: ClassVar[bool] = False

    @property
    def drawn(self) -> Tensor:
        """The numbers from which random numbers of images are derived, (B,), int64."""
        return self.sample_ids if self.draws is None else self.draws

    def sizes(self) -> tuple[int, int]:
        """Pictures, none of which is padding."""
        return len(self.sample_ids), len(self.sample_ids)


class ImageTask(AnswersFiles[M], SplitsTask[Images, M, B]):
    """The data side of a task on pictures; a subclass gives `collate`, `_answer`, the model and the loss."""

    labelled = True
    """Pictures come with labels."""

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of images."""
        return (self.config.data.image,)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.drawn = False  # whether validation is a part of the training split
        self.augmentation = Augmentation(config.augment, config.data, config.seed)
        self._orders = ByEpoch(self._order)

    # --- data ---

    def run_files(self) -> dict[str, bytes]:
        """The names of the images for validation, where they were drawn from the training split."""
        if not self.drawn:
            return {}
        names = self._split("validation").names
        return {DRAWN: "".join(f"{shown(name)}\n" for name in names).encode()}

    def load(self, folder: Path) -> None:
        """Nothing but the weights is needed."""

    def files(self) -> dict[str, bytes]:
        """Nothing but the weights is needed."""
        return {}

    def _read(self, split: str) -> dict[str, Images]:
        config = self.config
        bad = config.trainer.on_bad_sample
        splits = read_images(config.data, split, seed=config.seed, on_bad_sample=bad, labelled=self.labelled)
        self.drawn |= len(splits) > 1
        return splits

    def _find_split(self, split: str) -> bool:
        return find_split(self.config.data, split, LAYOUT) is not None

    def num_batches(self, split: str) -> int:
        """Batches in an epoch."""
        return -(-len(self._split(split)) // self.config.data.batch_images)

    def rows(self, split: str, epoch: int, index: int) -> np.ndarray:
        """Rows of batch `index` of `epoch`: training's are in an order of the epoch's own."""
        order = self._orders[epoch] if split == "train" else np.arange(len(self._split(split)))
        size = self.config.data.batch_images
        return order[index * size : (index + 1) * size]

    def _order(self, epoch: int) -> np.ndarray:
        return shuffled(len(self._split("train")), self.config.seed, epoch)

    def _partners(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """A picture of the training split for each row to be blended with, (B,) int64: whichever others are there."""
        places = uniforms(self.config.seed, epoch, torch.from_numpy(rows), 1, PARTNER_STREAM)[:, 0]
        return (places.double() * len(self._split("train"))).long().numpy()

    def _pixels(self, split: str, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Whole pictures (R, C, H, W) and their shapes (R, 2)."""
        return canvas(self._split(split).pixels.gather(rows))

    # --- what the model sees ---

    def _augmented(self, batch: ImageBatch) -> Tensor:
        """What training sees: (R, C, S, S), float32."""
        ids = batch.drawn if batch.partners is None else torch.cat((batch.drawn, batch.partners))
        return self.augmentation(batch.pixels, batch.shapes, ids, batch.epoch)

    def _centers(self, pixels: Tensor, shapes: Tensor) -> Tensor:
        """What evaluation sees: (R, C, S, S), float32."""
        return normalise(center(pixels, shapes, self.config.data.height_width), self.config.data)

    def _inputs(self, model: M, batch: ImageBatch) -> Tensor:
        """What the model sees, in training or evaluation."""
        return self._augmented(batch) if model.training else self._centers(batch.pixels, batch.shapes)

    def _visible(self, images: Tensor) -> list[np.ndarray]:
        """Pictures (R, C, S, S) as people see them: each (S, S, C), uint8."""
        pixels = (255 * denormalise(images.float(), self.config.data)).round().clamp(0, 255).byte()
        return list(pixels.permute(0, 2, 3, 1).cpu().numpy())

    # --- use ---

    def files_of(self, path: Path) -> list[Path]:
        """The pictures that a user's path stands for: itself, or those of a folder.

        Raises:
            DataError: if there are none.
        """
        return picture_files(path) if path.is_dir() else [path]

    @property
    def read_together(self) -> int:
        """A batch."""
        return self.config.data.batch_images

    @property
    def endings(self) -> tuple[str, ...]:
        """Return the endings of images."""
        return ENDINGS

    def read_content(self, content: Path | bytes, name: str) -> np.ndarray:
        """Return a decoded image."""
        return read_picture(content, self.config.data, name)

    def answers(self, model: M, contents: Sequence[np.ndarray]) -> list[Prediction]:
        """Return the predictions for images read by `read_picture`."""
        device = next(model.parameters()).device
        shown = []
        for picture in contents:
            images, shapes = canvas([picture])
            shown.append(self._centers(images.to(device), shapes.to(device)))
        return self._answer(model, torch.cat(shown)) if shown else []

    def _answer(self, model: M, images: Tensor) -> list[Prediction]:
        """Return the predictions for images (R, C, S, S)."""
        raise NotImplementedError

    # --- for people ---

    def shape(self) -> AttentionShape:
        """Attention's shape."""
        return self.config.model.attention(math.prod(self.config.data.height_width))

    def describe(self) -> list[tuple[str, str]]:
        """The header's lines on pictures and batches."""
        train, validation, data = self._split("train"), self._split("validation"), self.config.data
        drawn = ", drawn from training" if self.drawn else ""
        size = " x ".join(map(str, (*data.height_width, data.channels)))
        facts = [("data", f"{len(train):,} pictures to train, {len(validation):,} to validate{drawn}; seen as {size}")]
        facts += [("note", note) for note in dict.fromkeys((*train.notes, *validation.notes))]
        if same := duplicates(validation, train):
            facts.append(("warning", f"{same:,} pictures of validation are in training too"))
        facts.append(("batches", f"{self.num_batches('train'):,} an epoch, of {data.batch_images} pictures"))
        return facts


def canvas(pictures: np.ndarray | Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Pictures in one tensor.

    Args:
        pictures: (R, H, W, C), or (H, W, C) each; uint8.

    Returns:
        (R, C, H, W), uint8, each in the upper left corner, and heights and widths, (R, 2), int64.
    """
    shapes = np.array([picture.shape[:2] for picture in pictures], np.int64)
    if not isinstance(pictures, np.ndarray):
        padded = np.zeros((len(pictures), *shapes.max(0), pictures[0].shape[2]), np.uint8)
        for place, picture in zip(padded, pictures, strict=True):
            place[: picture.shape[0], : picture.shape[1]] = picture
        pictures = padded
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(shapes)
