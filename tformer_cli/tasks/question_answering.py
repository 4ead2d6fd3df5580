"""Question answering: an encoder fine-tuned to point at the span of a text that answers a question."""

from __future__ import annotations

from tformer_cli.data.text.question_windows import QuestionWindows
from tformer_cli.evaluators.question_answering import QuestionAnsweringEvaluator
from tformer_cli.inspectors.encoders import QuestionInspector
from tformer_cli.models.registry import build_body
from tformer_cli.models.token_heads import SpanClassifier
from tformer_cli.objectives.spans import Spans
from tformer_cli.predictors.question_answering import QuestionAnswerer
from tformer_cli.tasks.settings.text import QuestionAnsweringExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: QuestionAnsweringExperiment) -> Task:
    """Return the task of answering questions with an encoder."""
    data = QuestionWindows(config)
    objective = Spans(data)
    predictor = QuestionAnswerer(data)
    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        assemble=lambda encoder: SpanClassifier(encoder, config.head),
        phases=[Phase(objective)],
        evaluator=QuestionAnsweringEvaluator(objective),
        predictor=predictor,
        inspector=QuestionInspector(predictor),
        use="tformer predict {run} FILE",
    )
