"""Batches of images with captions, for models that describe images.

Shapes: B images, C channels, S height and width of the model's input, T tokens of a caption.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from tformer_cli.config.family import Sizes
from tformer_cli.data.core.batch import Batch
from tformer_cli.data.core.batching import shuffled
from tformer_cli.data.core.splits import find_split
from tformer_cli.data.image.caption_sources import caption_layout, read_captioned
from tformer_cli.data.image.dataset import ImageView, describe_images
from tformer_cli.data.image.images import Images
from tformer_cli.data.image.inputs import ImageBatch, ImageInputs
from tformer_cli.data.text.dataset import TextData
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.targets import encode_texts, fitting_rows, is_of_task, unknown_characters
from tformer_cli.errors import DataError


@dataclass
class CaptionBatch(Batch):
    """Images with their captions.

    Attributes:
        images: the images.
        target_inputs: <s> and tokens, (B, T), int64, padded at the end.
        targets: tokens and </s>, (B, T), int64, padded at the end.
        target_lengths: (B,), int64.
    """

    images: ImageBatch
    target_inputs: Tensor
    targets: Tensor
    target_lengths: Tensor
    unit: ClassVar[str] = ImageBatch.unit
    is_padded: ClassVar[bool] = ImageBatch.is_padded

    def sizes(self) -> tuple[int, int]:
        """Return the number of images twice: none is padding."""
        return self.images.sizes()


class CaptionedImages(TextData[Images, CaptionBatch]):
    """Images with a caption each; an image with several captions has a row for each.

    Args:
        config: a `CaptioningExperiment`.

    Attributes:
        images: collates images into batches, and computes the model's input from them.
        validation_is_drawn: whether the validation split was drawn from the training split, once it is read.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.images = ImageInputs(config.data, config.augment, config.seed)
        self.validation_is_drawn = False
        self._notes: list[str] = []
        self._tokens: dict[str, list[np.ndarray]] = {}

    @property
    def usual_length(self) -> int:
        """Return the number of pixels of an image in the model's input."""
        return math.prod(self.config.data.height_width)

    @property
    def target_language(self) -> str:
        """Return the language of the captions."""
        return self.config.data.language

    @property
    def limit(self) -> int:
        """Return the maximum number of tokens of a caption, without </s> or <s>."""
        return self.config.decoder.max_length - 1

    def sizes(self) -> Sizes:
        """Return the size of the vocabulary, and the channels and the size of images."""
        data = self.config.data
        return Sizes(vocabularies=(self.tokenizer.vocab_size,), channels=data.channels, image_size=data.image_size)

    def start_from(self, folder: Path) -> None:
        """Take the tokenizer if the checkpoint is of a captioning run; other tasks have other texts."""
        if is_of_task(folder, self.config.task):
            self.load(folder)

    def references(self, split: str) -> list[str]:
        """Return the captions of a split.

        Raises:
            DataError: if a caption is too long, see `tokens`.
        """
        self.tokens(split)
        return _captions(self.split(split))

    def training_text(self, train: Images) -> dict[str, Iterable[str]]:
        """Return the captions."""
        return {self.target_language: _captions(train)}

    def learn(self, train: Images) -> None:
        """Take the vocabulary, and replace one of another run that lacks characters of the captions.

        Raises:
            DataError: if the vocabulary at `tokenizer.path` lacks characters.
        """
        super().learn(train)
        if unknown := unknown_characters(_captions(train), self.tokenizer, train.location):
            if self.config.tokenizer.path:
                raise DataError(f"{unknown} is in no piece of tokenizer.path", "leave tokenizer.path empty")
            del self.tokenizer
            super().learn(train)
            self._notes.append(f"a new vocabulary, as {unknown} is in no piece of the old one")
        self.tokens("train")

    def tokens(self, split: str) -> list[np.ndarray]:
        """Return the tokens of each caption of a split, (T,) int64 each.

        Images whose captions are longer than the decoder's limit are left out of training, and of a validation split
        that was drawn from it.

        Raises:
            DataError: if a caption of another split is longer.
        """
        if split not in self._tokens:
            images = self.split(split)
            tokens = encode_texts(_captions(images), self.tokenizer, self.target_language)
            skip = split == "train" or (split == "validation" and self.validation_is_drawn)
            rows = fitting_rows(tokens, self.limit, "caption", images.location, skip=skip)
            if len(rows) < len(images):
                count = f"{len(images) - len(rows):,} captions of more than {self.limit} tokens"
                self._notes.append(f"left out of {'training' if split == 'train' else split}: {count}")
                self._splits[split] = images.select(rows, images.origin)
            self._tokens[split] = [tokens[row] for row in rows]
        return self._tokens[split]

    def order(self, split: str, epoch: int, *, training: bool) -> np.ndarray:
        """Return the rows of a split in the order of an epoch, (N,), int64: training images are shuffled."""
        count = len(self.split(split))
        return shuffled(count, self.config.seed, epoch) if split == "train" else np.arange(count)

    def collate(self, split: str, epoch: int, draws: np.ndarray, *, training: bool) -> CaptionBatch:
        """Return a batch of images with their captions.

        Args:
            split: name of the split.
            epoch: the epoch, from which random numbers are derived.
            draws: rows of the split, (B,), int64.
            training: see `View`.
        """
        tokens = self.tokens(split)
        return self.batch(self.images.batch(self.split(split), draws, epoch), [tokens[row] for row in draws])

    def batch(self, images: ImageBatch, captions: Sequence[np.ndarray]) -> CaptionBatch:
        """Return a batch of images and the tokens of their captions."""
        tokenizer = self.tokenizer
        target_inputs, _ = pad(captions, tokenizer.pad_id, begin=tokenizer.bos_id)
        targets, lengths = pad(captions, tokenizer.pad_id, end=tokenizer.eos_id)
        return CaptionBatch(images.sample_ids, images, target_inputs, targets, lengths)

    def inputs(self, batch: CaptionBatch, *, training: bool) -> tuple[Tensor]:
        """Return the images, (B, C, S, S), float32: augmented in training, else the centre of each."""
        return (self.images.inputs(batch.images, training=training),)

    def describe_splits(self) -> list[tuple[str, str]]:
        """Return the numbers of images, their size, and what is left out."""
        train, validation = self.split("train"), self.split("validation")
        lines = describe_images(self.config.data, train, validation, drawn=self.validation_is_drawn)
        lines = [line for line in lines if line[0] != "note"]  # `describe` adds the notes of the splits
        return [*lines, *(("note", note) for note in self._notes)]

    def describe_batches(self) -> str:
        """Return the number of images in a batch."""
        return f"of {self.config.data.batch_images} images"

    def _find_split(self, split: str) -> bool:
        return find_split(self.config.data, split, caption_layout(self.config.data)) is not None

    def _read(self, split: str) -> dict[str, Images]:
        config = self.config
        bad = config.trainer.on_bad_sample
        splits = read_captioned(config.data, split, seed=config.seed, on_bad_sample=bad)
        self.validation_is_drawn |= len(splits) > 1
        return {name: _in_one_line(images) for name, images in splits.items()}

    def _make_view(self, split: str, *, training: bool) -> ImageView[CaptionBatch]:
        self.tokens(split)
        return ImageView(self, split, training=training)


def _captions(images: Images) -> list[str]:
    assert images.labels is not None
    return images.labels


def _in_one_line(images: Images) -> Images:
    """Return images whose captions have single spaces for runs of white space."""
    captions = [" ".join(caption.split()) for caption in _captions(images)]
    return images if captions == images.labels else dataclasses.replace(images, labels=captions)
