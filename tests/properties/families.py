"""The list that every property runs over: a new family is covered by a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tformer_cli import tasks
from tformer_cli.config.compose import compose
from tformer_cli.config.schema import Experiment
from tformer_cli.tasks.base import Task

SMALL = ["trainer.threads=1", "trainer.precision=fp32", "trainer.attention=explicit", "trainer.device=cpu"]


@dataclass(frozen=True)
class Family:
    """A task, small enough to train in a second.

    Attributes:
        name: of the family.
        recipe: one of its recipes.
        settings: what makes it small.
        inputs: a few inputs to predict from.
    """

    name: str
    recipe: str
    settings: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    def config(self, folder: Path, *more: str) -> Experiment:
        """Its configuration, with `folder` for what it caches."""
        return compose(self.recipe, [*SMALL, *self.settings, f"data.cache={folder}", *more])

    def task(self, folder: Path, *more: str) -> Task:
        """The task, prepared."""
        task = tasks.build(self.config(folder, *more))
        task.prepare(folder)
        return task


FAMILIES = [
    Family(
        "translation",
        "quickstart/translation",
        ["data.size=200", "data.batch_tokens=400", "tokenizer.vocab_size=400", "model.dim=16", "model.heads=2",
         "model.ffn_dim=32", "model.encoder_depth=1", "model.decoder_depth=1", "trainer.minutes=0", "trainer.steps=10"],
        ["The cat eats.", "", "We did not read three books yesterday."],
    ),
]  # fmt: skip
