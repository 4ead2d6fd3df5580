"""Translation of text with an encoder-decoder, trained by teacher forcing and scored by sacreBLEU."""

from __future__ import annotations

from tformer_cli.data.text.pairs import Pairs
from tformer_cli.evaluators.translation import TranslationEvaluator
from tformer_cli.models.registry import build_body
from tformer_cli.objectives.next_token import NextToken
from tformer_cli.predictors.translation import Translator
from tformer_cli.tasks.registry import TranslationExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: TranslationExperiment) -> Task:
    """Return the task of translating text with an encoder-decoder."""
    data = Pairs(config)
    objective = NextToken(data, config.optim.label_smoothing)
    predictor = Translator(data)
    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        phases=[Phase(objective)],
        evaluator=TranslationEvaluator(objective, predictor),
        predictor=predictor,
        use="tformer translate {run} < FILE",
    )
