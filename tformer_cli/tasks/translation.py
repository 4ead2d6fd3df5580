"""Translation of text, scored by sacreBLEU: with an encoder-decoder trained by teacher forcing, or with an editor."""

from __future__ import annotations

from tformer_cli.config.family import family
from tformer_cli.data.text.pairs import Pairs
from tformer_cli.evaluators.editing import EditingEvaluator
from tformer_cli.evaluators.translation import TranslationEvaluator
from tformer_cli.inspectors.pairs import EditingInspector, TranslationInspector
from tformer_cli.models.registry import build_body
from tformer_cli.objectives.dual_policy import DualPolicy
from tformer_cli.objectives.next_token import NextToken
from tformer_cli.predictors.editing import TextEditor
from tformer_cli.predictors.translation import Translator
from tformer_cli.tasks.settings.text import TranslationExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: TranslationExperiment) -> Task:
    """Return the task of translating text; the model family determines whether the model generates or edits texts."""
    data = Pairs(config)
    if "token_editor" in family(config.model.family).provides:
        objective, predictor = DualPolicy(data, config.optim.label_smoothing), TextEditor(data)
        inspector = EditingInspector(predictor)
        evaluator = EditingEvaluator(objective, predictor, inspector)
    else:
        objective, predictor = NextToken(data, config.optim.label_smoothing), Translator(data)
        inspector = TranslationInspector(predictor)
        evaluator = TranslationEvaluator(objective, predictor, inspector)
    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        phases=[Phase(objective)],
        evaluator=evaluator,
        predictor=predictor,
        inspector=inspector,
        use="tformer translate {run} < FILE",
    )
