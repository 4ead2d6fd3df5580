"""Scores of a masked language model: loss, perplexity and accuracy at masked tokens; next-sentence prediction."""

from __future__ import annotations

import torch

from tformer_cli.data.core.view import View
from tformer_cli.data.text.masked import MaskedBatch, MaskedText
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.evaluators.base import Evaluation, Evaluator, Sample, Scoring, batch_on_device, perplexity
from tformer_cli.models.token_heads import MaskedLanguageModel


class MaskedTokensEvaluator(Evaluator[MaskedLanguageModel, MaskedBatch]):
    """Loss, perplexity and accuracy at masked tokens; for sentence pairs, also next-sentence loss and accuracy."""

    lower_is_better = frozenset({"loss", "perplexity", "mlm_loss", "nsp_loss"})
    per_token = frozenset({"loss", "mlm_loss", "perplexity", "mlm_accuracy"})
    per_objective = frozenset({*lower_is_better, "mlm_accuracy", "nsp_accuracy"})
    scores_examples = False
    data: MaskedText

    def evaluate(
        self, model: MaskedLanguageModel, view: View[MaskedBatch], scoring: Scoring, share: Share = unshared
    ) -> Evaluation:
        """Return the scores over a whole split, and the predictions for some sequences."""
        total = self.summed_loss(model, view, share)
        means, corpus = total.means(), self.data.split(view.split)
        scores = {name: means[name] for name in ("loss", "mlm_loss", "nsp_loss") if name in means}
        scores["perplexity"] = perplexity(scores["mlm_loss"])
        scores["mlm_accuracy"] = 100 * total.sums["mlm_correct"] / total.count
        if "nsp_correct" in total.sums:
            scores["nsp_accuracy"] = 100 * total.sums["nsp_correct"] / len(self.data.pairs(view.split))
        evaluation = Evaluation(scores, data_sha256=corpus.hash, notes=list(corpus.notes))
        if scoring.decoded and scoring.samples:
            evaluation.samples = self._samples(model, view, scoring.samples)
        return evaluation

    @torch.no_grad()
    def _samples(self, model: MaskedLanguageModel, view: View[MaskedBatch], count: int) -> list[Sample]:
        """Return some masked sequences with the original and the predicted tokens."""
        batch, tokenizer = batch_on_device(view, model, 0), self.data.tokenizer
        masked, _ = self.objective.outputs(model, batch)
        targets, predicted = batch.targets.tolist(), model.logits(masked).argmax(-1).tolist()
        samples = []
        for row in range(min(count, len(batch.lengths))):
            numbers = (batch.rows == row).nonzero()[:, 0].tolist()
            text = tokenizer.decode(batch.tokens[row, : int(batch.lengths[row])].tolist())
            pieces = [" ".join(tokenizer.pieces([ids[number] for number in numbers])) for ids in (targets, predicted)]
            samples.append(Sample(text, *pieces))
        return samples
