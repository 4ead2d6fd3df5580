"""Scores and pictures of captions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tformer_cli.config.schema import AttentionKind
from tformer_cli.data.core.media import shown
from tformer_cli.data.image.captions import CaptionedImages
from tformer_cli.draw import Gallery, Picture
from tformer_cli.evaluators.base import spread
from tformer_cli.evaluators.generation import TextGenerationEvaluator
from tformer_cli.figures.attention import last_layer, over_image
from tformer_cli.inspectors.images import CaptioningInspector
from tformer_cli.objectives.next_token import TeacherForcing
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.captioning import Captioner

SHOWN = 12
"""Number of captions in a figure."""


class CaptioningEvaluator(TextGenerationEvaluator):
    """Scores of captions. The pictures show captions, and the parts of an image that each token attends to.

    Args:
        objective: teacher forcing.
        predictor: generates the captions that are scored.
        inspector: inspector that provides the examples for pictures.
    """

    data: CaptionedImages

    def __init__(self, objective: TeacherForcing, predictor: Captioner, inspector: CaptioningInspector) -> None:
        super().__init__(objective, predictor)
        self.inspector = inspector

    def pictures(self, model: Any) -> dict[str, Picture]:
        """Return captions of validation images, and the cross-attention of the last layer over the first of them.

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
        example = self.inspector.of_caption(model, images[:1], "", Prediction(references[rows[0]]))
        last = last_layer(model, example, AttentionKind.cross)
        attention = None if last is None else over_image(example, *last)
        figures: dict[str, Picture] = {"captions": Gallery(visible, labels, list(right))}
        return figures if attention is None else {**figures, "attention/cross": attention}
