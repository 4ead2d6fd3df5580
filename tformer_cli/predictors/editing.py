"""Translations by an editor, which starts from an empty sequence or from a user's draft and refines it in rounds.

Shapes: B batch, S source length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.pairs import Pairs
from tformer_cli.decode.refine import LIMIT_RATIO, SHORTEST_LIMIT, refine
from tformer_cli.decode.search import batch_sentences
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.predictors.base import Input, Prediction
from tformer_cli.predictors.inputs import Answer, Readable, Refusal
from tformer_cli.predictors.text import TextPredictor, searched

Row = tuple[np.ndarray, np.ndarray]
"""Tokens of a source and of the draft of its translation, (S,) and (D,) int64."""


class TextEditor(TextPredictor[Any]):
    """A predictor that translates lines by editing; an input is a line, or a pair of a line and a draft."""

    options = frozenset({"max_length", "batch", "workers", "iterations", "insertion_penalty", "deletion_threshold"})
    translates = True
    takes_drafts = True
    data: Pairs

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of the source language."""
        return (self.data.source_language,)

    def predict(self, model: Any, inputs: Iterable[Input], share: Share = unshared) -> Iterator[Prediction]:
        """Yield translations in the order of the inputs; an empty line gives an empty line, whatever its draft."""
        decode, device = self.config.decode, next(model.parameters()).device

        def edit(rows: list[Row]) -> list[Prediction]:
            return self._edit(model, rows)

        yield from searched(inputs, self.read_inputs, self._divide, edit, decode, device, share, before=self.before)

    def _read_valid(self, inputs: list[Input]) -> list[Answer[Row] | Refusal]:
        """Return the tokens of each line and its draft."""
        pairs = [
            (text, "") if isinstance(text, str) else (text[0], text[1] if len(text) > 1 else "") for text in inputs
        ]
        sources = self.tokenizer.encode_batch([source for source, _ in pairs], self.data.source_language)
        drafts = self.tokenizer.encode_batch([draft for _, draft in pairs], self.data.target_language)
        return [self._read(source, draft) for source, draft in zip(sources, drafts, strict=True)]

    def _read(self, source: list[int], draft: list[int]) -> Answer[Row] | Refusal:
        limit = self.data.limit
        row = (np.asarray(source[:limit], dtype=np.int64), np.asarray(draft[:limit], dtype=np.int64))
        if not source:
            note = {"note": "its draft was not read, since the line is empty"} if draft else {}
            return Prediction("", {"rounds": 0, "finished": True} | note)
        sizes, lost = [], []
        if len(source) > limit:
            sizes.append(f"{len(source):,} tokens")
            lost.append("its end was not translated")
        if len(draft) > limit:
            sizes.append(f"its draft has {len(draft):,} tokens")
            lost.append("the end of the draft was not read")
        if sizes:
            size = f"{', '.join(sizes)}, the model reads at most {limit:,}"
            return self._too_long(size, "split it into sentences", row, "; ".join(lost))
        return Readable(row)

    def _divide(self, rows: list[tuple[int, Row]]) -> list[tuple[list[int], list[Row]]]:
        """Return the jobs of numbered lines, grouped by length, longest first."""
        size, values = batch_sentences(self.config.decode), dict(rows)
        order = sorted(values, key=lambda number: (-len(values[number][0]), number))
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        return [(part, [values[number] for number in part]) for part in parts]

    @torch.inference_mode()
    def _edit(self, model: Any, rows: Sequence[Row]) -> list[Prediction]:
        """Translate one batch of encoded sentences."""
        tokenizer, decode = self.tokenizer, self.config.decode
        device = next(model.parameters()).device
        source, lengths = pad([source for source, _ in rows], tokenizer.pad_id, end=tokenizer.eos_id)
        limits = (LIMIT_RATIO * (lengths - 1)).clamp(min=SHORTEST_LIMIT)
        limits = torch.full_like(limits, decode.max_length) if decode.max_length else limits
        results = refine(
            model, model.encode(source.to(device), lengths.to(device)), [draft for _, draft in rows], config=decode,
            tokenizer=tokenizer, max_lengths=limits.clamp(max=self.data.limit),
        )  # fmt: skip
        predictions = []
        for result in results:
            details = {"rounds": result.rounds, "finished": result.finished}
            text = tokenizer.decode(result.tokens, self.data.target_language)
            predictions.append(Prediction(text, details, result.tokens))
        return predictions
