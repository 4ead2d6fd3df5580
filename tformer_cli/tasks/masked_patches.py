"""Masked patch prediction: a Vision Transformer learns from images alone."""

from __future__ import annotations

from tformer_cli.data.image.dataset import UnlabelledImages
from tformer_cli.evaluators.images import MaskedPatchesEvaluator
from tformer_cli.inspectors.images import MaskedPatchesInspector
from tformer_cli.models.patch_head import MaskedPatchModel
from tformer_cli.models.registry import build_body
from tformer_cli.objectives.masked_patches import MaskedPatches
from tformer_cli.predictors.images import MaskedPatchesPredictor
from tformer_cli.tasks.settings.images import MaskedPatchesExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: MaskedPatchesExperiment) -> Task:
    """Return the task of predicting the colours of masked patches."""
    data = UnlabelledImages(config)
    colours = 2 ** (config.patches.bits * config.data.channels)
    objective = MaskedPatches(data, config.optim.label_smoothing)
    predictor = MaskedPatchesPredictor(data)
    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        assemble=lambda encoder: MaskedPatchModel(encoder, colours),
        phases=[Phase(objective)],
        evaluator=MaskedPatchesEvaluator(objective),
        predictor=predictor,
        inspector=MaskedPatchesInspector(predictor),
    )
