"""Experiments on small images share the data, small models, and the split that is scored."""

from __future__ import annotations

from laboratory.experiment import Scale
from laboratory.runs import Runs

SCHEDULE = ("trainer.evaluate_every=0", "trainer.checkpoint_every=500", "trainer.samples=0", "optim.warmup_steps=100")
"""A short training that is evaluated at its end."""
CIFAR = ("data.path={data}", "data.validation_share=0.02", "data.batch_images=64", *SCHEDULE)
"""Settings of trainings on CIFAR-10: 49,000 images to train, 1,000 to validate."""
VIT = ("model.dim=64", "model.depth=4", "model.ffn_dim=128")
"""A small Vision Transformer."""
QUICK = ("trainer.steps=10", "optim.warmup_steps=5")
TINY = ("trainer.steps=2", "optim.warmup_steps=1")


def scored_split(runs: Runs) -> str:
    """Return the split that is scored: test, or validation, which is a tenth of it, if little is trained."""
    return "test" if runs.scale is Scale.full else "validation"
