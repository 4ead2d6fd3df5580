"""Data that consists of images, with or without labels."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import ImageDataConfig, Source, Target
from tformer_cli.data.core.balance import Balance
from tformer_cli.data.core.batch import B, Batch
from tformer_cli.data.core.batching import ByEpoch, shuffled
from tformer_cli.data.core.dataset import Data
from tformer_cli.data.core.labels import LABELS, LabelSet
from tformer_cli.data.core.media import shown
from tformer_cli.data.core.splits import find_split
from tformer_cli.data.core.view import View
from tformer_cli.data.image.images import Images, duplicates, read_images
from tformer_cli.data.image.inputs import ImageBatch, ImageInputs
from tformer_cli.data.image.picture_sources import DIGITS, LAYOUT
from tformer_cli.errors import Library

C = TypeVar("C", bound=Batch, covariant=True)
"""The type of a batch."""
VALIDATION = "validation.txt"
"""File of the run folder with the names of the images for validation, if they were drawn from the training split."""


class ImageData(Data[Images, B]):
    """Images in batches; a subclass implements `collate` and `inputs`.

    Args:
        config: an `ImageExperiment`.

    Attributes:
        images: collates images into batches, and computes the model's input from them.
        labelled: whether labels are read.
        validation_is_drawn: whether the validation split was drawn from the training split, once it is read.
    """

    labelled = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.images = ImageInputs(config.data, config.augment, config.seed)
        self.validation_is_drawn = False

    def libraries(self) -> list[Library]:
        """Return the library that has the built-in images."""
        return [DIGITS] if self.config.data.source is Source.builtin else []

    @property
    def usual_length(self) -> int:
        """Return the number of pixels of an image in the model's input."""
        return math.prod(self.config.data.height_width)

    def sizes(self) -> Sizes:
        """Return the channels and the size of images."""
        return Sizes(channels=self.config.data.channels, image_size=self.config.data.image_size)

    def run_files(self) -> dict[str, bytes]:
        """Return the names of the images for validation, if they were drawn from the training split."""
        if not self.validation_is_drawn:
            return {}
        return {VALIDATION: "".join(f"{shown(name)}\n" for name in self.split("validation").names).encode()}

    def describe(self) -> list[tuple[str, str]]:
        """Return the header's lines on images and batches."""
        data, train, validation = self.config.data, self.split("train"), self.split("validation")
        lines = describe_images(data, train, validation, drawn=self.validation_is_drawn)
        batches = self.view("train", training=True).num_batches
        return [*lines, ("batches", f"{batches:,} an epoch, of {data.batch_images} pictures")]

    def collate(self, split: str, epoch: int, draws: np.ndarray, *, training: bool) -> B:
        """Return a batch.

        Args:
            split: name of the split.
            epoch: counts from 0.
            draws: as `order` returns them, (B,), int64.
            training: see `View`.
        """
        raise NotImplementedError

    def order(self, split: str, epoch: int, *, training: bool) -> np.ndarray:
        """Return the rows of a split in the order of an epoch, (N,), int64: training images are shuffled.

        Args:
            split: name of the split.
            epoch: counts from 0.
            training: see `View`.
        """
        count = len(self.split(split))
        return shuffled(count, self.config.seed, epoch) if split == "train" else np.arange(count)

    def _find_split(self, split: str) -> bool:
        return find_split(self.config.data, split, LAYOUT) is not None

    def _read(self, split: str) -> dict[str, Images]:
        config = self.config
        bad = config.trainer.on_bad_sample
        splits = read_images(config.data, split, seed=config.seed, on_bad_sample=bad, labelled=self.labelled)
        self.validation_is_drawn |= len(splits) > 1
        return splits

    def _make_view(self, split: str, *, training: bool) -> ImageView[B]:
        return ImageView(self, split, training=training)


class BatchesOfImages(Protocol[C]):
    """Data whose splits consist of images, in batches of one size."""

    @property
    def config(self) -> Any:
        """Return the task's `Experiment`."""
        ...

    def split(self, name: str) -> Images:
        """Return a split."""
        ...

    def order(self, split: str, epoch: int, *, training: bool) -> np.ndarray:
        """Return the rows of a split in the order of an epoch: see `ImageData.order`."""
        ...

    def collate(self, split: str, epoch: int, draws: np.ndarray, *, training: bool) -> C:
        """Return a batch: see `ImageData.collate`."""
        ...


class ImageView(View[B]):
    """Images in batches of one size; training images are in a new order in each epoch.

    Args:
        data: the images.
        split: name of the split.
        training: see `View`.
    """

    def __init__(self, data: BatchesOfImages[B], split: str, *, training: bool) -> None:
        super().__init__(split, training=training)
        self.data, self.batch_images = data, data.config.data.batch_images
        self.orders = ByEpoch(self._order)

    @property
    def num_batches(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.data.split(self.split)) // self.batch_images)

    def rows(self, epoch: int, index: int) -> np.ndarray:
        """Return the draws of batch `index` of `epoch`, see `ImageData.order`."""
        return self.orders[epoch][index * self.batch_images : (index + 1) * self.batch_images]

    def collate(self, epoch: int, rows: np.ndarray) -> B:
        """Return the batch of the given draws."""
        return self.data.collate(self.split, epoch, rows, training=self.training)

    def _order(self, epoch: int) -> np.ndarray:
        return self.data.order(self.split, epoch, training=self.training)


