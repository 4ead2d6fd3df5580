"""Scores of translations: loss and perplexity by teacher forcing; BLEU, chrF and TER of decoded translations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tformer_cli.config.schema import AttentionKind
from tformer_cli.data.core.view import View
from tformer_cli.data.text.pairs import PairBatch, Pairs
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.draw import Picture
from tformer_cli.evaluators.base import Evaluation, Evaluator, Sample, Scoring, perplexity, spread
from tformer_cli.evaluators.references import ReferenceScores
from tformer_cli.figures.attention import last_layer, mean_map
from tformer_cli.inspectors.pairs import TranslationInspector
from tformer_cli.languages import segments
from tformer_cli.metrics.translation import Tokenization, bleu_by_length
from tformer_cli.objectives.base import LossSums, Objective
from tformer_cli.predictors.base import Prediction, Predictor


class TranslationEvaluator(ReferenceScores, Evaluator[Any, PairBatch]):
    """Loss, perplexity, BLEU, chrF and TER.

    Args:
        objective: next-token prediction on sentence pairs.
        predictor: predictor that decodes the translations.
        inspector: inspector that provides the examples for pictures.
    """

    groups = {"length": ("source",)}
    data: Pairs

    def __init__(
        self, objective: Objective[Any, PairBatch], predictor: Predictor[Any], inspector: TranslationInspector
    ) -> None:
        super().__init__(objective)
        self.predictor, self.inspector = predictor, inspector

    def first_scorer(self, metric: str) -> str | None:
        """Return the signature of BLEU in version 0.1, which used characters only for ja, zh, ko and th."""
        characters = self.data.target_language in ("ja", "zh", "ko", "th")
        name = "char" if characters else "13a"
        return f"nrefs:1|case:mixed|eff:no|tok:{name}|smooth:exp" if metric == "bleu" else None

    def evaluate(self, model: Any, view: View[PairBatch], scoring: Scoring, share: Share = unshared) -> Evaluation:
        """Return loss and perplexity by teacher forcing, and the scores of decoded translations."""
        text, words = self.data.split(view.split), self.tokenization(view.split)
        scores = self.loss_scores(self.summed_loss(model, view, share))
        evaluation = Evaluation(scores, data_sha256=text.hash, notes=list(text.notes))
        if not scoring.decoded:
            return evaluation
        size = min(scoring.limit or len(text.sources), len(text.sources))
        sources, references = text.sources[:size], text.targets[:size]
        predictions = list(self.predictor.predict(model, sources, share))
        hypotheses = [prediction.text for prediction in predictions]
        self.add_scores(evaluation, hypotheses, references, words, scoring)
        evaluation.scores |= self.more_scores(predictions, references, words)
        rows = spread(size, scoring.samples)
        evaluation.samples = [Sample(sources[row], references[row], hypotheses[row]) for row in rows]
        if scoring.thorough:
            lengths = [len(segments(source)) for source in sources]
            table = bleu_by_length(hypotheses, references, lengths, self.data.target_language, tokenizer=words.name)
            evaluation.tables.append(("BLEU by source length", ["words", "sentences", "BLEU"], table))
        if scoring.predictions:
            evaluation.predictions = [
                {"source": source, "reference": reference, "prediction": answer.text, **self.columns(answer)}
                for source, reference, answer in zip(sources, references, predictions, strict=True)
            ]
        return evaluation

    def loss_scores(self, sums: LossSums) -> dict[str, float]:
        """Return the scores of the loss over a split."""
        mean = sums.means()["loss"]
        return {"loss": mean, "perplexity": perplexity(mean)}

    def more_scores(
        self, predictions: Sequence[Prediction], references: Sequence[str], words: Tokenization
    ) -> dict[str, float]:
        """Return scores of decoded translations in addition to those of sacreBLEU."""
        return {}

    def columns(self, answer: Prediction) -> dict[str, Any]:
        """Return the columns of the table of predictions that describe a prediction."""
        hypotheses = answer.details["hypotheses"]
        return {"score": hypotheses[0]["score"] if hypotheses else None}

    def pictures(self, model: Any) -> dict[str, Picture]:
        """Return the cross-attention of the last layer over the first validation pair, averaged over heads.

        A model without cross-attention has no picture.
        """
        tokens = self.data.tokens("validation")
        example = self.inspector.of_pair(model, tokens.source[0], tokens.target[0])
        last = last_layer(model, example, AttentionKind.cross)
        return {} if last is None else {"attention/cross": mean_map(example, *last)}
