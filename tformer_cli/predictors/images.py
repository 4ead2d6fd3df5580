"""Predictions for images: ranked labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.data.core.media import shown
from tformer_cli.data.image.dataset import LabelledImages, UnlabelledImages
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.errors import ConfigError
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.files import FilePredictor
from tformer_cli.predictors.media import ImageFiles


class ImageClassificationPredictor(FilePredictor[Any]):
    """Labels of images, with their probabilities."""

    options = frozenset({"top"})
    data: LabelledImages

    def __init__(self, data: LabelledImages) -> None:
        super().__init__(data, ImageFiles(data.config.data, [data.config.data.image]))

    def answers(self, model: Any, contents: Sequence[np.ndarray], numbers: Sequence[int] = ()) -> list[Prediction]:
        """Return the predictions for decoded images, (H, W, C) uint8 each."""
        return self.predictions(model, self.data.images.of_images(contents, next(model.parameters()).device))

    @torch.inference_mode()
    def predictions(self, model: Any, images: Tensor) -> list[Prediction]:
        """Return the most probable label of each image, and the probabilities of all labels in descending order.

        Args:
            model: in evaluation mode.
            images: inputs of the model, (B, C, S, S), float32.
        """
        predictions = []
        for row in model(images).float().softmax(-1).cpu().tolist():
            ranked = sorted(zip(self.data.labels.names, row, strict=True), key=lambda item: -item[1])
            details = {"label": ranked[0][0], "probabilities": {name: round(p, 6) for name, p in ranked}}
            predictions.append(Prediction(f"{shown(ranked[0][0])}\t{ranked[0][1]:.4f}", details))
        return predictions


class MaskedPatchesPredictor(FilePredictor[Any]):
    """A predictor that refuses all images: models of masked patches must be fine-tuned first."""

    data: UnlabelledImages

    def __init__(self, data: UnlabelledImages) -> None:
        super().__init__(data, ImageFiles(data.config.data, [data.config.data.image]))

    def predict(self, model: Any, inputs: Iterable[Any], share: Share = unshared) -> Iterator[Prediction]:
        """Refuse all inputs.

        Raises:
            ConfigError: if there is an input.
        """
        for _ in inputs:
            raise ConfigError(
                "a masked_patches model makes no predictions for images",
                "fine-tune it: tformer finetune vit/folder --from RUN",
            )
        yield from ()