class UnlabelledImages(ImageData[ImageBatch]):
    """Images without labels; they are not blended with others."""

    def collate(self, split: str, epoch: int, draws: np.ndarray, *, training: bool) -> ImageBatch:
        """Return a batch of images."""
        return self.images.batch(self.split(split), draws, epoch)

    def inputs(self, batch: ImageBatch, *, training: bool) -> tuple[Tensor]:
        """Return the images, (B, C, S, S), float32: augmented in training, else the centre of each."""
        return (self.images.inputs(batch, training=training),)


@dataclass
class LabelledImageBatch(Batch):
    """Images with their labels.

    Attributes:
        images: the images, and a partner for each if they are to be blended.
        targets: numbers of the labels, (B,), int64.
        partner_targets: those of the partners, (B,), int64; None: there are no partners.
    """

    images: ImageBatch
    targets: Tensor
    partner_targets: Tensor | None = None
    unit: ClassVar[str] = ImageBatch.unit
    is_padded: ClassVar[bool] = ImageBatch.is_padded

    @property
    def shares(self) -> Tensor | None:
        """Return the weights of `targets`, (B,), float32; those of `partner_targets` are 1 minus them."""
        return self.images.shares

    def sizes(self) -> tuple[int, int]:
        """Return the number of images twice: none is padding."""
        return self.images.sizes()


class LabelledImages(ImageData[LabelledImageBatch]):
    """Images with a label each.

    In training they may be blended by mixup and CutMix, and drawn more often if their label is rare (`data.balance`).

    Args:
        config: an `ImageExperiment`.
        class_weights: whether the labels have weights that are inversely proportional to their frequencies.
    """

    labelled = True
    labels: LabelSet
    """Set by `prepare` or `load`."""

    def __init__(self, config: Any, *, class_weights: bool = False) -> None:
        super().__init__(config)
        self.class_weights = class_weights
        self._targets: dict[str, np.ndarray] = {}
        self._balance: Balance | None = None

    def prepare(self, run: Path) -> None:
        """Read training and validation images, and determine the labels.

        Args:
            run: the run folder.

        Raises:
            DataError: if the data cannot be read, or validation has a label that training does not have.
        """
        super().prepare(run)
        for split in ("train", "validation"):
            self.targets(split)
        if self.class_weights:
            self.labels = self.labels.weighted(self.targets("train"))

    def learn(self, train: Images) -> None:
        """Take the labels from the training split."""
        self.labels = LabelSet.of(train, Target.label, "")

    def load(self, folder: Path) -> None:
        """Take the labels from a checkpoint, if it has labels."""
        if (labels := LabelSet.of_checkpoint(folder)) is not None:
            self.labels = labels

    def sizes(self) -> Sizes:
        """Return the channels and the size of images, and the number of labels."""
        return dataclasses.replace(super().sizes(), labels=len(self.output_names))

    def files(self) -> dict[str, bytes]:
        """Return the file of the labels."""
        return {LABELS: self.labels.to_json()}

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the labels, in order; before `prepare` or `load`, none."""
        labels = getattr(self, "labels", None)
        return () if labels is None else labels.names

    def targets(self, split: str) -> np.ndarray:
        """Return the numbers of a split's labels, (N,), int64.

        Raises:
            DataError: at a label that the training split does not have.
        """
        if split not in self._targets:
            self._targets[split] = self.labels.numbers(self.split(split))
        return self._targets[split]

    def describe(self) -> list[tuple[str, str]]:
        """Return the header's lines on images, batches and labels."""
        return [*super().describe(), ("labels", self.labels.described(self.targets("train")))]

    def order(self, split: str, epoch: int, *, training: bool) -> np.ndarray:
        """Return the order of an epoch, (N,), int64; with balanced labels, the draws of `Balance`."""
        strength = self.config.data.balance
        if not (strength and training and split == "train"):
            return super().order(split, epoch, training=training)
        if self._balance is None:
            self._balance = Balance(self.targets(split), strength, self.config.seed)
        return self._balance[epoch]

    def collate(self, split: str, epoch: int, draws: np.ndarray, *, training: bool) -> LabelledImageBatch:
        """Return a batch of images with labels; for mixup and CutMix with a partner for each."""
        images, targets = self.images.batch(self.split(split), draws, epoch, blended=training), self.targets(split)
        partners = None if images.partners is None else torch.from_numpy(targets[images.partners.numpy()])
        image_targets = torch.from_numpy(targets[images.sample_ids.numpy()])
        return LabelledImageBatch(images.sample_ids, images, image_targets, partners)

    def inputs(self, batch: LabelledImageBatch, *, training: bool) -> tuple[Tensor]:
        """Return the images, (B, C, S, S), float32: augmented and blended in training, else the centre of each."""
        return (self.images.inputs(batch.images, training=training),)


def describe_images(data: ImageDataConfig, train: Images, validation: Images, *, drawn: bool) -> list[tuple[str, str]]:
    """Return the header's lines on images.

    Args:
        data: their size.
        train: training images.
        validation: images for validation.
        drawn: whether the latter were drawn from the former.
    """
    counts = f"{len(train):,} pictures to train, {len(validation):,} to validate"
    size = " x ".join(map(str, (*data.height_width, data.channels)))
    lines = [("data", f"{counts}{', drawn from training' if drawn else ''}; seen as {size}")]
    lines += [("note", note) for note in dict.fromkeys((*train.notes, *validation.notes))]
    if same := duplicates(validation, train):
        lines.append(("warning", f"{same:,} pictures of validation are in training too"))
    return lines
