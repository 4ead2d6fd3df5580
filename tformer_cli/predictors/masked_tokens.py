"""Predictions for the mask tokens in lines of text."""

from __future__ import annotations

import numpy as np
import torch

from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.masked import MaskedText
from tformer_cli.models.token_heads import MaskedLanguageModel
from tformer_cli.predictors.base import Input, Prediction
from tformer_cli.predictors.inputs import Answer, Readable, Refusal
from tformer_cli.predictors.text import TextPredictor
from tformer_cli.tokenizers.huggingface import MASK

FILLINGS = 5
"""Minimum number of predictions for a mask token."""
BERT_MASK = "[MASK]"
"""The mask token in BERT's vocabulary."""


class MaskedTokensPredictor(TextPredictor[MaskedLanguageModel]):
    """A predictor that replaces each mask token in a line by the most probable token."""

    options = frozenset({"batch", "top"})
    top = FILLINGS
    data: MaskedText

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of texts."""
        return (self.config.data.column,)

    def _read_valid(self, inputs: list[Input]) -> list[Answer[tuple[str, np.ndarray]] | Refusal]:
        """Return each line with its tokens; BERT's `[MASK]` is a mask token too."""
        tokenizer, limit = self.tokenizer, self.config.model.max_length - 2  # [CLS] and [SEP]
        answers: list[Answer[tuple[str, np.ndarray]] | Refusal] = []
        for line in inputs:
            text = line if isinstance(line, str) else line[0]
            ids = tokenizer.encode(text.replace(BERT_MASK, MASK))
            row = np.array([tokenizer.bos_id, *ids[:limit], tokenizer.eos_id])
            if len(ids) > limit:
                size = f"{len(ids):,} tokens, the model reads {limit:,}"
                answers.append(self._too_long(size, "shorten the line", (text, row), "its end was not read"))
            elif self.data.mask_id in ids or not text.strip():
                answers.append(Readable((text, row)))
            else:
                answers.append(Readable((text, row), f"no {MASK} in it, so that nothing was filled in"))
        return answers

    @torch.inference_mode()
    def _answer(self, model: MaskedLanguageModel, rows: list[tuple[str, np.ndarray]]) -> list[Prediction]:
        """Return each line with its mask tokens replaced, and the most probable tokens with their probabilities."""
        tokenizer, mask_id, device = self.tokenizer, self.data.mask_id, next(model.parameters()).device
        tokens, lengths = (part.to(device) for part in pad([ids for _, ids in rows], tokenizer.pad_id))
        indices = (tokens == mask_id).flatten().nonzero()[:, 0]
        masked, _ = model(tokens, lengths, None, indices)
        count = min(max(FILLINGS, self.top), tokenizer.vocab_size)
        probabilities, best = model.logits(masked).float().softmax(-1).topk(count, dim=-1)
        predictions, width = [], tokens.shape[1]
        for row, (text, _) in enumerate(rows):
            numbers = (indices // width == row).nonzero()[:, 0].tolist()
            fillings = [
                [
                    {"text": tokenizer.decode([token]).strip(), "probability": round(probability, 6)}
                    for token, probability in zip(best[number].tolist(), probabilities[number].tolist(), strict=True)
                ]
                for number in numbers
            ]
            filled = tokens[row, 1 : int(lengths[row]) - 1].clone()
            filled[filled == mask_id] = best[numbers, 0]
            text = tokenizer.decode(filled.tolist()) if numbers else text
            predictions.append(Prediction(text, {"fillings": fillings}))
        return predictions
