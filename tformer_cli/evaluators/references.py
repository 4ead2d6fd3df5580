"""The shared part of evaluators of generated texts: tokenisation of references, and scores by sacreBLEU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tformer_cli.evaluators.base import Evaluation, Row, Scoring
from tformer_cli.metrics.bootstrap import Statistic
from tformer_cli.metrics.translation import (
    Tokenization,
    tokenization,
    translation_scores,
    translation_statistic,
)


class ReferenceScores:
    """A mixin that scores texts by reference texts; the evaluator's data has `references` and `target_language`."""

    data: Any
    metric = "bleu"
    decodes = True
    lower_is_better = frozenset({"loss", "perplexity", "ter"})
    per_token = frozenset({"loss", "perplexity"})

    def prepare(self) -> None:
        """Check that BLEU can be computed for the target language."""
        self.tokenization("validation")

    def describe(self) -> list[tuple[str, str]]:
        """Return the note on how BLEU divides the references into words, if there is one."""
        words = self.tokenization("validation")
        return [("note", words.note)] if words.note else []

    def tokenization(self, split: str) -> Tokenization:
        """Return how BLEU and TER divide texts into words, which all references decide even if only some are scored."""
        return self._divided(self.data.references(split))

    def scorer(self, split: str) -> str:
        """Return the tokenizer of BLEU."""
        return f"tok:{self.tokenization(split).name}"

    def statistic(self, metric: str, rows: Sequence[Row]) -> Statistic | None:
        """Return a score of generated texts as a function of rows."""
        hypotheses, references = ([row[name] for row in rows] for name in ("prediction", "reference"))
        return translation_statistic(metric, hypotheses, references, self._divided(references))

    def _divided(self, references: Sequence[str]) -> Tokenization:
        return tokenization(self.data.target_language, references, self.data.config.data.bleu_tokenizer.name)

    def add_scores(
        self,
        evaluation: Evaluation,
        hypotheses: Sequence[str],
        references: Sequence[str],
        words: Tokenization,
        scoring: Scoring,
    ) -> None:
        """Add BLEU, chrF, TER and exact match to an evaluation, with their signatures.

        Args:
            evaluation: the evaluation.
            hypotheses: generated texts.
            references: the texts that they are compared with.
            words: result of `tokenization` for the split.
            scoring: extent of the evaluation.
        """
        scores, evaluation.signatures = translation_scores(
            hypotheses, references, self.data.target_language, thorough=scoring.thorough, divided=words
        )
        evaluation.notes += [words.note] if words.note else []
        empty = sum(not text.strip() for text in hypotheses)
        if scoring.thorough and 2 * empty > len(hypotheses):
            evaluation.notes.append(f"{empty:,} of {len(hypotheses):,} outputs are empty: the model has hardly learnt")
        evaluation.scores |= scores
