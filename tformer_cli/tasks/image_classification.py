"""Image classification: one label for each image, by a head on an image encoder."""

from __future__ import annotations

from tformer_cli.data.image.dataset import LabelledImages
from tformer_cli.evaluators.images import ImageClassificationEvaluator
from tformer_cli.inspectors.images import ImageClassificationInspector
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.models.registry import build_body
from tformer_cli.objectives.classification import ImageClassification
from tformer_cli.predictors.images import ImageClassificationPredictor
from tformer_cli.tasks.settings.images import ImageClassificationExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: ImageClassificationExperiment) -> Task:
    """Return the task of classifying images."""
    data = LabelledImages(config, class_weights=config.head.class_weights)
    objective = ImageClassification(data, config.optim.label_smoothing)
    predictor = ImageClassificationPredictor(data)

    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        assemble=lambda encoder: ImageClassifier(encoder, config.head, data.labels.outputs),
        phases=[Phase(objective)],
        evaluator=ImageClassificationEvaluator(objective, predictor),
        predictor=predictor,
        inspector=ImageClassificationInspector(predictor),
        use="tformer predict {run} FILE",
    )
