"""Translation: sentence pairs in, an encoder-decoder trained by teacher forcing, sacreBLEU out.

Shapes: B batch, S source length, T target length, D model width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import DecodePrecision, TranslationExperiment
from tformer_cli.data.core.batching import ByEpoch
from tformer_cli.data.text.encoded import ParallelTokens, pad, sample_parallel, tokenize_parallel
from tformer_cli.data.text.parallel import ParallelSplit, find_splits, read_parallel
from tformer_cli.decode.alignment import alignments, links
from tformer_cli.decode.search import Hypothesis, batch_sentences, num_hypotheses, search
from tformer_cli.errors import DataError
from tformer_cli.metrics.translation import Tokenization, bleu_by_length, tokenization, translation_scores
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.nn.attention import attention_weights
from tformer_cli.nn.int8 import Int8Decoder
from tformer_cli.tasks.base import (
    Batch,
    Evaluation,
    HeatMap,
    Input,
    Loss,
    Picture,
    Prediction,
    Sample,
    Scoring,
    summed_loss,
)
from tformer_cli.tasks.inputs import SEARCH, Answer, Readable, Refusal, unused_by_search
from tformer_cli.tasks.separate_texts import SeparateTexts
from tformer_cli.tasks.splits import spread
from tformer_cli.tasks.text import searched


@dataclass
class TranslationBatch(Batch):
    """Sentence pairs.

    Attributes:
        source: tokens and </s>, (B, S), padded at the end; int64.
        source_lengths: (B,), int64.
        target_inputs: <s> and tokens, (B, T), padded at the end; int64.
        targets: tokens and </s>, (B, T), padded at the end; int64.
        target_lengths: (B,), int64.
    """

    source: Tensor
    source_lengths: Tensor
    target_inputs: Tensor
    targets: Tensor
    target_lengths: Tensor

    def sizes(self) -> tuple[int, int]:
        """Real and padded tokens, both sides."""
        real = int(self.source_lengths.sum()) + int(self.target_lengths.sum())
        return real, self.source.numel() + self.targets.numel()


class Translation(SeparateTexts[ParallelSplit, Seq2Seq, TranslationBatch]):
    """The adapter between parallel text and the encoder-decoder."""

    use = "tformer translate {run} < FILE"
    metric = "bleu"
    lower_is_better = frozenset({"loss", "perplexity", "ter"})
    usual_length = 24
    options = SEARCH | {"max_length_a", "max_length_b", "batch", "workers", "precision", "alignments"}
    translates = True
    config: TranslationExperiment

    def __init__(self, config: TranslationExperiment) -> None:
        super().__init__(config)
        self.source_language, self.target_language = config.data.source_language, config.data.target_language
        self._arrays: dict[str, ParallelTokens] = {}
        self._sampled = ByEpoch(self._sample)

    # --- data ---

    def prepare(self, run: Path) -> None:
        """Read training and validation pairs, train or load the tokenizer, and check that BLEU can be computed."""
        super().prepare(run)
        self._tokenization("validation")

    def _find_split(self, split: str) -> bool:
        return split in find_splits(self.config.data)

    def _read(self, split: str) -> dict[str, ParallelSplit]:
        splits = read_parallel(self.config.data, split, seed=self.config.seed, skip=self._skips)
        if split == "validation" and not len(splits):
            raise DataError(f"{splits.origin}: no validation sentences", "give a split with data.validation=...")
        return {split: splits}

    def _training_text(self, train: ParallelSplit) -> dict[str, Iterable[str]]:
        return {self.source_language: train.sources, self.target_language: train.targets}

    def _tokens(self, split: str) -> ParallelTokens:
        if split not in self._arrays:
            text, limit = self._split(split), self.config.model.max_length - 1  # room for </s>, or <s>
            training = split == "train"
            tokens = tokenize_parallel(text, self.tokenizer, self.config.data, training=training, max_length=limit)
            if not training:
                self._check_lengths(text, tokens, limit)
            self._arrays[split] = tokens
        return self._arrays[split]

    def _check_lengths(self, text: ParallelSplit, tokens: ParallelTokens, limit: int) -> None:
        """Nothing is left out of what is scored: a sentence the model cannot read is an error."""
        too_long = np.flatnonzero(tokens.lengths.max(axis=1) > limit)
        if len(too_long):
            row = int(too_long[0])
            cause = f"{text.origin}: pair {row + 1} has {tokens.lengths[row].max()} tokens, the model takes {limit}"
            raise DataError(f"{cause} ({len(too_long)} such pairs)", "raise model.max_length, or split the sentences")

    def _lengths(self, split: str) -> np.ndarray | Callable[[int], np.ndarray]:
        return self._sampled_lengths if self._is_sampled(split) else self._tokens(split).lengths + 1  # with </s>

    def _sampled_lengths(self, epoch: int) -> np.ndarray:
        return self._sampled[epoch].lengths + 1  # with </s>

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> TranslationBatch:
        """A batch of the given rows; subword-regularised in training if the recipe says so."""
        tokens = self._sampled[epoch] if self._is_sampled(split) else self._tokens(split)
        ids = np.asarray(tokens.sample_ids[rows], dtype=np.int64)
        sources, targets = ([side[row] for row in rows] for side in (tokens.source, tokens.target))
        return self._collate(sources, targets, torch.from_numpy(ids))

    def _is_sampled(self, split: str) -> bool:
        return self._is_changing(split) and self.config.tokenizer.sampling > 0

    def _sample(self, epoch: int) -> ParallelTokens:
        """The training pairs as they are segmented in an epoch."""
        return sample_parallel(
            self._split("train"), self._tokens("train"), self.tokenizer, self.config.data,
            strength=self.config.tokenizer.sampling, seed=self.config.seed, epoch=epoch,
            max_length=self.config.model.max_length - 1,
        )  # fmt: skip

    def _collate(self, sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], ids: Tensor) -> TranslationBatch:
        tokenizer = self.tokenizer
        source, source_lengths = pad(sources, tokenizer.pad_id, end=tokenizer.eos_id)
        outputs, target_lengths = pad(targets, tokenizer.pad_id, end=tokenizer.eos_id)
        inputs, _ = pad(targets, tokenizer.pad_id, begin=tokenizer.bos_id)
        return TranslationBatch(ids, source, source_lengths, inputs, outputs, target_lengths)

    def _describe_data(self) -> list[tuple[str, str]]:
        train, validation = self._tokens("train"), self._tokens("validation")
        languages = f"{self.source_language} to {self.target_language}"
        data = f"{languages}, {len(train):,} pairs to train, {len(validation):,} to validate"
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in train.dropped.items() if count)
        note = (f"; left out: {dropped}" if dropped else "") + (f"; {train.note}" if train.note else "")
        words = self._tokenization("validation")
        return [("data", data + note), *([("note", words.note)] if words.note else [])]

    def _tokenization(self, split: str) -> Tokenization:
        """Return how BLEU and TER divide all references of a split, even if only a part is scored."""
        return tokenization(self.target_language, self._split(split).targets, self.config.data.bleu_tokenizer.name)

    # --- model and loss ---

    def model(self) -> Seq2Seq:
        """A new encoder-decoder for this vocabulary."""
        source, target = map(self.tokenizer.vocab_size_of, (self.source_language, self.target_language))
        return Seq2Seq(self.config.model, source, target)

    def loss(self, model: Seq2Seq, batch: TranslationBatch) -> Loss:
        """Label-smoothed cross-entropy of the next target token, over real tokens only."""
        hidden = model(batch.source, batch.source_lengths, batch.target_inputs)
        return self._next_token_loss(model, hidden, batch.targets, batch.target_lengths)

    # --- evaluation and use ---

    def first_scorer(self, metric: str) -> str | None:
        """Return the signature of version 0.1's scorer: it knew four languages without spaces, by their codes."""
        characters = self.target_language in ("ja", "zh", "ko", "th")
        name = "char" if characters else "13a"
        return f"nrefs:1|case:mixed|eff:no|tok:{name}|smooth:exp" if metric == "bleu" else None

    def evaluate(self, model: Seq2Seq, split: str, scoring: Scoring) -> Evaluation:
        """Loss and perplexity by teacher forcing; BLEU and the like of what search finds."""
        text, words = self._split(split), self._tokenization(split)
        sums, count = summed_loss(self, model, split)
        mean = sums["loss"] / count
        scores = {"loss": mean, "perplexity": math.exp(min(mean, 700))}
        evaluation = Evaluation(scores, data_sha256=text.hash, notes=list(text.notes))
        if not scoring.decoded:
            return evaluation
        size = min(scoring.limit or len(text.sources), len(text.sources))
        predictions = list(self.predict(model, text.sources[:size]))
        hypotheses = [prediction.text for prediction in predictions]
        references = text.targets[:size]
        more, evaluation.signatures = translation_scores(
            hypotheses, references, self.target_language, thorough=scoring.thorough, divided=words
        )
        evaluation.notes += [words.note] if words.note else []
        evaluation.scores |= more
        evaluation.samples = [
            Sample(text.sources[i], references[i], hypotheses[i]) for i in spread(size, scoring.samples)
        ]
        if scoring.thorough:
            lengths = [len(ids) for ids in self.tokenizer.encode_batch(text.sources[:size], self.source_language)]
            rows = bleu_by_length(hypotheses, references, lengths, self.target_language, tokenizer=words.name)
            evaluation.tables.append(("BLEU by source length", ["tokens", "sentences", "BLEU"], rows))
        if scoring.predictions:
            for source, reference, answer in zip(text.sources, references, predictions, strict=False):
                score = answer.details["hypotheses"][0]["score"] if answer.details["hypotheses"] else None
                row = {"source": source, "reference": reference, "prediction": answer.text, "score": score}
                evaluation.predictions.append(row)
        return evaluation

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of the source language."""
        return (self.source_language,)

    def unused(self, name: str) -> str:
        """Return why a setting has no effect: search does not sample, and sampling has no beam."""
        return unused_by_search(self.config.decode, name)

    def predict(self, model: Seq2Seq, inputs: Iterable[Input]) -> Iterator[Prediction]:
        """Translations in the order of the inputs; an empty line gives an empty line."""
        decode, device = self.config.decode, next(model.parameters()).device
        decoder = Int8Decoder(model) if decode.precision is DecodePrecision.int8 else model

        def translate(job: tuple[list[np.ndarray], list[int]]) -> list[Prediction]:
            return self._translate(model, decoder, *job)

        yield from searched(inputs, self._read_inputs, self._divide, translate, decode, device)

    def _read_inputs(self, given: list[Input]) -> list[Answer[np.ndarray] | Refusal]:
        """Return the tokens of each line."""
        limit = self.config.model.max_length - 1
        texts = [text if isinstance(text, str) else text[0] for text in given]
        answers: list[Answer[np.ndarray] | Refusal] = []
        for ids in self.tokenizer.encode_batch(texts, self.source_language):
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
    def _translate(
        self, model: Seq2Seq, decoder: Seq2Seq | Int8Decoder, rows: list[np.ndarray], sample_ids: list[int]
    ) -> list[Prediction]:
        """Translate one batch of encoded sentences."""
        decode, tokenizer, limit = self.config.decode, self.tokenizer, self.config.model.max_length - 1
        device = next(model.parameters()).device
        source, lengths = pad(rows, tokenizer.pad_id, end=tokenizer.eos_id)
        longest = (lengths * decode.max_length_a + decode.max_length_b).long()
        longest = torch.full_like(longest, decode.max_length) if decode.max_length else longest
        longest = longest.clamp(max=limit)
        source, lengths = source.to(device), lengths.to(device)
        state = decoder.start(decoder.encode(source, lengths), num_hypotheses(decode), int(longest.max()))
        found = search(
            decoder, state, config=decode, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id,
            forbidden=(tokenizer.pad_id, tokenizer.bos_id), max_lengths=longest, sample_ids=sample_ids,
        )  # fmt: skip
        predictions = [self._prediction(hypotheses) for hypotheses in found]
        if decode.alignments:
            best = [hypotheses[0].tokens for hypotheses in found]
            soft = alignments(model, source, lengths, best, bos_id=tokenizer.bos_id)
            for prediction, matrix, row, tokens in zip(predictions, soft, rows, best, strict=True):
                prediction.details |= {
                    "alignment": links(matrix),
                    "source_pieces": tokenizer.pieces([*row.tolist(), tokenizer.eos_id], self.source_language),
                    "target_pieces": tokenizer.pieces([*tokens, tokenizer.eos_id], self.target_language),
                }
        return predictions

    def _prediction(self, hypotheses: list[Hypothesis]) -> Prediction:
        texts = [
            {"text": self.tokenizer.decode(found.tokens, self.target_language), "score": found.score}
            for found in hypotheses
        ]
        return Prediction(texts[0]["text"], {"hypotheses": texts})

    def pictures(self, model: Seq2Seq) -> dict[str, Picture]:
        """Cross-attention of the last block over the first validation pair, averaged over heads."""
        tokens, tokenizer = self._tokens("validation"), self.tokenizer
        batch = self._collate([tokens.source[0]], [tokens.target[0]], torch.zeros(1, dtype=torch.int64))
        batch = batch.to(next(model.parameters()).device)
        weights = attention_weights(model, lambda: model(batch.source, batch.source_lengths, batch.target_inputs))
        last = [name for name in weights if name.endswith(".cross")][-1]
        columns = tokenizer.pieces(batch.source[0].tolist(), self.source_language)
        rows = tokenizer.pieces(batch.targets[0].tolist(), self.target_language)
        mean = weights[last][0].float().mean(0).cpu().numpy()
        title = "attention of the last block, mean over heads"
        return {"attention/cross": HeatMap(mean, rows, columns, title, "written", "read")}
