"""Images from a trained generator, with or without labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from tformer_cli.data.core.labels import label_key
from tformer_cli.data.image.dataset import LabelledImages, UnlabelledImages
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.errors import ConfigError, RunError
from tformer_cli.objectives.adversarial import noise_of
from tformer_cli.predictors.base import Prediction, Predictor

GENERATED_TOGETHER = 64
"""Number of images in a batch."""


class ImageGenerationPredictor(Predictor):
    """Generated images. Image i of a seed is the same, up to rounding, for any number of images.

    An input is the name of a label, or "" to use the labels in turn. A model without labels accepts only "".
    """

    reads = "nothing"
    options = frozenset({"count", "label", "seed"})
    data: LabelledImages | UnlabelledImages

    def unused(self, name: str) -> str:
        """Return the reason why a setting has no effect: a model without labels has none to choose."""
        if name == "label" and not self.data.labelled:
            return "the model was trained on images without labels (data.labelled=false)"
        return ""

    def requests(self) -> list[str]:
        """Return the labels of the images that the settings ask for.

        Raises:
            ConfigError: if there is no such label.
        """
        decode = self.config.decode
        self.number_of(decode.label, 0)
        return [decode.label] * decode.count

    @torch.inference_mode()
    def predict(self, model, inputs: Iterable[str], share: Share = unshared) -> Iterator[Prediction]:
        """Yield generated images with their labels and places in a grid; labels used in turn have a column each.

        Args:
            model: a generator and its discriminator, in evaluation mode.
            inputs: names of labels, or "".
            share: not used, since images are few.

        Raises:
            ConfigError: if there is no such label.
        """
        requests = list(inputs)
        names = self.data.output_names
        numbers = np.array([self.number_of(label, index) for index, label in enumerate(requests)], np.int64)
        in_turn = bool(names) and not any(requests)
        columns = len(names) if in_turn else max(1, math.ceil(math.sqrt(len(requests))))
        for start in range(0, len(requests), GENERATED_TOGETHER):
            rows = range(start, min(start + GENERATED_TOGETHER, len(requests)))
            images = self.generate(model, np.array(rows), numbers[start : rows.stop])
            for index, image in zip(rows, images, strict=True):
                label = names[numbers[index]] if names else None
                place = {"row": index // columns, "column": index % columns}
                details = {"index": index, "label": label, "seed": self.config.decode.seed, **place, "image": image}
                yield Prediction(label or "", details)

    def generate(self, model, samples: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
        """Return images, each (H, W, C) uint8.

        Args:
            model: in evaluation mode.
            samples: numbers that determine the noise, (B,), int64.
            labels: numbers of the labels, (B,), int64; not used by a model without labels.
        """
        device = next(model.parameters()).device
        noise = noise_of(model, self.config.decode.seed, 0, torch.from_numpy(samples).to(device))
        images = model.generator(noise, torch.from_numpy(labels).to(device) if model.labels else None)
        if not images.isfinite().all():
            cause = "the model's images are not finite"
            raise RunError(cause, "its weights overflow: choose another checkpoint with --checkpoint")
        return self.data.images.visible(images)

    def number_of(self, label: str, index: int) -> int:
        """Return the number of a label; for "" the label whose turn it is at `index`.

        Raises:
            ConfigError: if there is no such label.
        """
        names = self.data.output_names
        if not label:
            return index % len(names) if names else 0
        numbers = {label_key(name): number for number, name in enumerate(names)}
        if label_key(label) not in numbers:
            known = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise ConfigError(f"label {label!r}: the model has no such label", f"one of {known}" if names else "")
        return numbers[label_key(label)]
