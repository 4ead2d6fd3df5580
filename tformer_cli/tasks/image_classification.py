"""Image classification: one label for each image, with a Vision Transformer or a convolutional network."""

from __future__ import annotations

from torch import nn

from tformer_cli.data.image.dataset import LabelledImages
from tformer_cli.evaluators.images import ImageClassificationEvaluator
from tformer_cli.models.resnet import ResNetConfig
from tformer_cli.models.resnet.model import ResNetClassifier
from tformer_cli.models.vit.model import ViTClassifier
from tformer_cli.objectives.classification import ImageClassification
from tformer_cli.predictors.images import ImageClassificationPredictor
from tformer_cli.tasks.registry import ImageClassificationExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: ImageClassificationExperiment) -> Task:
    """Return the task of classifying images."""
    data = LabelledImages(config)
    objective = ImageClassification(data, config.optim.label_smoothing)
    predictor = ImageClassificationPredictor(data)

    def body() -> nn.Module:
        channels, outputs = config.data.channels, data.labels.outputs
        if isinstance(config.model, ResNetConfig):
            return ResNetClassifier(config.model, channels, config.head, outputs)
        return ViTClassifier(config.model, config.data.image_size, channels, config.head, outputs)

    return Task(
        config,
        data,
        body=body,
        phases=[Phase(objective)],
        evaluator=ImageClassificationEvaluator(objective, predictor),
        predictor=predictor,
    )
