"""Pictures to labels, with a Vision Transformer or a convolutional network.

Shapes: B pictures, R = B, or 2B with a partner for each, C classes, S `image_size`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import Target
from tformer_cli.data.core.balance import Balance
from tformer_cli.data.core.media import shown
from tformer_cli.data.image.augment import mix
from tformer_cli.data.image.images import Images, duplicates
from tformer_cli.data.text.labelled import LABELS, LabelSet
from tformer_cli.errors import DataError, library
from tformer_cli.evaluators.base import spread
from tformer_cli.metrics.labels import confusion, labels_scores
from tformer_cli.models.resnet import ResNetConfig
from tformer_cli.models.resnet.model import ResNetClassifier
from tformer_cli.models.vit.model import ViTClassifier
from tformer_cli.nn.taps import attention_weights
from tformer_cli.tasks.base import (
    Evaluation,
    Gallery,
    HeatMap,
    Loss,
    Picture,
    Prediction,
    Sample,
    Scoring,
    batches_of,
)
from tformer_cli.tasks.images import ImageBatch, ImageTask
from tformer_cli.tasks.registry import ImageClassificationExperiment

TOP = 5
"""A label counts as found among so many (Deng et al. 2009), where there are more."""
MOST_CONFUSED = 40
"""Labels in the picture of confusions; those that are found least, if there are more."""
SHOWN, SHOWN_EPOCHS = 24, 4
"""Predictions in a picture; and epochs in the picture of what training sees."""


@dataclass
class LabelledImageBatch(ImageBatch):
    """Pictures with their labels.

    Attributes:
        targets: numbers of the labels, (R,), int64.
    """

    targets: Tensor


class ImageClassification(ImageTask[ViTClassifier | ResNetClassifier, LabelledImageBatch]):
    """The adapter between labelled pictures and a model with a linear head."""

    metric = "accuracy"
    options = frozenset({"top"})
    lower_is_better = frozenset({"loss"})
    config: ImageClassificationExperiment
    labels: LabelSet
    """Set by `prepare` or `load`."""

    def __init__(self, config: ImageClassificationExperiment) -> None:
        super().__init__(config)
        self._targets: dict[str, np.ndarray] = {}
        self._balance: Balance | None = None

    # --- data ---

    def prepare(self, run: Path) -> None:
        """Read training and validation pictures, find the labels."""
        library("sklearn.metrics", "scikit-learn", "images")
        super().prepare(run)
        for split in ("train", "validation"):  # a label that training does not have is found here
            self._numbers(split)
        if self.config.head.class_weights:
            self.labels = self.labels.weighted(self._numbers("train"))

    def load(self, folder: Path) -> None:
        """Take the labels from a checkpoint, if it is one of this task."""
        if (labels := LabelSet.of_checkpoint(folder)) is not None:
            self.labels = labels

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the labels, in order."""
        labels = getattr(self, "labels", None)
        return () if labels is None else labels.names

    def files(self) -> dict[str, bytes]:
        """The labels."""
        return {LABELS: self.labels.to_json()}

    def _learn(self, train: Images) -> None:
        self.labels = LabelSet.of(train, Target.label, "")

    def _numbers(self, split: str) -> np.ndarray:
        if split not in self._targets:
            self._targets[split] = self.labels.numbers(self._split(split))
        return self._targets[split]

    def _order(self, epoch: int) -> np.ndarray:
        """Return the images of an epoch in order; with balanced labels, the draws of `Balance`."""
        strength = self.config.data.balance
        if not (strength and self._is_changing("train")):
            return super()._order(epoch)
        if self._balance is None:
            self._balance = Balance(self._numbers("train"), strength, self.config.seed)
        return self._balance[epoch]

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> LabelledImageBatch:
        """Return a batch of the given rows or draws; for mixup and CutMix with a partner for each."""
        augment, draws = self.config.augment, np.asarray(rows, np.int64)
        rows = draws % len(self._split(split))
        partners = (
            self._partners(draws, epoch) if self._is_changing(split) and (augment.mixup or augment.cutmix) else None
        )
        every = rows if partners is None else np.concatenate((rows, partners))
        return LabelledImageBatch(
            torch.from_numpy(rows),
            *self._pixels(split, every),
            epoch,
            None if partners is None else torch.from_numpy(partners),
            torch.from_numpy(self._numbers(split)[every]),
            draws=torch.from_numpy(draws) if self.config.data.balance else None,
        )

    def describe(self) -> list[tuple[str, str]]:
        """The header's lines on pictures, labels and batches."""
        return [*super().describe(), ("labels", self.labels.described(self._numbers("train")))]

    # --- model and loss ---

    def model(self) -> ViTClassifier | ResNetClassifier:
        """A new model and head."""
        config, channels, outputs = self.config, self.config.data.channels, self.labels.outputs
        if isinstance(config.model, ResNetConfig):
            return ResNetClassifier(config.model, channels, config.head, outputs)
        return ViTClassifier(config.model, config.data.image_size, channels, config.head, outputs)

    def _blended(self, batch: LabelledImageBatch) -> tuple[Tensor, Tensor | None]:
        """What training sees, (B, channels, S, S), and each first picture's share in it, (B,); None: all of it."""
        images = self._augmented(batch)
        if batch.partners is None:
            return images, None
        own, others = images.chunk(2)
        return mix(self.config.augment, own, others, batch.drawn, batch.epoch, self.config.seed)

    def _own(self, batch: LabelledImageBatch) -> Tensor:
        """What evaluation sees, without partners: (B, channels, S, S)."""
        number = len(batch.sample_ids)
        return self._centers(batch.pixels[:number], batch.shapes[:number])

    def loss(self, model: ViTClassifier | ResNetClassifier, batch: LabelledImageBatch) -> Loss:
        """Cross-entropy, of both labels by their shares where pictures are blended; summed."""
        targets = batch.targets[: len(batch.sample_ids)]
        if not model.training:
            scores = model(self._own(batch)).float()
            return Loss(self._entropies(scores, targets, 0.0).sum(), torch.tensor(len(scores), device=scores.device))
        images, share = self._blended(batch)
        scores, smoothing = model(images).float(), self._smoothing(model)
        entropies = self._entropies(scores, targets, smoothing)
        if share is not None:
            others = self._entropies(scores, batch.targets[len(targets) :], smoothing)
            entropies = share * entropies + (1 - share) * others
        return Loss(entropies.sum(), torch.tensor(len(scores), device=scores.device))

    def _entropies(self, scores: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        weight = scores.new_tensor(self.labels.weights) if self.labels.weights else None
        return functional.cross_entropy(scores, targets, weight=weight, reduction="none", label_smoothing=smoothing)

    # --- evaluation and use ---

    def evaluate(self, model: ViTClassifier | ResNetClassifier, split: str, scoring: Scoring) -> Evaluation:
        """Accuracy, the right label among the first five, and more a label."""
        images, targets, names = self._split(split), self._numbers(split), [shown(name) for name in self.labels.names]
        predicted, before = np.zeros(len(images), np.int64), np.zeros(len(images), np.int64)
        probability = np.zeros(len(images), np.float32)
        answers: dict[int, Tensor] = {}
        total = 0.0
        for batch in batches_of(self, model, split):
            scores = model(self._own(batch)).float()
            right = batch.targets[: len(scores)]
            total += float(self._entropies(scores, right, 0.0).sum())
            rows = batch.sample_ids.cpu().numpy()
            predicted[rows] = scores.argmax(1).cpu().numpy()
            before[rows] = (scores > scores.gather(1, right[:, None])).sum(1).cpu().numpy()
            shares = scores.softmax(1).cpu()
            probability[rows] = shares.amax(1).numpy()
            if scoring.predictions:
                answers |= zip(rows.tolist(), shares, strict=True)
        more, tables = labels_scores(targets, predicted, names, thorough=scoring.thorough)
        scores = {"loss": total / len(images), **more}
        if len(names) > TOP:
            scores[f"top{TOP}_accuracy"] = 100 * float((before < TOP).mean())
        evaluation = Evaluation(scores, tables=tables, data_sha256=images.hash, notes=list(images.notes))
        for row in spread(len(images), scoring.samples):
            caption = f"{names[predicted[row]]} {probability[row]:.2f}"
            evaluation.samples.append(Sample(shown(images.names[row]), names[targets[row]], caption))
        if scoring.thorough or scoring.samples:
            matrix, kept = confusion(targets, predicted, len(names), MOST_CONFUSED)
            kept_names = [names[number] for number in kept]
            evaluation.pictures["confusion"] = HeatMap(
                matrix, kept_names, kept_names, f"{split}: % of each label", "label", "predicted as", percent=True
            )
        if scoring.thorough and split == "test":
            evaluation.notes += self._seen(images)
        for row, shares in sorted(answers.items()):
            probabilities = {name: round(share, 6) for name, share in zip(names, shares.tolist(), strict=True)}
            guess = names[predicted[row]]
            evaluation.predictions.append(
                {"picture": images.names[row], "reference": names[targets[row]], "prediction": guess,
                 "probability": probabilities[guess], "probabilities": probabilities}
            )  # fmt: skip
        return evaluation

    def _seen(self, test: Images) -> list[str]:
        """A warning, if pictures of the test split were trained on."""
        try:
            same = duplicates(test, self._split("train"))
        except DataError:  # the training data is elsewhere
            return []
        return [f"warning: {same:,} of {len(test):,} pictures to test are in the training split too"] if same else []

    @torch.inference_mode()
    def _answer(self, model: ViTClassifier | ResNetClassifier, images: Tensor) -> list[Prediction]:
        """The label and its probability, of each picture."""
        predictions = []
        for row in model(images).float().softmax(-1).cpu().tolist():
            ranked = sorted(zip(self.labels.names, row, strict=True), key=lambda item: -item[1])
            details = {"label": ranked[0][0], "probabilities": {name: round(p, 6) for name, p in ranked}}
            predictions.append(Prediction(f"{shown(ranked[0][0])}\t{ranked[0][1]:.4f}", details))
        return predictions

    # --- pictures ---

    def pictures(self, model: ViTClassifier | ResNetClassifier) -> dict[str, Picture]:
        """Predictions, what training sees, and where the [class] token looks."""
        device = next(model.parameters()).device
        validation = self._split("validation")
        rows = np.array(spread(len(validation), SHOWN), np.int64)
        batch = self.collate("validation", 0, rows).to(device)
        images = self._centers(batch.pixels, batch.shapes)
        visible, numbers = self._visible(images), self._numbers("validation")[rows]
        answers = self._answer(model, images)
        right = [answer.details["label"] == self.labels.names[n] for answer, n in zip(answers, numbers, strict=True)]
        captions = [
            answer.text.replace("\t", " ") + ("" if fits else f"\nlabel: {shown(self.labels.names[number])}")
            for answer, fits, number in zip(answers, right, numbers, strict=True)
        ]
        figures: dict[str, Picture] = {
            "predictions": Gallery(visible, captions, list(right)),
            "augmented": self._augmented_gallery(device),
        }
        if isinstance(model, ViTClassifier):
            weights = attention_weights(model, lambda: model(images))
            last = weights[list(weights)[-1]].float().mean(1)  # of all heads, (B, T, T)
            seen = last.mean(1) if model.encoder.class_token is None else last[:, 0, 1:]
            maps = seen.unflatten(1, model.encoder.grid).cpu().numpy()
            figures["attention"] = Gallery(visible, captions, list(right), list(maps))
        return figures

    def _augmented_gallery(self, device: torch.device) -> Gallery:
        """A few training pictures as several epochs show them."""
        rows = np.array(spread(len(self._split("train")), SHOWN // SHOWN_EPOCHS), np.int64)
        images: list[np.ndarray] = []
        captions = []
        for epoch in range(SHOWN_EPOCHS):
            batch = self.collate("train", epoch, rows).to(device)
            images += self._visible(self._blended(batch)[0])
            captions += [f"{shown(self.labels.names[number])} {epoch + 1}" for number in self._numbers("train")[rows]]
        order = [epoch * len(rows) + row for row in range(len(rows)) for epoch in range(SHOWN_EPOCHS)]
        return Gallery(
            [images[i] for i in order], [captions[i] for i in order], [None] * len(order), columns=2 * SHOWN_EPOCHS
        )
