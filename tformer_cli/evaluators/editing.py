"""Scores of translations by an editor: the usual scores of translations, the ratio of lengths, and rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tformer_cli.evaluators.translation import TranslationEvaluator
from tformer_cli.metrics.translation import Tokenization, length_ratio
from tformer_cli.objectives.base import LossSums
from tformer_cli.predictors.base import Prediction


class EditingEvaluator(TranslationEvaluator):
    """The losses of deletions, placeholders and tokens; BLEU, chrF and TER; ratio of lengths, and rounds.

    `length_ratio` is the number of words of the translations divided by the number of words of the references. `rounds`
    is the mean number of rounds per sentence.
    """

    per_token = frozenset({"loss", "delete_loss", "placeholder_loss", "token_loss"})
    lower_is_better = TranslationEvaluator.lower_is_better | per_token | {"rounds"}
    unranked = frozenset({"length_ratio"})  # 1 is the best

    def describe(self) -> list[tuple[str, str]]:
        """Return how the model translates, and a note on how BLEU divides the references, if it needs one."""
        rounds = self.data.config.decode.iterations
        line = f"deletions, placeholders and tokens learnt from an oracle; decoding in up to {rounds} rounds"
        return [("editing", line), *super().describe()]

    def loss_scores(self, sums: LossSums) -> dict[str, float]:
        """Return the loss and its three means."""
        return sums.means()

    def more_scores(
        self, predictions: Sequence[Prediction], references: Sequence[str], words: Tokenization
    ) -> dict[str, float]:
        """Return the ratio of lengths and the mean number of rounds."""
        hypotheses = [prediction.text for prediction in predictions]
        rounds = [prediction.details.get("rounds", 0) for prediction in predictions]
        ratio = length_ratio(hypotheses, references, words.name)
        return {"length_ratio": ratio, "rounds": sum(rounds) / max(1, len(rounds))}

    def columns(self, answer: Prediction) -> dict[str, Any]:
        """Return the number of rounds."""
        return {"rounds": answer.details.get("rounds")}
