"""Captioning: a sentence for each image, by an image encoder and a Transformer decoder (Xu et al. 2015)."""

from __future__ import annotations

from typing import Any

from torch import nn

from tformer_cli.data.image.captions import CaptionedImages
from tformer_cli.evaluators.captioning import CaptioningEvaluator
from tformer_cli.inspectors.images import CaptioningInspector
from tformer_cli.models.encoder_decoder import EncoderDecoder, TransformerDecoder
from tformer_cli.models.registry import build_body
from tformer_cli.objectives.next_token import TeacherForcing
from tformer_cli.predictors.captioning import Captioner
from tformer_cli.tasks.settings.images import CaptioningExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: CaptioningExperiment) -> Task:
    """Return the task of describing images."""
    data = CaptionedImages(config)
    objective = TeacherForcing(data, config.optim.label_smoothing)
    predictor = Captioner(data)
    inspector = CaptioningInspector(predictor)

    def assemble(encoder: Any) -> nn.Module:
        return EncoderDecoder(encoder, TransformerDecoder(config.decoder, data.tokenizer.vocab_size))

    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        assemble=assemble,
        phases=[Phase(objective)],
        evaluator=CaptioningEvaluator(objective, predictor, inspector),
        predictor=predictor,
        inspector=inspector,
        use="tformer predict {run} FILE",
    )
