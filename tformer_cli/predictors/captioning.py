"""Captions of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tformer_cli.data.image.caption_sources import IMAGE
from tformer_cli.data.image.captions import CaptionedImages
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.generation import TextGenerator
from tformer_cli.predictors.media import ImageFiles


class Captioner(TextGenerator):
    """Describes images.

    Args:
        data: images with captions.
    """

    data: CaptionedImages

    def __init__(self, data: CaptionedImages) -> None:
        column = data.config.data.image
        super().__init__(data, ImageFiles(data.config.data, [column] if column else IMAGE))

    @torch.inference_mode()
    def answers(self, model: Any, contents: Sequence[np.ndarray], numbers: Sequence[int] = ()) -> list[Prediction]:
        """Return the captions of decoded images, (H, W, C) uint8 each."""
        images = self.data.images.of_images(contents, next(model.parameters()).device)
        return self.texts(model, model.encode(images), numbers or range(len(contents)))
