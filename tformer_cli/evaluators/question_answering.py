"""Scores of answers: exact match and F1 of SQuAD (Rajpurkar et al. 2016, 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tformer_cli.data.core.view import View
from tformer_cli.data.text.question_windows import QuestionWindows, SpanBatch
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.evaluators.base import Evaluation, Evaluator, Row, Sample, Scoring, batch_on_device, spread
from tformer_cli.metrics.answers import answer_scores
from tformer_cli.metrics.bootstrap import Statistic, mean_of
from tformer_cli.predictors.question_answering import Span, best_spans, window_spans


class QuestionAnsweringEvaluator(Evaluator[Any, SpanBatch]):
    """The loss, exact match and F1."""

    metric = "f1"
    groups = {"length": ("question",)}
    data: QuestionWindows

    def statistic(self, metric: str, rows: Sequence[Row]) -> Statistic | None:
        """Return exact match or F1 as a function of rows."""
        scores = [answer_scores([row["reference"]], [row["prediction"]]) for row in rows]
        known = bool(scores) and metric in scores[0]
        return mean_of(np.array([score[metric] for score in scores]), 1.0) if known else None

    def evaluate(self, model: Any, view: View[SpanBatch], scoring: Scoring, share: Share = unshared) -> Evaluation:
        """Return the loss over windows, and the scores of the best span of each question."""
        split, data = self.data.split(view.split), self.data
        windows, max_answer = data.windows(view.split), data.config.data.max_answer

        def spans_of(index: int) -> tuple[list[Span], float]:
            batch = batch_on_device(view, model, index)
            scores = self.objective.outputs(model, batch)
            loss = self.objective.loss(model, scores, batch)
            part = [windows[row] for row in batch.sample_ids.tolist()]
            return window_spans(scores, part, split.rows, max_answer), float(loss.total)

        spans: list[Span] = []
        total = 0.0
        for part, loss in share(lambda indices: map(spans_of, indices), range(view.num_batches)):
            spans += part
            total += loss
        best = best_spans(spans)
        always_answers = data.always_answers
        if always_answers is None:  # runs of version 0.1 do not record it
            always_answers = all(row.answers for row in split.rows)
        threshold = None if always_answers else data.config.data.answer_threshold
        predictions = [best[number].answer(threshold) for number in range(len(split))]
        answers = [[text for text, _ in row.answers] for row in split.rows]
        scores = {"loss": total / len(spans), **answer_scores(answers, predictions)}
        evaluation = Evaluation(scores, data_sha256=split.hash, notes=list(split.notes))
        for row in spread(len(split), scoring.samples):
            evaluation.samples.append(Sample(split.rows[row].question, " | ".join(answers[row]), predictions[row]))
        if scoring.predictions:
            evaluation.predictions = [
                {"id": row.name, "question": row.question, "context": row.context, "reference": references,
                 "prediction": predictions[number], "score": best[number].shown_score}
                for number, (row, references) in enumerate(zip(split.rows, answers, strict=True))
            ]  # fmt: skip
        return evaluation
