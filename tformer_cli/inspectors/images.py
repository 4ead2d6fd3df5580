"""Examples of images: with labels, with captions, with masked patches, and generated ones.

Shapes: B images, C channels, H and W height and width in pixels, D width of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.data.core.media import shown
from tformer_cli.inspectors.base import (
    Axis,
    Example,
    Explained,
    Inspector,
    Lens,
    Load,
    files_read,
    generated_tokens,
    lens_of,
)
from tformer_cli.inspectors.encoders import spaced
from tformer_cli.predictors.base import Input, Prediction

CLASS = "[class]"


def grid_of(positions: int, height: int, width: int) -> tuple[int, int]:
    """Return the numbers of rows and columns of the parts of an image; `positions` may include [class]."""
    rows = round((positions * height / width) ** 0.5)
    return rows, round(rows * width / height)


def patches_of(encoder: Any, images: Tensor) -> Axis:
    """Return the positions of an encoder's memory of images, (1, C, H, W): patches, after [class] if there is one."""
    height, width = images.shape[2:]
    with torch.inference_mode():
        positions = encoder.encode(images).states.shape[1]
    grid = getattr(encoder, "grid", None) or grid_of(positions, height, width)
    before = [CLASS] * (positions - grid[0] * grid[1])
    return Axis.of_patches(grid, (height / grid[0], width / grid[1]), before)


class ImageInspector(Inspector[Any]):
    """Examples of images; a subclass implements `example`."""

    predictor: Any

    def examples(self, model: Any, inputs: Sequence[Input]) -> list[Example]:
        """Return the example of each image file; see `Inspector.examples`."""
        device = next(model.parameters()).device
        return [
            self.example(model, self.data.images.of_images([content], device), name)
            for content, name in files_read(self.predictor.files, inputs)
        ]

    def of_split(self, model: Any, split: str, count: int) -> list[Example]:
        """Return examples of a split; see `Inspector.of_split`."""
        view, device = self.data.view(split), next(model.parameters()).device
        names = getattr(self.data.split(split), "names", None)
        examples = []
        for row in spaced(len(self.data.split(split)), count):
            (images,) = self.data.inputs(view.collate(0, np.array([row])).to(device), training=False)
            name = str(names[row]) if names is not None else f"{split}, image {row + 1:,}"
            examples.append(self.example(model, images, name))
        return examples

    def images(self, split: str, rows: Sequence[int]) -> list[np.ndarray]:
        """Return the images of rows of a split; see `Inspector.images`."""
        batch = self.data.view(split).collate(0, np.array(rows, np.int64))
        (images,) = self.data.inputs(batch, training=False)
        return self.data.images.visible(images)

    def example(self, model: Any, images: Tensor, name: str) -> Example:
        """Return the example of an image, (1, C, H, W), as the model reads it."""
        raise NotImplementedError

    def of_encoder(self, encoder: Any, images: Tensor, name: str) -> Example:
        """Return the example of an image for an encoder; one without `encode` has no positions."""
        (visible,) = self.data.images.visible(images)
        if not hasattr(encoder, "encode"):
            return Example(name, lambda: None, image=visible)

        def prepare(batch: int, size: int) -> Callable[[], object]:
            return partial(encoder.encode, images.repeat(batch, 1, 1, 1))

        load = Load("pixels", [images[0, 0].numel()], prepare)
        return Example(name, lambda: encoder.encode(images), patches_of(encoder, images), image=visible, load=load)


class ImageClassificationInspector(ImageInspector):
    """Examples of images with labels."""

    @property
    def labels(self) -> Sequence[str]:
        """The labels; see `Inspector.labels`."""
        return [shown(name) for name in self.data.labels.names]

    def example(self, model: Any, images: Tensor, name: str) -> Example:
        """Return the example of an image, with the score of the predicted label."""
        example = self.of_encoder(model.encoder, images, name)
        (prediction,) = self.predictor.predictions(model, images)
        label = prediction.details["label"]
        example.answer = prediction.text.replace("\t", " ")
        best = list(self.data.labels.names).index(label)

        def score(batch: Tensor) -> Tensor:
            return model(batch).float()[:, best]

        grey = torch.zeros_like(images[0])  # the mean colour, since inputs are normalised
        example.explained = lambda: Explained(f"logit of {label}", images[0], score, grey)
        return example


class MaskedPatchesInspector(ImageInspector):
    """Examples of images without masked patches."""

    def example(self, model: Any, images: Tensor, name: str) -> Example:
        """Return the example of an image."""
        return self.of_encoder(model.encoder, images, name)


class CaptioningInspector(ImageInspector):
    """Examples of images with the captions that the model generates."""

    def example(self, model: Any, images: Tensor, name: str) -> Example:
        """Return the example of an image and its caption."""
        (prediction,) = self.predictor.texts(model, model.encode(images), [0])
        return self.of_caption(model, images, name, prediction)

    def of_caption(self, model: Any, images: Tensor, name: str, caption: Prediction) -> Example:
        """Return the example of an image, (1, C, H, W), and any caption."""
        example = self.of_encoder(model.encoder, images, name)
        return with_text(self, model, example, (images,), caption, self.data.limit)

    def lens(self, model: Any) -> Lens | None:
        """Return the output layer of the decoder."""
        return lens_of(model, model.decoder.decoder, self.data.tokenizer, self.data.target_language)


def with_text(
    inspector: Inspector[Any],
    model: Any,
    example: Example,
    inputs: tuple[Tensor, ...],
    prediction: Prediction,
    limit: int,
) -> Example:
    """Add the decoder's positions of a generated text to an example of an encoder.

    Args:
        inspector: inspector of the run.
        model: an encoder-decoder.
        example: the example of the encoder.
        inputs: inputs of the encoder.
        prediction: the text.
        limit: maximum number of its tokens.
    """
    tokenizer, language = inspector.data.tokenizer, inspector.data.target_language
    ids = generated_tokens(prediction, tokenizer, language, limit)
    target_inputs = torch.tensor([[tokenizer.bos_id, *ids]], device=inputs[0].device)
    example.run = lambda: model.decode(model.encode(*inputs), target_inputs)
    example.decoder = Axis.of_tokens(tokenizer.names([tokenizer.bos_id, *ids], language))
    example.outputs = tokenizer.names([*ids, tokenizer.eos_id], language)
    example.answer = prediction.text
    return example


class ImageGenerationInspector(Inspector[Any]):
    """Examples of images that the model generates, with each label in turn; the model reads no inputs."""

    predictor: Any

    def examples(self, model: Any, inputs: Sequence[Input]) -> list[Example]:
        """Return examples of generated images; the inputs are their labels, and "" is the label whose turn it is.

        Raises:
            ConfigError: if there is no such label.
        """
        numbers = [self.predictor.number_of(str(label), index) for index, label in enumerate(inputs)]
        return [self.example(model, index, number) for index, number in enumerate(numbers)]

    def of_split(self, model: Any, split: str, count: int) -> list[Example]:
        """Return examples of generated images; the split has no effect."""
        labels = max(1, len(self.data.output_names))
        return [self.example(model, number, number % labels) for number in range(count)]

    def example(self, model: Any, number: int, label: int) -> Example:
        """Return the example of a generated image.

        Args:
            model: a generator and its discriminator.
            number: number from which the noise is derived.
            label: number of the label.
        """

        def run() -> Any:
            return self.predictor.generate(model, np.array([number]), np.array([label]))

        with torch.inference_mode():
            (image,) = run()
        names = self.data.output_names
        return Example(f"generated image {number + 1}" + (f": {names[label]}" if names else ""), run, image=image)
