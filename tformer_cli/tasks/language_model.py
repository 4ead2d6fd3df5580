"""Causal language modelling: packed running text, next-token prediction, perplexity and continuations."""

from __future__ import annotations

from tformer_cli.data.text.packed import PackedText
from tformer_cli.evaluators.language_model import LanguageModelEvaluator
from tformer_cli.inspectors.language_model import LanguageModelInspector
from tformer_cli.models.registry import build_body
from tformer_cli.objectives.next_token import NextToken
from tformer_cli.predictors.language_model import LanguageModelPredictor
from tformer_cli.tasks.settings.text import LanguageModelExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: LanguageModelExperiment) -> Task:
    """Return the task of modelling text with a decoder."""
    data = PackedText(config)
    objective = NextToken(data, config.optim.label_smoothing)
    predictor = LanguageModelPredictor(data)
    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        phases=[Phase(objective)],
        evaluator=LanguageModelEvaluator(objective, predictor),
        predictor=predictor,
        inspector=LanguageModelInspector(predictor),
        use='tformer predict {run} "TEXT"',
    )
