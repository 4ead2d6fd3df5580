"""Translations of lines: a search over the decoder, in batches of similar lengths.

Shapes: B batch, S source length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from tformer_cli.config.schema import DecodePrecision
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.pairs import Pairs
from tformer_cli.decode.alignment import alignments, links
from tformer_cli.decode.search import batch_sentences
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.nn.int8 import Int8Decoder
from tformer_cli.predictors.base import SEARCH, Input, Prediction
from tformer_cli.predictors.generation import generate, text_of
from tformer_cli.predictors.inputs import Answer, Readable, Refusal
from tformer_cli.predictors.text import TextPredictor, searched


class Translator(TextPredictor[Any]):
    """A predictor that translates lines with an encoder-decoder."""

    options = SEARCH | {"max_length_a", "max_length_b", "batch", "workers", "precision", "alignments"}
    translates = True
    data: Pairs

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of the source language."""
        return (self.data.source_language,)

    def predict(self, model: Any, inputs: Iterable[Input], share: Share = unshared) -> Iterator[Prediction]:
        """Yield translations in the order of the inputs; an empty line gives an empty line."""
        decode, device = self.config.decode, next(model.parameters()).device
        decoder = Int8Decoder(model) if decode.precision is DecodePrecision.int8 else model

        def translate(job: tuple[list[np.ndarray], list[int]]) -> list[Prediction]:
            return self._translate(model, decoder, *job)

        yield from searched(
            inputs, self._read_inputs, self._divide, translate, decode, device, share, before=self.before
        )

    def _read_inputs(self, inputs: list[Input]) -> list[Answer[np.ndarray] | Refusal]:
        """Return the tokens of each line."""
        limit = self.data.limit
        texts = [text if isinstance(text, str) else text[0] for text in inputs]
        answers: list[Answer[np.ndarray] | Refusal] = []
        for ids in self.tokenizer.encode_batch(texts, self.data.source_language):
            row = np.asarray(ids, dtype=np.int64)
            if not len(row):
                answers.append(Prediction("", {"hypotheses": []}))
            elif len(row) <= limit:
                answers.append(Readable(row))
            else:
                size = f"{len(row):,} tokens, the model reads at most {limit:,}"
                lost = "its end was not translated"
                answers.append(self._too_long(size, "split it into sentences", row[:limit], lost))
        return answers

    def _divide(self, rows: list[tuple[int, np.ndarray]]) -> list[tuple[list[int], tuple[list[np.ndarray], list[int]]]]:
        """Return the jobs of numbered lines, grouped by length, longest first."""
        size, ids = batch_sentences(self.config.decode), dict(rows)
        order = sorted(ids, key=lambda number: (-len(ids[number]), number))
        parts = np.array_split(np.asarray(order, dtype=np.int64), max(1, -(-len(order) // size)))
        parts = [part.tolist() for part in parts if len(part)]
        return [(part, ([ids[number] for number in part], part)) for part in parts]

    @torch.inference_mode()
    def _translate(self, model: Any, decoder: Any, rows: list[np.ndarray], sample_ids: list[int]) -> list[Prediction]:
        """Translate one batch of encoded sentences."""
        decode, tokenizer = self.config.decode, self.tokenizer
        device = next(model.parameters()).device
        source, lengths = pad(rows, tokenizer.pad_id, end=tokenizer.eos_id)
        limits = (lengths * decode.max_length_a + decode.max_length_b).long()
        limits = torch.full_like(limits, decode.max_length) if decode.max_length else limits
        limits = limits.clamp(max=self.data.limit)
        source, lengths = source.to(device), lengths.to(device)
        results = generate(decoder, decoder.encode(source, lengths), decode, tokenizer, limits, sample_ids)
        predictions = [text_of(hypotheses, tokenizer, self.data.target_language) for hypotheses in results]
        if decode.alignments:
            best = [hypotheses[0].tokens for hypotheses in results]
            soft = alignments(model, source, lengths, best, bos_id=tokenizer.bos_id)
            for prediction, matrix, row, tokens in zip(predictions, soft, rows, best, strict=True):
                prediction.details |= {
                    "alignment": links(matrix),
                    "source_pieces": tokenizer.pieces([*row.tolist(), tokenizer.eos_id], self.data.source_language),
                    "target_pieces": tokenizer.pieces([*tokens, tokenizer.eos_id], self.data.target_language),
                }
        return predictions
