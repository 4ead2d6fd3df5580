"""Scores of tags: F1 of entities by seqeval, or accuracy by scikit-learn if tags mark no entities.

Shapes: N words of a batch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tformer_cli.data.core.view import View
from tformer_cli.data.text.tag_schemes import TagScheme, find_scheme
from tformer_cli.data.text.tagged import TaggedSentences
from tformer_cli.data.text.tagged_words import TaggedBatch, TaggedWords
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.errors import Library
from tformer_cli.evaluators.base import Evaluation, Evaluator, Sample, Scoring, batch_on_device, spread
from tformer_cli.metrics.tags import plain_tags_scores, tags_scores

Sentence = tuple[int, list[str], list[float]]
"""Row of a sentence, predicted tags of its words within the model's limit, and their probabilities."""


class TaggingEvaluator(Evaluator[Any, TaggedBatch]):
    """The loss, and F1 of entities or accuracy of plain tags."""

    data: TaggedWords

    @property
    def metric(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] - known with the data's scheme
        """The name of the score: f1 for tags that mark entities, accuracy for others."""
        scheme = self.data.scheme
        return "f1" if scheme is None or scheme.has_entities else "accuracy"

    def libraries(self) -> list[Library]:
        """Return the library of the scores."""
        return [Library("seqeval.metrics", "seqeval", "text")]

    def first_scorer(self, metric: str) -> str | None:
        """Return an empty signature for F1, which ignored the scheme in version 0.1."""
        return "" if metric == "f1" else None

    def evaluate(self, model: Any, view: View[TaggedBatch], scoring: Scoring, share: Share = unshared) -> Evaluation:
        """Return the loss and the scores of all tags; words beyond the model's limit count as outside of entities."""
        split, data = self.data.split(view.split), self.data
        scheme = data.scheme or find_scheme(split.tags, data.config.data.scheme, split.origin, data.tags)
        predictions = [[scheme.outside if scheme.has_entities else ""] * len(tags) for tags in split.tags]
        probabilities: list[list[float | None]] = [[None] * len(tags) for tags in split.tags]
        total, count = 0.0, 0
        tagged = partial(self._tagged, model, view)
        for sentences, loss in share(lambda indices: map(tagged, indices), range(view.num_batches)):
            total += loss
            for row, tags, shares in sentences:
                predictions[row][: len(tags)], probabilities[row][: len(tags)] = tags, shares
                count += len(tags)
        evaluation = _scored(split, predictions, scheme, total / max(1, count), scoring)
        for row in spread(len(split), scoring.samples):
            text, truth, predicted = (" ".join(part[row][:40]) for part in (split.words, split.tags, predictions))
            evaluation.samples.append(Sample(text, truth, predicted))
        if scoring.predictions:
            columns = (data.config.data.words, "reference", "prediction", "probabilities")
            rows = zip(split.words, split.tags, predictions, probabilities, strict=True)
            evaluation.predictions = [dict(zip(columns, row, strict=True)) for row in rows]
        return evaluation

    def _tagged(self, model: Any, view: View[TaggedBatch], index: int) -> tuple[list[Sentence], float]:
        """Return the predicted sentences of a batch, and their loss, summed over words."""
        batch = batch_on_device(view, model, index)
        scores = self.objective.outputs(model, batch)
        loss = self.objective.loss(model, scores, batch)
        tags = iter([self.data.tags[number] for number in scores.argmax(-1).tolist()])
        shares = iter(scores.softmax(-1).amax(-1).tolist())
        sentences = [
            (row, [next(tags) for _ in range(words)], [round(next(shares), 6) for _ in range(words)])
            for row, words in zip(batch.sample_ids.tolist(), batch.counts.tolist(), strict=True)
        ]
        return sentences, float(loss.total)


def _scored(
    split: TaggedSentences, predictions: list[list[str]], scheme: TagScheme, loss: float, scoring: Scoring
) -> Evaluation:
    """Return the scores of the predicted tags of a split, and a note on tags that break the rules of the scheme."""
    signatures = {}
    if scheme.has_entities:
        name = scheme.scheme.name
        targets, answers = ([scheme.canonical(row) for row in rows] for rows in (split.tags, predictions))
        scores, tables = tags_scores(targets, answers, name, thorough=scoring.thorough)
        signatures = {"f1": f"seqeval, strict, {name.upper()}"}
    else:
        scores, tables = plain_tags_scores(split.tags, predictions, thorough=scoring.thorough)
    evaluation = Evaluation({"loss": loss, **scores}, signatures, tables=tables)
    evaluation.data_sha256, evaluation.notes = split.hash, list(split.notes)
    if outside := scheme.describe_misplaced(split.tags):
        rules = f"by the rules of {scheme.scheme.name.upper()}, the scheme of the run's training data"
        evaluation.notes.append(f"{split.origin}: {outside} {rules}")
    return evaluation
