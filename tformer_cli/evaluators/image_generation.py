"""Scores and pictures of generated images: losses, distances to real images, and the spread within labels.

The images of a model may be correct but all alike (mode collapse). The spread within each label shows this; losses and
the accuracy of labels do not.

Shapes: N images, B images of a batch, C channels, H and W their height and width, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tformer_cli.config.schema import AttentionKind, Experiment
from tformer_cli.data.core.labels import label_key
from tformer_cli.data.core.media import shown
from tformer_cli.data.core.view import View
from tformer_cli.data.image.augment import denormalise
from tformer_cli.data.image.dataset import LabelledImageBatch, LabelledImages, UnlabelledImages
from tformer_cli.data.image.images import Images
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.draw import Gallery, Picture
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.evaluators.base import Evaluation, Evaluator, Sample, Scoring, spread
from tformer_cli.figures.attention import last_layer, on_grid
from tformer_cli.figures.looks import Look, points_of
from tformer_cli.inspectors.images import ImageGenerationInspector
from tformer_cli.metrics.images import Moments, frechet_distance, relative_spread
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.objectives.adversarial import EVALUATION_STREAM, DiscriminatorHinge, Pictures, noise_of
from tformer_cli.predictors.base import Companion
from tformer_cli.predictors.image_generation import ImageGenerationPredictor

CLASSIFIER = "evaluation.classifier"
"""Name of the companion, a classifier: the setting that names its run."""
PIXELS = 8
"""Maximum height and width to which average pooling reduces images for the scores of pixels."""
SHOWN_LABELS, SHOWN_ROWS = 12, 8
"""Maximum number of labels in the figure of samples, and the number of images of each."""
QUERIES, ATTENDING = ((0.25, 0.5), (0.5, 0.5), (0.75, 0.5)), 4
"""Query points of the figure of attention, as shares of height and width, and the number of its images."""


class Classifier:
    """A trained classifier of images; its features and labels score generated images.

    Args:
        companion: the run of the classifier.
    """

    def __init__(self, companion: Companion) -> None:
        assert isinstance(companion.model, ImageClassifier)
        self.model, self.data, self.run = companion.model, companion.data, companion.run
        self.name = companion.sha256[:12]

    def check(self, data: Any) -> None:
        """Refuse a classifier of other images or other labels.

        Raises:
            ConfigError: if the images of `data` have another size or channels, or a label that it does not know.
        """
        for key in ("image_size", "channels"):
            here, there = getattr(data.config.data, key), getattr(self.data.config.data, key)
            if here != there:
                cause = f"{CLASSIFIER}: {self.run} classifies images with data.{key}={there}, this run has {here}"
                raise ConfigError(cause, "train a classifier on the same images")
        known = set(map(label_key, self.data.output_names))
        missing = [name for name in data.output_names if label_key(name) not in known]
        if missing:
            cause = f"{CLASSIFIER}: {self.run} does not know the label {missing[0]!r}"
            raise ConfigError(cause, "train a classifier with the same labels")

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return the classifier's number of each label of `names`, (labels,) int64."""
        own = {label_key(name): number for number, name in enumerate(self.data.output_names)}
        return np.array([own[label_key(name)] for name in names], np.int64)

    def __call__(self, pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return features, (B, D) float32, and the most probable label, (B,) int64, of images (B, C, H, W), uint8.

        They are computed in float32 in every precision of the generator's run, so that scores with equal signatures are
        comparable.
        """
        shapes = torch.tensor(pixels.shape[2:]).expand(len(pixels), 2)
        model = self.model
        with torch.autocast(pixels.device.type, enabled=False):
            features = model.encoder.vector(self.data.images.centers(pixels, shapes), model.pooling)
            labels = model.head(features).argmax(1)
        return features.cpu().numpy(), labels.cpu().numpy()


@dataclass
class _Compared:
    """Some generated images and the real ones with the same labels, as vectors.

    Attributes:
        labels: numbers of the labels, (B,), int64.
        real_pixels: averaged pixels of real images, (B, D), float32.
        generated_pixels: averaged pixels of generated images.
        real_features: features of real images, (B, D), float32; used only with a classifier, like the attributes below.
        generated_features: features of generated images.
        predictions: the classifier's labels of generated images, (B,), int64.
    """

    labels: np.ndarray
    real_pixels: np.ndarray
    generated_pixels: np.ndarray
    real_features: np.ndarray
    generated_features: np.ndarray
    predictions: np.ndarray


class ImageGenerationEvaluator(Evaluator[Any, Pictures]):
    """Losses of both networks, and scores of generated images compared with as many real ones of the same labels.

    Args:
        objective: the discriminator's objective.
        predictor: generates images for figures.
        inspector: inspector that provides the examples for pictures.

    Attributes:
        classifier: the classifier that `evaluation.classifier` names; None: only pixels are compared.
    """

    lower_is_better = frozenset({"loss", "generator_loss"}) | {
        f"{space}_distance{unit}" for space in ("pixel", "feature") for unit in ("", "_percent")
    }
    unranked = frozenset({"real_score", "generated_score"}) | {
        f"{lowest}{space}_spread" for lowest in ("", "lowest_") for space in ("pixel", "feature")
    }
    per_objective = frozenset({"loss", "generator_loss", "real_score", "generated_score"})
    decodes = True
    smallest_limit = 0
    scores_examples = False
    data: LabelledImages | UnlabelledImages

    def __init__(
        self, objective: DiscriminatorHinge, predictor: ImageGenerationPredictor, inspector: ImageGenerationInspector
    ) -> None:
        super().__init__(objective)
        self.predictor, self.inspector, self.settings = predictor, inspector, objective.data.config.evaluation
        self.metric = "feature_distance" if self.settings.classifier else "pixel_distance"
        self.classifier: Classifier | None = None

    def suits(self, run: Path, config: Experiment) -> None:
        """Refuse a run that is not of a classifier of images.

        Raises:
            ConfigError: if the run's task is not image classification.
        """
        if config.task != "image_classification":
            cause = f"{CLASSIFIER}: {run} is a run of {config.task}"
            raise ConfigError(cause, "name one of image classification, such as of `tformer pretrain vit/mnist`")

    def accept(self, companions: Mapping[str, Companion]) -> None:
        """Use the classifier of the opened run."""
        self.classifier = Classifier(companions[CLASSIFIER])

    def prepare(self) -> None:
        """Check the classifier and the size of the validation split.

        Raises:
            ConfigError: if the classifier does not exist, or classifies other images.
            DataError: if the split has fewer than two images.
        """
        self._check_classifier()
        if self.data.config.trainer.evaluate_decoded:
            self._size("validation")

    def require(self) -> None:
        """Check that the run of the classifier exists.

        Raises:
            ConfigError: if it does not.
        """
        if self.settings.classifier and not Path(self.settings.classifier).is_dir():
            cause = f"{CLASSIFIER}: there is no run {self.settings.classifier}"
            raise ConfigError(cause, f"name a run of image classification, or none: {CLASSIFIER}=")

    def _check_classifier(self) -> None:
        """Refuse a classifier that does not exist, or that classifies other images.

        Raises:
            ConfigError: naming the setting.
        """
        if self.classifier is None:
            self.require()
        if self.classifier is not None:
            self.classifier.check(self.data)

    def _size(self, split: str) -> int:
        """Return the number of images of a split.

        Raises:
            DataError: if it is less than two, since the variance needs two.
        """
        size = len(self.data.split(split))
        if size < 2:
            cause = f"the {split} split has {size} image, and scores of generated images need two"
            raise DataError(cause, "give it more images, or a larger share of the data")
        return size

    def describe(self) -> list[tuple[str, str]]:
        """Return the header's line on the classifier."""
        if self.classifier is None:
            return []
        return [("scores", f"features and labels of {self.classifier.run}, {self.classifier.name}")]

    def evaluate(self, model: Any, view: View[Pictures], scoring: Scoring, share: Share = unshared) -> Evaluation:
        """Return the losses over all images, and the scores of up to `evaluation.images` generated ones."""
        self._check_classifier()
        images = self.data.split(view.split)
        means = self.summed_loss(model, view, share).means()
        scores = {"loss": means["loss"], "generator_loss": -means["generated"]}
        scores |= {"real_score": means["real"], "generated_score": means["generated"]}
        evaluation = Evaluation(scores, data_sha256=images.hash, notes=list(images.notes))
        if scoring.decoded:
            self._compare(model, view, scoring, share, evaluation)
        if scoring.samples:
            evaluation.pictures["samples"] = self._samples(model)
            evaluation.samples = self._judged(model, view, images, scoring.samples)
        return evaluation

    def pictures(self, model: Any) -> dict[str, Picture]:
        """Return the attention of a few points of generated images, if the generator has attention."""
        labels = max(1, len(self.data.output_names))
        images, captions, maps, marks = [], [], [], []
        for number in range(ATTENDING):
            example = self.inspector.example(model, number, number % labels)
            last = last_layer(model, example, AttentionKind.encoder)
            if last is None:
                return {}
            layer, weights = last
            look = Look.of(example, [layer], weights.mean(0)[None])
            for query in points_of(look.queries, QUERIES):
                images.append(example.image)
                captions.append(look.names[query])
                maps.append(on_grid(look.weights[0, query], look.keys))
                marks.append(look.point_of(query))
        columns = 2 * len(QUERIES)
        return {"attention": Gallery(images, captions, [None] * len(images), maps, columns=columns, marks=marks)}

    # --- scores ---

    def _compare(
        self, model: Any, view: View[Pictures], scoring: Scoring, share: Share, evaluation: Evaluation
    ) -> None:
        """Add the scores of generated images."""
        size = self._size(view.split)
        number = max(2, min(size, self.settings.images, scoring.limit or size))
        rows = spread(size, number)
        step = self.data.config.data.batch_images
        jobs = [rows[start : start + step] for start in range(0, len(rows), step)]
        parts = list(share(lambda batches: (self._compared(model, view, batch) for batch in batches), jobs))
        joined = {item.name: np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(_Compared)}
        compared = _Compared(**joined)
        names = [shown(name) for name in self.data.output_names] or ["all"]
        columns = {"pixel": (compared.generated_pixels, compared.real_pixels)}
        signature = f"images:{len(rows)}|split:{view.split}"
        signatures = {"pixel": f"pixels:{compared.real_pixels.shape[1]}|{signature}"}
        if self.classifier is not None:
            columns["feature"] = (compared.generated_features, compared.real_features)
            width = compared.real_features.shape[1]
            signatures["feature"] = f"classifier:{self.classifier.name}|features:{width}|{signature}"
            self._add_labels(compared, evaluation, f"classifier:{self.classifier.name}|{signature}")
        table: list[np.ndarray] = []
        for kind, (generated, real) in columns.items():
            spreads = relative_spread(generated, real, compared.labels, len(names))
            table.append(spreads)
            _add_distances(kind, generated, real, evaluation, signatures[kind])
            _add_spreads(kind, spreads, evaluation, signatures[kind])
        if scoring.thorough:
            header = ["label", *(f"{kind} spread" for kind in columns)]
            cells = [[name, *(_cell(spreads[row]) for spreads in table)] for row, name in enumerate(names)]
            evaluation.tables.append(("spread of generated images, divided by that of real ones", header, cells))

    def _add_labels(self, compared: _Compared, evaluation: Evaluation, signature: str) -> None:
        """Add the classifier's accuracy on generated images, and the number of different labels that it predicts."""
        scores = {"distinct_labels": float(len(set(compared.predictions.tolist())))}
        if self.classifier is not None and self.data.output_names:
            asked = self.classifier.numbers(self.data.output_names)[compared.labels]
            scores["accuracy"] = 100 * float((compared.predictions == asked).mean())
        evaluation.scores |= scores
        evaluation.signatures |= dict.fromkeys(scores, signature)

    def _compared(self, model: Any, view: View[Pictures], rows: Sequence[int]) -> _Compared:
        """Return some real images of a split, and generated images with the same labels, as vectors."""
        device = next(model.parameters()).device
        batch = view.collate(0, np.array(rows, np.int64)).to(device)
        (real,) = self.data.inputs(batch, training=False)  # pyright: ignore[reportArgumentType]
        targets = batch.targets if isinstance(batch, LabelledImageBatch) else torch.zeros_like(batch.sample_ids)
        noise = noise_of(model, self.data.config.seed, 0, batch.sample_ids, EVALUATION_STREAM)
        generated = model.generator(noise, targets if model.labels else None)
        pixels = [self._pixels(images) for images in (real, generated)]
        averaged = [F.adaptive_avg_pool2d(part / 255, _averaged_size(part)).flatten(1).cpu().numpy() for part in pixels]
        nothing = np.zeros((len(rows), 0), np.float32)
        first, second, predictions = nothing, nothing, np.zeros(len(rows), np.int64)
        if self.classifier is not None:
            (first, _), (second, predictions) = map(self.classifier, pixels)
        return _Compared(targets.cpu().numpy(), averaged[0], averaged[1], first, second, predictions)

    def _pixels(self, images: Tensor) -> Tensor:
        """Return the pixels of a model's images, (B, C, H, W), uint8, as they would be saved."""
        return (255 * denormalise(images.float(), self.data.config.data)).round().clamp(0, 255).byte()

    # --- figures ---

    def _samples(self, model: Any) -> Gallery:
        """Return generated images, with a column for each label."""
        names = self.data.output_names
        labels = np.array(spread(len(names), SHOWN_LABELS)) if names else np.zeros(SHOWN_ROWS, np.int64)
        numbers = np.arange(len(labels) * SHOWN_ROWS)
        images = self.predictor.generate(model, numbers, np.tile(labels, SHOWN_ROWS))
        captions = [shown(names[label]) if names else "" for label in np.tile(labels, SHOWN_ROWS)]
        return Gallery(images, captions, [None] * len(images), columns=len(labels))

    def _judged(self, model: Any, view: View[Pictures], images: Images, number: int) -> list[Sample]:
        """Return the discriminator's scores of a few real images, and of one generated image for each."""
        rows = np.array(spread(len(images), number), np.int64)
        batch = view.collate(0, rows).to(next(model.parameters()).device)
        scores = self.objective.outputs(model, batch)
        pairs = zip(rows, scores.real.tolist(), scores.generated.tolist(), strict=True)
        return [
            Sample(shown(images.names[row]), f"D = {real:.2f} on this image", f"D = {generated:.2f} on a generated one")
            for row, real, generated in pairs
        ]


def _averaged_size(images: Tensor) -> tuple[int, int]:
    """Return the height and width to which images are averaged."""
    height, width = images.shape[2:]
    return min(height, PIXELS), min(width, PIXELS)


def _add_distances(kind: str, generated: np.ndarray, real: np.ndarray, evaluation: Evaluation, signature: str) -> None:
    """Add the distance of generated from real vectors, (N, D), and its percentage of the variance of real ones.

    If all real vectors are equal, there is no percentage, and a note says so.
    """
    moments = Moments.of(generated), Moments.of(real)
    variance = float(np.trace(moments[1].covariance))
    scores = {f"{kind}_distance": frechet_distance(*moments)}
    if variance:
        scores[f"{kind}_distance_percent"] = 100 * scores[f"{kind}_distance"] / variance
    else:
        evaluation.notes.append(f"{kind}_distance_percent is unknown: the {kind}s of all real images are equal")
    evaluation.scores |= scores
    evaluation.signatures |= dict.fromkeys(scores, signature)


def _add_spreads(kind: str, spreads: np.ndarray, evaluation: Evaluation, signature: str) -> None:
    """Add the mean and the lowest of the known spreads of labels.

    The signature has the number of these labels. If a spread is unknown (NaN), a note says so; if all are, there are no
    scores.
    """
    known = spreads[np.isfinite(spreads)]
    if len(known):
        scores = {f"{kind}_spread": float(known.mean()), f"lowest_{kind}_spread": float(known.min())}
        evaluation.scores |= scores
        evaluation.signatures |= dict.fromkeys(scores, f"{signature}|labels:{len(known)} of {len(spreads)}")
    if len(known) < len(spreads):
        extent = f"that of {len(known)} of {len(spreads)} labels" if len(known) else "unknown"
        others = "the others have" if len(known) else "each label has"
        evaluation.notes.append(f"{kind}_spread is {extent}: {others} fewer than two images, or equal real ones")


def _cell(value: float) -> str:
    """Return the text of a spread in a table; a dash if it is unknown."""
    return "-" if np.isnan(value) else f"{value:.3f}"
