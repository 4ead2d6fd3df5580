"""Image generation: a generator learns against a discriminator (Goodfellow et al. 2014)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from tformer_cli.data.image.dataset import LabelledImages, UnlabelledImages
from tformer_cli.evaluators.image_generation import CLASSIFIER, ImageGenerationEvaluator
from tformer_cli.inspectors.images import ImageGenerationInspector
from tformer_cli.models.registry import build_body
from tformer_cli.nn.spectral_norm import iterate_spectral_norms
from tformer_cli.objectives.adversarial import DiscriminatorHinge, GeneratorHinge
from tformer_cli.predictors.image_generation import ImageGenerationPredictor
from tformer_cli.tasks.settings.images import ImageGenerationExperiment
from tformer_cli.tasks.task import Phase, Task


def generator(model: Any) -> nn.Module:
    """Return the generator of a model."""
    return model.generator


def discriminator(model: Any) -> nn.Module:
    """Return the discriminator of a model."""
    return model.discriminator


def build(config: ImageGenerationExperiment) -> Task:
    """Return the task of generating images; each step updates the discriminator, then the generator."""
    data: Any = LabelledImages(config) if config.data.labelled else UnlabelledImages(config)
    objective = DiscriminatorHinge(data)
    predictor = ImageGenerationPredictor(data)
    inspector = ImageGenerationInspector(predictor)
    evaluator = ImageGenerationEvaluator(objective, predictor, inspector)
    classifier = Path(config.evaluation.classifier)
    phases = [
        Phase(objective, discriminator, "optim", "discriminator", before=iterate_spectral_norms),
        Phase(GeneratorHinge(data), generator, "generator_optim", "generator", before=iterate_spectral_norms),
    ]
    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        phases=phases,
        evaluator=evaluator,
        predictor=predictor,
        inspector=inspector,
        averaged=generator,
        use="tformer predict {run} --output images.png",
        companions={CLASSIFIER: classifier} if config.evaluation.classifier and classifier.is_dir() else {},
        suits=evaluator.suits,
        accept=evaluator.accept,
    )
