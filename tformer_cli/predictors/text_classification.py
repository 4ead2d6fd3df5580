"""Labels or numbers of texts, or of pairs of texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import Cut, Target
from tformer_cli.data.core.cells import shortest
from tformer_cli.data.text.classified_texts import ClassifiedTexts
from tformer_cli.predictors.base import Input, Prediction
from tformer_cli.predictors.inputs import Answer, OnLong, Readable, Refusal, parts_of
from tformer_cli.predictors.text import TextPredictor

LOST = {Cut.end: "its end", Cut.beginning: "its beginning", Cut.middle: "its middle"}
"""The part of a text that is cut off, for notes."""


class TextClassifier(TextPredictor[Any]):
    """A predictor of a label with its probability, a number, or several labels, for each text or pair.

    Args:
        data: data with tokenizer and labels.
    """

    on_long = OnLong.cut  # as in training; `data.cut` selects the part that is cut
    data: ClassifiedTexts

    def __init__(self, data: ClassifiedTexts) -> None:
        super().__init__(data)
        if self.config.data.target is not Target.number:
            self.options |= {"top"}

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of texts, or the two columns of pairs."""
        data = self.config.data
        return (data.text, data.second) if data.second else (data.text,)

    def predictions(self, outputs: Tensor) -> list[Prediction]:
        """Return the predictions of the model's outputs, (B, C) float32 on the CPU."""
        labels = self.data.labels
        if labels.target is Target.number:
            return [Prediction(f"{value:.4f}", {"number": shortest(value)}) for value in outputs[:, 0].tolist()]
        several = labels.target is Target.labels
        predictions = []
        for row in (outputs.sigmoid() if several else outputs.softmax(-1)).tolist():
            probabilities = {name: round(p, 6) for name, p in zip(labels.names, row, strict=True)}
            if several:
                chosen = [name for name, p in zip(labels.names, row, strict=True) if p > 0.5]
                predictions.append(Prediction(labels.separator.join(chosen), {"probabilities": probabilities}))
            else:
                best = max(range(len(row)), key=row.__getitem__)
                details = {"label": labels.names[best], "probabilities": probabilities}
                predictions.append(Prediction(f"{labels.names[best]}\t{row[best]:.4f}", details))
        return predictions

    def _read_valid(self, inputs: list[Input]) -> list[Answer[list[np.ndarray]] | Refusal]:
        """Return the tokens of each line, or of both texts of a pair separated by a tab."""
        columns, limit = len(self.input_columns), self.data.limit
        answers: list[Answer[list[np.ndarray]] | Refusal] = []
        for text in inputs:
            parts = [text] if columns == 1 and isinstance(text, str) else parts_of(text)
            if len(parts) != columns:
                cause = f"expected two texts, found {len(parts)}"
                answers.append(self._malformed(cause, "put a tab between them"))
                continue
            tokens = self.data.encode(parts)
            length = sum(map(len, tokens)) + self.data.special_tokens(columns)
            if length <= limit:
                answers.append(Readable(tokens))
                continue
            size = f"{length:,} tokens, the model reads {limit:,}"
            lost = f"{LOST[self.config.data.cut]} was not read"
            answers.append(self._too_long(size, "shorten the text", tokens, lost))
        return answers

    @torch.inference_mode()
    def _answer(self, model: Any, rows: list[list[np.ndarray]]) -> list[Prediction]:
        """Return the prediction for each text or pair."""
        device = next(model.parameters()).device
        tokens, lengths, segments = (None if part is None else part.to(device) for part in self.data.join(rows))
        return self.predictions(model(tokens, lengths, segments).float().cpu())
