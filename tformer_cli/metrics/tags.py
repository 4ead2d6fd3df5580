"""Scores of tags: entities by seqeval (Nakayama 2018), plain tags by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tformer_cli.metrics.labels import library, without_warnings

Scores = tuple[dict[str, float], list[tuple[str, list[str], list[list[str]]]]]
"""Scores from 0 to 100 by name, and tables: a title, a header and rows."""


def tags_scores(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], scheme: str, *, thorough: bool = True
) -> Scores:
    """Compute precision, recall and F1 of entities by seqeval in strict mode, and the accuracy of tags.

    Args:
        targets: tags of each sentence from `TagScheme.canonical`: `O`, or a letter, a hyphen and the type.
        predictions: predicted tags, as many.
        scheme: IO, IOB1, IOB2, IOE1, IOE2, IOBES or BILOU. A sequence that breaks its rules is not an entity.
        thorough: whether to add a table with a row for each type of entity.

    Returns:
        Scores from 0 to 100, and tables.
    """
    schemes, v1 = library("seqeval.scheme", "seqeval"), library("seqeval.metrics.v1", "seqeval")
    rules = getattr(schemes, {"IO": "IOB1", "BILOU": "IOBES"}.get(scheme.upper(), scheme.upper()))
    kinds = sorted({tag[2:] for rows in (targets, predictions) for tags in rows for tag in tags if tag != "O"})
    indices = {kind: index for index, kind in enumerate(kinds)}  # seqeval strips hyphens from the ends of a type

    def numbered(rows: Sequence[Sequence[str]]) -> list[list[str]]:
        return [[tag if tag == "O" else f"{tag[0]}-{indices[tag[2:]]:06}" for tag in tags] for tags in rows]

    truth, predicted = numbered(targets), numbered(predictions)
    entities = {"entities_true": schemes.Entities(truth, rules), "entities_pred": schemes.Entities(predicted, rules)}

    def scored(average: str | None) -> Any:
        return v1.precision_recall_fscore_support(
            truth, predicted, average=average, scheme=rules, zero_division=0, **entities
        )

    words = sum(map(len, targets))
    equal = sum(
        target == prediction
        for target_tags, predicted_tags in zip(targets, predictions, strict=True)
        for target, prediction in zip(target_tags, predicted_tags, strict=True)
    )
    scores = dict(
        zip(("precision", "recall", "f1"), (100 * float(share) for share in scored("micro")[:3]), strict=True)
    )
    scores = {"f1": scores.pop("f1"), **scores, "tag_accuracy": 100 * equal / max(1, words)}
    if not thorough:
        return scores, []
    names = sorted(set().union(*(part.unique_tags for part in entities.values())))
    rows = [
        [kinds[int(name)], *(f"{100 * share:.1f}" for share in shares), str(int(count))]
        for name, *shares, count in zip(names, *scored(None), strict=True)
    ]
    return scores, [("by kind", ["kind", "precision", "recall", "F1", "entities"], rows)]


def plain_tags_scores(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], *, thorough: bool = True
) -> Scores:
    """Compute accuracy and macro-averaged F1 of plain tags by scikit-learn.

    Args:
        targets: tags of each sentence.
        predictions: predicted tags, as many; a tag that does not occur in `targets` is wrong.
        thorough: whether to add a table with a row for each tag.

    Returns:
        Scores from 0 to 100, and tables.
    """
    metrics = library("sklearn.metrics", "scikit-learn")
    names = sorted({tag for tags in targets for tag in tags})
    number = {name: index for index, name in enumerate(names)}
    truth, predicted = (
        np.array([number.get(tag, -1) for tags in rows for tag in tags]) for rows in (targets, predictions)
    )
    with without_warnings():
        parts = metrics.precision_recall_fscore_support(truth, predicted, labels=range(len(names)), zero_division=0)
    scores = {"accuracy": 100 * float((truth == predicted).mean()), "f1_macro": 100 * float(parts[2].mean())}
    if not thorough:
        return scores, []
    rows = [
        [name, *(f"{100 * part[index]:.1f}" for part in parts[:3]), str(int(parts[3][index]))]
        for index, name in enumerate(names)
    ]
    return scores, [("by tag", ["tag", "precision", "recall", "F1", "words"], rows)]
