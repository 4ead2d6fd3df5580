"""Scores of image models: labels of images, and colours of masked patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import AttentionKind
from tformer_cli.data.core.media import shown
from tformer_cli.data.core.view import View
from tformer_cli.data.image.dataset import LabelledImageBatch, LabelledImages, UnlabelledImages
from tformer_cli.data.image.images import Images, duplicates
from tformer_cli.data.image.inputs import ImageBatch
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.draw import Gallery, HeatMap, Picture
from tformer_cli.errors import DataError, Library
from tformer_cli.evaluators.base import Evaluation, Evaluator, Row, Sample, Scoring, batch_on_device, perplexity, spread
from tformer_cli.figures.attention import class_attention, last_weights
from tformer_cli.inspectors.images import patches_of
from tformer_cli.metrics.bootstrap import Statistic
from tformer_cli.metrics.labels import confusion, described_labels, labels_scores, labels_statistic
from tformer_cli.models.patch_head import MaskedPatchModel
from tformer_cli.objectives.base import Objective
from tformer_cli.objectives.masked_patches import MaskedPatches
from tformer_cli.predictors.images import ImageClassificationPredictor

TOP = 5
"""Number k of top-k accuracy (Deng et al. 2009), which is computed if there are more labels."""
MOST_CONFUSED = 40
"""Maximum number of labels in the confusion matrix; if there are more, it shows those with the lowest recall."""
SHOWN, SHOWN_EPOCHS = 24, 4
"""Number of predictions in a figure, and of epochs in the figure of augmented images."""
SHOWN_MASKED = 6
"""Number of images in the figure of masked patches."""


@dataclass
class _Scored:
    """The results of some images, in order.

    Attributes:
        rows: rows of the split, (B,), int64.
        predictions: most probable labels, (B,), int64.
        ranks: number of labels with higher scores than the correct one, (B,), int64.
        probabilities: probabilities of the most probable labels, (B, 1), float32, or of all labels, (B, labels).
        loss: the summed loss.
    """

    rows: np.ndarray
    predictions: np.ndarray
    ranks: np.ndarray
    probabilities: np.ndarray
    loss: float


class ImageClassificationEvaluator(Evaluator[Any, LabelledImageBatch]):
    """Loss, accuracy, F1 and Matthews correlation, and accuracy among the five most probable labels.

    Args:
        objective: classification of images.
        predictor: predicts the labels in figures.
    """

    metric = "accuracy"
    groups = {"label": ("reference",)}
    data: LabelledImages

    def __init__(self, objective: Objective[Any, LabelledImageBatch], predictor: ImageClassificationPredictor) -> None:
        super().__init__(objective)
        self.predictor = predictor

    def libraries(self) -> list[Library]:
        """Return the library of the scores."""
        return [Library("sklearn.metrics", "scikit-learn", "images")]

    def evaluate(
        self, model: Any, view: View[LabelledImageBatch], scoring: Scoring, share: Share = unshared
    ) -> Evaluation:
        """Return the scores of labels, and a confusion matrix."""
        split = view.split
        images, targets = self.data.split(split), self.data.targets(split)
        names = [shown(name) for name in self.data.labels.names]
        predictions, ranks = np.zeros(len(images), np.int64), np.zeros(len(images), np.int64)
        probabilities = np.zeros((len(images), len(names) if scoring.predictions else 1), np.float32)

        def scored(index: int) -> _Scored:
            return self._scored(model, batch_on_device(view, model, index), all_probabilities=scoring.predictions)

        total = 0.0
        for part in share(lambda indices: map(scored, indices), range(view.num_batches)):
            total += part.loss
            predictions[part.rows], ranks[part.rows] = part.predictions, part.ranks
            probabilities[part.rows] = part.probabilities
        more, tables = labels_scores(targets, predictions, names, thorough=scoring.thorough)
        scores = {"loss": total / len(images), **more}
        if len(names) > TOP:
            scores[f"top{TOP}_accuracy"] = 100 * float((ranks < TOP).mean())
        evaluation = Evaluation(scores, tables=tables, data_sha256=images.hash, notes=list(images.notes))
        for row in spread(len(images), scoring.samples):
            caption = f"{names[predictions[row]]} {probabilities[row].max():.2f}"
            evaluation.samples.append(Sample(shown(images.names[row]), names[targets[row]], caption))
        if scoring.thorough or scoring.samples:
            matrix, labels = confusion(targets, predictions, len(names), MOST_CONFUSED)
            label_names = [names[label] for label in labels]
            evaluation.pictures["confusion"] = HeatMap(
                matrix, label_names, label_names, f"{split}: % of each label", "label", "predicted as", percent=True
            )
        if scoring.thorough and split == "test":
            evaluation.notes += self.training_overlap(images)
        if scoring.predictions:
            evaluation.predictions = [
                _prediction_row(images.names[row], names, targets[row], predictions[row], probabilities[row])
                for row in range(len(images))
            ]
        return evaluation

    def scorer(self, split: str) -> str:
        """Return the labels."""
        return described_labels(self.data.labels.names)

    def statistic(self, metric: str, rows: Sequence[Row]) -> Statistic | None:
        """Return a score of labels as a function of rows."""
        names = [shown(name) for name in self.data.labels.names]
        references, predictions = ([row[name] for row in rows] for name in ("reference", "prediction"))
        return labels_statistic(metric, references, predictions, names)

    def training_overlap(self, test: Images) -> list[str]:
        """Return a warning if images of the test split are in the training split too."""
        try:
            count = duplicates(test, self.data.split("train"))
        except DataError:  # the training data cannot be read
            return []
        return [f"warning: {count:,} of {len(test):,} pictures to test are in the training split too"] if count else []

    def pictures(self, model: Any) -> dict[str, Picture]:
        """Return predictions for validation images, augmented training images, and the attention of the encoder."""
        data, device = self.data, next(model.parameters()).device
        rows = np.array(spread(len(data.split("validation")), SHOWN), np.int64)
        batch = data.view("validation").collate(0, rows).to(device)
        (images,) = data.inputs(batch, training=False)
        visible, names = data.images.visible(images), data.labels.names
        labels = [names[number] for number in data.targets("validation")[rows]]
        answers = self.predictor.predictions(model, images)
        correct = [answer.details["label"] == label for answer, label in zip(answers, labels, strict=True)]
        captions = [
            answer.text.replace("\t", " ") + ("" if is_correct else f"\nlabel: {shown(label)}")
            for answer, is_correct, label in zip(answers, correct, labels, strict=True)
        ]
        figures: dict[str, Picture] = {
            "predictions": Gallery(visible, captions, list(correct)),
            "augmented": self._augmented_gallery(device),
        }
        if maps := attention_maps(model.encoder, images):
            figures["attention"] = Gallery(visible, captions, list(correct), maps)
        return figures

    def _scored(self, model: Any, batch: LabelledImageBatch, *, all_probabilities: bool) -> _Scored:
        """Return the results of a batch, with the probabilities of all labels or only of the most probable one."""
        scores = self.objective.outputs(model, batch)
        loss = float(self.objective.loss(model, scores, batch).total)
        ranks = (scores > scores.gather(1, batch.targets[:, None])).sum(1)
        probabilities = scores.softmax(1)
        probabilities = probabilities if all_probabilities else probabilities.amax(1, keepdim=True)
        parts = (batch.sample_ids, scores.argmax(1), ranks, probabilities)
        rows, predictions, ranks, probabilities = (part.cpu().numpy() for part in parts)
        return _Scored(rows, predictions, ranks, probabilities, loss)

    def _augmented_gallery(self, device: torch.device) -> Gallery:
        """Return a few training images with the augmentation of several epochs."""
        data, view = self.data, self.data.view("train", training=True)
        rows = np.array(spread(len(data.split("train")), SHOWN // SHOWN_EPOCHS), np.int64)
        labels = [shown(data.labels.names[number]) for number in data.targets("train")[rows]]
        images: list[np.ndarray] = []
        captions = []
        for epoch in range(SHOWN_EPOCHS):
            batch = view.collate(epoch, rows).to(device)
            images += data.images.visible(data.inputs(batch, training=True)[0])
            captions += [f"{label} {epoch + 1}" for label in labels]
        order = [epoch * len(rows) + row for row in range(len(rows)) for epoch in range(SHOWN_EPOCHS)]
        return Gallery(
            [images[i] for i in order], [captions[i] for i in order], [None] * len(order), columns=2 * SHOWN_EPOCHS
        )


def attention_maps(encoder: Any, images: Tensor) -> list[np.ndarray]:
    """Return the last layer's attention of [class], or the mean over all patches without it, averaged over heads.

    Args:
        encoder: an encoder of images, in evaluation mode.
        images: (B, C, H, W), float32.

    Returns:
        (rows, columns) for each image; empty for encoders without self-attention.
    """
    if not hasattr(encoder, "encode"):
        return []
    last = last_weights(encoder, lambda: encoder.encode(images), AttentionKind.encoder)
    if last is None:
        return []
    axis = patches_of(encoder, images[:1])
    return [class_attention(axis, weights) for weights in last[1]]


def _prediction_row(
    image: str, names: list[str], target: int, prediction: int, probabilities: np.ndarray
) -> dict[str, Any]:
    """Return a row of the table of predictions."""
    shares = {name: round(share, 6) for name, share in zip(names, probabilities.tolist(), strict=True)}
    label = names[prediction]
    return {"picture": image, "reference": names[target], "prediction": label, "probability": shares[label],
            "probabilities": shares}  # fmt: skip


class MaskedPatchesEvaluator(Evaluator[MaskedPatchModel, ImageBatch]):
    """Loss and perplexity of the colours of masked patches, and the share of correct ones.

    Args:
        objective: masked patch prediction.
    """

    metric = "accuracy"
    lower_is_better = frozenset({"loss", "perplexity"})
    per_objective = frozenset({"loss", "perplexity", "accuracy"})
    scores_examples = False
    objective: MaskedPatches
    data: UnlabelledImages

    def __init__(self, objective: MaskedPatches) -> None:
        super().__init__(objective)

    def evaluate(
        self, model: MaskedPatchModel, view: View[ImageBatch], scoring: Scoring, share: Share = unshared
    ) -> Evaluation:
        """Return the scores of all masked patches."""
        total, images = self.summed_loss(model, view, share), self.data.split(view.split)
        loss, accuracy = total.means()["loss"], 100 * total.sums["right"] / total.count
        scores = {"loss": loss, "perplexity": perplexity(loss), "accuracy": accuracy}
        evaluation = Evaluation(scores, data_sha256=images.hash, notes=list(images.notes))
        if scoring.samples:
            evaluation.pictures["patches"] = self._filled(model, view)
        for row in spread(len(images), scoring.samples):
            batch = view.collate(0, np.array([row])).to(next(model.parameters()).device)
            predicted = self.objective.outputs(model, batch)
            num_correct = int((predicted.scores.argmax(1) == predicted.targets).sum())
            size = f"{len(predicted.targets)} masked patches"
            evaluation.samples.append(Sample(images.names[row], size, f"{num_correct} correct"))
        return evaluation

    def _filled(self, model: MaskedPatchModel, view: View[ImageBatch]) -> Gallery:
        """Return images, the same images with masked patches in grey, and with their predicted colours."""
        data = self.data
        rows = np.array(spread(len(data.split(view.split)), SHOWN_MASKED), np.int64)
        batch = view.collate(0, rows).to(next(model.parameters()).device)
        (images,) = data.inputs(batch, training=False)
        predicted = self.objective.outputs(model, batch)
        bits, channels, patch = data.config.patches.bits, images.shape[1], data.config.model.patch_size
        num_rows, num_columns = (side // patch for side in images.shape[2:])
        colours = predicted.scores.argmax(1)
        shifts = bits * torch.arange(channels, device=colours.device).flip(0)
        levels = (colours[:, None] >> shifts) & (2**bits - 1)  # (M, channels)
        tiles = np.stack(data.images.visible(images)).reshape(len(rows), num_rows, patch, num_columns, patch, channels)
        masked, filled = (tiles.swapaxes(2, 3).reshape(-1, patch, patch, channels).copy() for _ in range(2))
        indices = predicted.indices.cpu().numpy()
        masked[indices] = 128
        filled[indices] = (((levels.float() + 0.5) * 255 / 2**bits).cpu().numpy()[:, None, None, :]).astype(np.uint8)
        parts = []
        for patches in (tiles.swapaxes(2, 3), masked, filled):
            grid = patches.reshape(len(rows), num_rows, num_columns, patch, patch, channels).swapaxes(2, 3)
            parts.append(grid.reshape(len(rows), *images.shape[2:], channels))
        gallery = [part[row] for row in range(len(rows)) for part in parts]
        return Gallery(gallery, ["image", "masked", "predicted"] * len(rows), [None] * len(gallery), columns=6)
