"""Answers to questions: the best span over all windows of a text.

Shapes: B windows, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tformer_cli.data.core.cells import BadRow, Gate, shortest
from tformer_cli.data.text.question_windows import QuestionWindows, Window
from tformer_cli.data.text.questions import Question, squad_rows
from tformer_cli.errors import DataError
from tformer_cli.predictors.base import Input, Prediction
from tformer_cli.predictors.inputs import Answer, OnLong, Readable, Refusal
from tformer_cli.predictors.text import TextPredictor


@dataclass(frozen=True)
class Span:
    """The best span of a window, or of a question.

    Attributes:
        question: row of the question.
        score: log-probability of the span minus that of no answer ([CLS]); minus infinity if the text is empty.
        text: text of the span.
    """

    question: int
    score: float
    text: str

    @property
    def shown_score(self) -> float | None:
        """The score; None if the text is empty, since JSON cannot store infinity."""
        return shortest(self.score) if math.isfinite(self.score) else None

    def answer(self, threshold: float | None) -> str:
        """Return the text, or "" if the score is not above a threshold; None: there is no threshold."""
        return self.text if threshold is None or self.score > threshold else ""


def window_spans(
    scores: Tensor, windows: Sequence[Window], questions: Sequence[Question], max_answer: int
) -> list[Span]:
    """Return the best span of each window within its text.

    Args:
        scores: scores of first and last tokens, (B, 2, T).
        windows: the windows.
        questions: the questions, by the rows that windows name.
        max_answer: maximum number of tokens of an answer.
    """
    scores = scores.log_softmax(-1).cpu()
    width = scores.shape[-1]
    pairs = scores[:, 0, :, None] + scores[:, 1, None, :]  # (B, begin, end)
    possible = torch.ones(width, width, dtype=torch.bool).triu().tril(max_answer - 1)
    no_answer = pairs[:, 0, 0]
    pairs = pairs.masked_fill(~possible, -torch.inf)
    pairs[:, 0, :] = pairs[:, :, 0] = -torch.inf
    values, indices = pairs.flatten(1).max(1)
    spans = []
    for row, window in enumerate(windows):
        score, text = float(values[row] - no_answer[row]), ""
        if math.isfinite(score):
            text = window.text(questions[window.question].context, *divmod(int(indices[row]), width))
        spans.append(Span(window.question, score, text))
    return spans


def best_spans(spans: Iterable[Span]) -> dict[int, Span]:
    """Return the best span of each question by its row; among equal scores the first."""
    best: dict[int, Span] = {}
    for span in spans:
        if span.question not in best or span.score > best[span.question].score:
            best[span.question] = span
    return best


class QuestionAnswerer(TextPredictor[Any]):
    """A predictor that answers questions with spans of their texts."""

    on_long = OnLong.cut  # the question is cut, as in training; texts of any length are read in windows
    data: QuestionWindows

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the columns of the question and its text, named as in tables of SQuAD."""
        return ("question", "context")

    def documents(self, path: Path) -> Iterator[tuple[str, tuple[str, str] | BadRow]]:
        """Yield the questions of a file in SQuAD's JSON, or what is wrong with them, with their names for errors.

        Raises:
            DataError: if the file is malformed, or contains no questions.
        """
        empty = True
        for row in squad_rows(path, Gate(), answered=False):
            empty = False
            if isinstance(row, BadRow):
                yield row.location, row
            else:
                yield f"{path}: question {row.name}", (row.question, row.context)
        if empty:
            raise DataError(f"{path}: there are no questions")

    def _read_valid(self, inputs: list[Input]) -> list[Answer[tuple[str, str]] | Refusal]:
        """Return questions with their texts, from rows of two columns or from lines separated by a tab."""
        limit = self.data.question_limit
        answers: list[Answer[tuple[str, str]] | Refusal] = []
        for row in inputs:
            parts = row.split("\t", 1) if isinstance(row, str) else list(row)
            if len(parts) != 2 and any(parts):
                reason = "no tab between a question and the text that answers it"
                answers.append(self._malformed(reason, "write QUESTION<tab>TEXT"))
                continue
            question, context = parts if len(parts) == 2 else ("", "")
            length = len(self.tokenizer.encode(question))
            if length > limit:
                size = f"the question has {length:,} tokens, the model reads {limit:,}"
                row_as_is = (question, context)  # `divide` cuts the question
                answers.append(self._too_long(size, "shorten the question", row_as_is, "its end was not read"))
            else:
                answers.append(Readable((question, context)))
        return answers

    @torch.inference_mode()
    def _answer(self, model: Any, rows: list[tuple[str, str]]) -> list[Prediction]:
        """Return the answer to each question."""
        device, max_answer = next(model.parameters()).device, self.config.data.max_answer
        questions = [Question(str(number), question, context, ()) for number, (question, context) in enumerate(rows)]
        spans: list[Span] = []
        for number, question in enumerate(questions):
            windows = self.data.divide(number, question)
            batch = self.data.collate(windows, torch.arange(len(windows))).to(device)
            scores = model(batch.tokens, batch.lengths, batch.segments, batch.allowed)
            spans += window_spans(scores, windows, questions, max_answer)
        best = best_spans(spans)
        threshold = self.config.data.answer_threshold if self.data.always_answers is False else None
        predictions = []
        for number in range(len(questions)):
            answer = best[number].answer(threshold)
            details = {"answer": answer, "score": best[number].shown_score, "threshold": threshold}
            predictions.append(Prediction(answer, details))
        return predictions
