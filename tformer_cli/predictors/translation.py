"""Translations of lines: a search over the decoder, in batches of similar lengths.

Shapes: B batch, S source length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tformer_cli.config.schema import DecodePrecision
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.pairs import Pairs
from tformer_cli.decode.alignment import alignments, links
from tformer_cli.decode.search import batch_sentences
from tformer_cli.decode.short_head import Allowed
from tformer_cli.decode.shortlist import FILE, Shortlist, learn_shortlist
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.nn.int8 import Int8Decoder
from tformer_cli.predictors.base import SEARCH, Input, Prediction
from tformer_cli.predictors.generation import generate, text_of
from tformer_cli.predictors.inputs import Answer, Readable, Refusal
from tformer_cli.predictors.text import TextPredictor, searched


class Translator(TextPredictor[Any]):
    """A predictor that translates lines with an encoder-decoder."""

    options = SEARCH | {"max_length_a", "max_length_b", "batch", "workers", "precision", "shortlist", "alignments"}
    translates = True
    data: Pairs
    shortlist: Shortlist | None = None

    def require(self) -> None:
        """Check that `decode.shortlist` names a shortlist; its vocabulary is checked in `prepare`.

        Raises:
            ConfigError: if it does not.
        """
        if self.config.decode.shortlist not in ("", "auto"):
            Shortlist.check(Path(self.config.decode.shortlist).expanduser())

    def prepare(self, run: Path, trained: Callable[[], Any], say: Callable[[str], None] = lambda line: None) -> None:
        """Read the shortlist of `decode.shortlist`, or learn it from the training data and save it in the run folder.

        Raises:
            ConfigError: if a file is not a shortlist, or is for another vocabulary.
            DataError: if the training data cannot be read.
        """
        setting = self.config.decode.shortlist
        if not setting:
            return
        languages = f"{self.data.source_language}-{self.data.target_language}"
        vocabulary, file = f"{self.tokenizer.hash} {languages}", run / FILE
        if setting != "auto":
            self.shortlist = Shortlist.load(Path(setting).expanduser(), vocabulary)
            return
        if file.is_file():
            self.shortlist = Shortlist.load(file, vocabulary, "remove it, and it is learned again")
            return
        tokens, (sources, targets) = trained().tokens("train"), self.data.sizes().vocabularies
        self.shortlist = learned = learn_shortlist(tokens.source, tokens.target, sources, targets, vocabulary, say=say)
        try:
            learned.save(file)
        except OSError as error:
            say(f"the shortlist is not saved: {run}: {error.strerror or error}")
            return
        say(f"the shortlist is saved: {file}")

    def used(self) -> Mapping[str, str]:
        """Return the SHA-256 of the shortlist, if there is one."""
        return {"decode.shortlist": self.shortlist.sha256()} if self.shortlist else {}

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of the source language."""
        return (self.data.source_language,)

    def predict(self, model: Any, inputs: Iterable[Input], share: Share = unshared) -> Iterator[Prediction]:
        """Yield translations in the order of the inputs; an empty line gives an empty line."""
        decode, device = self.config.decode, next(model.parameters()).device
        decoder = model
        if decode.precision is DecodePrecision.int8:
            decoder = Int8Decoder(model, output=self.shortlist is None)

        def translate(job: tuple[list[np.ndarray], list[int]]) -> list[Prediction]:
            return self._translate(model, decoder, *job)

        yield from searched(
            inputs, self.read_inputs, self._divide, translate, decode, device, share, before=self.before
        )

    def _read_valid(self, inputs: list[Input]) -> list[Answer[np.ndarray] | Refusal]:
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

    def _allowed(self, rows: list[np.ndarray]) -> Allowed | None:
        """Return the tokens that the translations of encoded sentences may contain; None: all."""
        if self.shortlist is None:
            return None
        return self.shortlist.allowed(rows, [self.tokenizer.eos_id], joint=self.tokenizer.joint)

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
        memory, allowed = decoder.encode(source, lengths), self._allowed(rows)
        results = generate(decoder, memory, decode, tokenizer, limits, sample_ids, allowed)
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
