"""Text classification: an encoder fine-tuned on the labels or numbers of texts, or of pairs of texts."""

from __future__ import annotations

from tformer_cli.data.text.classified_texts import ClassifiedTexts
from tformer_cli.evaluators.text_classification import TextClassificationEvaluator
from tformer_cli.inspectors.encoders import TextClassificationInspector
from tformer_cli.models.registry import build_body
from tformer_cli.models.token_heads import SequenceClassifier
from tformer_cli.objectives.classification import TextClassification
from tformer_cli.predictors.text_classification import TextClassifier
from tformer_cli.tasks.settings.text import TextClassificationExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: TextClassificationExperiment) -> Task:
    """Return the task of classifying texts with an encoder."""
    data = ClassifiedTexts(config)
    objective = TextClassification(data, config.optim.label_smoothing)
    predictor = TextClassifier(data)
    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        assemble=lambda encoder: SequenceClassifier(encoder, config.head, data.labels.outputs),
        phases=[Phase(objective)],
        evaluator=TextClassificationEvaluator(objective, predictor),
        predictor=predictor,
        inspector=TextClassificationInspector(predictor),
        use="tformer predict {run} FILE" if len(predictor.input_columns) > 1 else 'tformer predict {run} "TEXT"',
    )
