"""Scores of a causal language model: loss, perplexity and bits per byte over a whole split."""

from __future__ import annotations

import math
from typing import Any

from tformer_cli.data.core.view import View
from tformer_cli.data.text.corpus import Corpus
from tformer_cli.data.text.packed import CausalBatch, PackedText
from tformer_cli.decode.continuation import Continuation
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.evaluators.base import Evaluation, Evaluator, Sample, Scoring, perplexity, spread
from tformer_cli.objectives.base import Objective
from tformer_cli.predictors.language_model import LanguageModelPredictor

PROMPT_CHARACTERS, SAMPLE_TOKENS = 80, 120
"""Number of characters of a document that form the prompt of a sample, at most half of the context; and maximum number
of generated tokens."""


class LanguageModelEvaluator(Evaluator[Any, CausalBatch]):
    """Loss, perplexity and bits per byte; each block is scored without the context of previous blocks.

    Args:
        objective: next-token prediction on packed text.
        predictor: predictor that continues the beginnings of documents, as samples.
    """

    lower_is_better = frozenset({"loss", "perplexity", "bits_per_byte"})
    per_token = frozenset({"loss", "perplexity"})
    scores_examples = False
    data: PackedText

    def __init__(self, objective: Objective[Any, CausalBatch], predictor: LanguageModelPredictor) -> None:
        super().__init__(objective)
        self.predictor = predictor

    def evaluate(self, model: Any, view: View[CausalBatch], scoring: Scoring, share: Share = unshared) -> Evaluation:
        """Return loss, perplexity and bits per byte, and continuations of some documents."""
        total, corpus = self.summed_loss(model, view, share), self.data.split(view.split)
        mean = total.means()["loss"]
        scores = {"loss": mean, "perplexity": perplexity(mean)}
        scores["bits_per_byte"] = total.sums["loss"] / math.log(2) / corpus.bytes
        evaluation = Evaluation(scores, data_sha256=corpus.hash, notes=list(corpus.notes))
        if scoring.decoded and scoring.samples:
            evaluation.samples = self._samples(model, corpus, scoring.samples)
        return evaluation

    def _samples(self, model: Any, corpus: Corpus, count: int) -> list[Sample]:
        """Return the beginnings of some documents with their real and their generated continuations."""
        tokenizer, context = self.data.tokenizer, self.data.config.model.max_length
        samples = []
        for number in spread(len(corpus), count):
            text = corpus.documents[number][: 4 * PROMPT_CHARACTERS]
            ids = tokenizer.encode(text)
            size = len(tokenizer.encode(text[:PROMPT_CHARACTERS]))
            prompt = ids[: min(size, context // 2, context - 2)]
            reference = Continuation(tokenizer, prompt).text(ids[len(prompt) :])
            (answer,) = self.predictor.generate(
                model, [[tokenizer.eos_id, *prompt]], [number], max_tokens=SAMPLE_TOKENS
            )
            samples.append(Sample(tokenizer.decode(prompt), reference[:PROMPT_CHARACTERS], answer.text))
        return samples
