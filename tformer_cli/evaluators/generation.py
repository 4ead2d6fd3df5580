"""Scores of texts that are generated for images or recordings: the loss, and scores of decoded texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tformer_cli.data.core.media import shown
from tformer_cli.data.core.view import View
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.evaluators.base import Evaluation, Evaluator, Sample, Scoring, batch_on_device, perplexity, spread
from tformer_cli.evaluators.references import ReferenceScores
from tformer_cli.objectives.base import LossSums
from tformer_cli.objectives.next_token import TeacherForcing
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.generation import TextGenerator


class TextGenerationEvaluator(ReferenceScores, Evaluator[Any, Any]):
    """Loss, perplexity, BLEU, chrF, TER and exact match of one text for each file.

    The data has `references`, the `target_language`, and splits with `names`.

    Args:
        objective: teacher forcing.
        predictor: generates the texts that are scored.
    """

    groups = {"length": ("reference",)}
    objective: TeacherForcing

    def __init__(self, objective: TeacherForcing, predictor: TextGenerator) -> None:
        super().__init__(objective)
        self.predictor = predictor

    def evaluate(self, model: Any, view: View[Any], scoring: Scoring, share: Share = unshared) -> Evaluation:
        """Return loss and perplexity by teacher forcing, and the scores of decoded texts.

        Each file is encoded once, and a recording longer than `data.max_seconds` again in pieces.
        """
        split, words = self.data.split(view.split), self.tokenization(view.split)
        references, names = self.data.references(view.split), [shown(name) for name in split.names]
        size = min(scoring.limit or len(references), len(references)) if scoring.decoded else 0
        sums, texts = self._loss_and_texts(model, view, size, share)
        loss = sums.means()["loss"]
        scores = {"loss": loss, "perplexity": perplexity(loss)}
        evaluation = Evaluation(scores, data_sha256=split.hash, notes=list(split.notes))
        if not scoring.decoded:
            return evaluation
        predictions = [texts[row] for row in range(size)]
        hypotheses = [prediction.text for prediction in predictions]
        self.add_scores(evaluation, hypotheses, references[:size], words, scoring)
        evaluation.samples = [
            Sample(names[row], references[row], hypotheses[row]) for row in spread(size, scoring.samples)
        ]
        if scoring.predictions:
            evaluation.predictions = [
                {"file": names[row], "reference": references[row], "prediction": hypotheses[row],
                 "score": predictions[row].details["hypotheses"][0].get("score")}
                for row in range(size)
            ]  # fmt: skip
        return evaluation

    def _loss_and_texts(
        self, model: Any, view: View[Any], size: int, share: Share
    ) -> tuple[LossSums, dict[int, Prediction]]:
        """Return the loss over all batches, and the texts for at least the first `size` files by row."""

        def job(index: int) -> tuple[LossSums, dict[int, Prediction]]:
            batch = batch_on_device(view, model, index)
            outputs = self.objective.outputs(model, batch)
            sums = LossSums.of(self.objective.loss(model, outputs, batch))
            rows: Sequence[int] = batch.sample_ids.tolist()
            if min(rows) >= size:
                return sums, {}
            return sums, dict(zip(rows, self.predictor.encoded_texts(model, batch, outputs.memory), strict=True))

        total, texts = LossSums(), dict[int, Prediction]()
        for sums, part in share(lambda indices: map(job, indices), range(view.num_batches)):
            total.add(sums)
            texts |= part
        return total, texts
