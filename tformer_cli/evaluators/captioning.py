"""Scores and pictures of captions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tformer_cli.data.core.media import shown
from tformer_cli.data.image.captions import CaptionedImages
from tformer_cli.draw import Gallery, Picture
from tformer_cli.evaluators.base import spread
from tformer_cli.evaluators.generation import TextGenerationEvaluator
from tformer_cli.nn.taps import attention_weights

SHOWN = 12
"""Number of captions in a figure."""


class CaptioningEvaluator(TextGenerationEvaluator):
    """Scores of captions; its pictures show captions, and the parts of an image to which each of its tokens attends."""

    data: CaptionedImages

    def pictures(self, model: Any) -> dict[str, Picture]:
        """Return captions of validation images, and the cross-attention of the last block over the first of them.

        The attention of each token of the caption is averaged over heads (as in Xu et al. 2015, figure 3).
        """
        data, device = self.data, next(model.parameters()).device
        references = data.references("validation")
        rows = np.array(spread(len(references), SHOWN), np.int64)
        batch = data.view("validation").collate(0, rows).to(device)
        (images,) = data.inputs(batch, training=False)
        visible = data.images.visible(images)
        captions = [answer.text for answer in self.predictor.batch_texts(model, batch)]
        right = [caption == references[row] for caption, row in zip(captions, rows, strict=True)]
        labels = [
            shown(caption) + ("" if fits else f"\ncaption: {shown(references[row])}")
            for caption, fits, row in zip(captions, right, rows, strict=True)
        ]
        first = data.view("validation").collate(0, rows[:1]).to(device)
        weights = attention_weights(model, lambda: self.objective.outputs(model, first))
        last = [name for name in weights if name.endswith(".cross")][-1]
        mean = weights[last][0].float().mean(0).cpu().numpy()  # (T, S)
        maps = [row.reshape(_grid(mean.shape[1], images.shape[2:])) for row in _parts(mean, images.shape[2:])]
        pieces = data.tokenizer.pieces(first.targets[0].tolist(), data.target_language)
        return {
            "captions": Gallery(visible, labels, list(right)),
            "attention/cross": Gallery([visible[0]] * len(maps), list(pieces), [None] * len(maps), maps),
        }


def _grid(positions: int, size: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns of the parts of an image, of which the memory has one vector each, and maybe [class]."""
    height, width = size
    rows = round((positions * height / width) ** 0.5)
    return rows, round(rows * width / height)


def _parts(weights: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return the weights of the parts of an image, (T, rows * columns), without those of [class]."""
    rows, columns = _grid(weights.shape[1], size)
    return weights[:, -rows * columns :]
