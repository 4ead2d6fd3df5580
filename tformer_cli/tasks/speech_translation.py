"""Speech translation: text in another language for each recording, by a speech encoder and a Transformer decoder."""

from __future__ import annotations

from typing import Any

from torch import nn

from tformer_cli.data.speech.dataset import SpeechData
from tformer_cli.data.speech.fitting import Translations
from tformer_cli.evaluators.generation import TextGenerationEvaluator
from tformer_cli.inspectors.speech import SpeechTranslationInspector
from tformer_cli.models.encoder_decoder import EncoderDecoder, TransformerDecoder
from tformer_cli.models.registry import build_body
from tformer_cli.objectives.next_token import TeacherForcing
from tformer_cli.predictors.speech_translation import SpeechTranslator
from tformer_cli.tasks.settings.speech import SpeechTranslationExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: SpeechTranslationExperiment) -> Task:
    """Return the task of translating recordings."""
    data = SpeechData(config, Translations(config))
    objective = TeacherForcing(data, config.optim.label_smoothing)
    predictor = SpeechTranslator(data)

    def assemble(recogniser: Any) -> nn.Module:
        return EncoderDecoder(recogniser.encoder, TransformerDecoder(config.decoder, data.tokenizer.vocab_size))

    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        assemble=assemble,
        phases=[Phase(objective)],
        evaluator=TextGenerationEvaluator(objective, predictor),
        predictor=predictor,
        inspector=SpeechTranslationInspector(predictor),
        use="tformer predict {run} FILE",
    )
