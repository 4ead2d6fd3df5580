"""Pre-training of an encoder: masked tokens of running text, and next-sentence prediction."""

from __future__ import annotations

from tformer_cli.data.text.masked import MaskedText
from tformer_cli.evaluators.masked_tokens import MaskedTokensEvaluator
from tformer_cli.inspectors.encoders import MaskedTokensInspector
from tformer_cli.models.registry import build_body
from tformer_cli.models.token_heads import MaskedLanguageModel
from tformer_cli.objectives.masked_tokens import MaskedTokens
from tformer_cli.predictors.masked_tokens import MaskedTokensPredictor
from tformer_cli.tasks.settings.text import MaskedLanguageModelExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: MaskedLanguageModelExperiment) -> Task:
    """Return the task of pre-training an encoder on masked tokens."""
    data = MaskedText(config)
    objective = MaskedTokens(data, config.bert, config.optim.label_smoothing)
    predictor = MaskedTokensPredictor(data)
    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        assemble=lambda encoder: MaskedLanguageModel(encoder, nsp=config.bert.nsp),
        phases=[Phase(objective)],
        evaluator=MaskedTokensEvaluator(objective),
        predictor=predictor,
        inspector=MaskedTokensInspector(predictor),
        use='tformer predict {run} "TEXT WITH <mask>"',
    )
