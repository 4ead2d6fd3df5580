"""Small BERTs that are pre-trained on film reviews, and fine-tuned on pairs of sentences."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from laboratory.experiment import Training, seeded
from tformer_cli.evaluators.base import Row
from tformer_cli.metrics.labels import number_scores

PRETRAIN, PAIRS = "bert/files", "text/sick"
"""Recipes: masked language models; how related two sentences are, from 1 to 5 (SICK)."""
DATA, FILE = ".", "movie_reviews/documents.txt"
"""The folder of all data, and a file that must be in it; fine-tuning reads `sick`."""
SHAPE = (
    "model.norm=pre", "model.depth=2", "model.dim=128", "model.ffn_dim=512", "model.max_length=64",
    "model.positions=t5",
)  # fmt: skip
CONTEXT = ("bert.share=0.25", "optim.lr=0.006", "optim.warmup_steps=100")
"""With these and relative positions, short pre-training learns more than how often each word occurs."""
READING = (
    "data.path={data}/movie_reviews/documents.txt", "data.documents=blank", "data.validation_share=0.02",
    "data.batch_tokens=2048",
)  # fmt: skip
LEARNING = (
    "trainer.minutes=0", "trainer.evaluate_every=0", "trainer.checkpoint_every=500", "trainer.samples=0", *SHAPE,
    *CONTEXT,
)  # fmt: skip
SHARED = "tokenizer.path={vocabulary}"
KNOWN_WORDS = (*READING, *LEARNING, SHARED)
"""Pre-training with the vocabulary of another training."""
REVIEWS = (*READING, "tokenizer.vocab_size=4000", "tokenizer.lines=20000", *LEARNING)
"""Pre-training with a vocabulary of its own."""
TUNING = 1500
"""Steps of fine-tuning: with a third of them and a quarter of the rate, hardly anything is learnt."""
SICK = (
    "data.path={data}/sick", "data.batch_tokens=1024", "optim.lr=0.002", "optim.warmup_steps=50",
    f"trainer.steps={TUNING}", "trainer.evaluate_every=250", "trainer.checkpoint_every=250", "trainer.samples=0",
)  # fmt: skip
WORDS = "common words alone"
QUICK = ("trainer.steps=20", "data.batch_tokens=512", "optim.warmup_steps=5", "trainer.evaluate_every=0")
TINY = ("trainer.steps=2",)


def trainings(
    arms: Mapping[str, tuple[str, ...]], steps: int, seeds: Sequence[int], *, untrained: bool = False
) -> list[Training]:
    """Return pre-trainings NAME-base and fine-tunings NAME with several seeds, after the training of their vocabulary.

    Args:
        arms: names, and the settings of their pre-trainings.
        steps: number of steps of pre-training.
        seeds: seeds of each training.
        untrained: whether to train `random` too, from random weights.
    """
    bases = [
        Training(f"{name}-base", PRETRAIN, (*KNOWN_WORDS, f"trainer.steps={steps}", *settings))
        for name, settings in arms.items()
    ]
    tuned = [Training(name, PAIRS, SICK, start=f"{name}-base") for name in arms]
    tuned += [Training("random", PAIRS, (*SICK, SHARED, *SHAPE))] if untrained else []
    return [Training("vocabulary", PRETRAIN, (*REVIEWS, "trainer.steps=1")), *seeded([*bases, *tuned], seeds)]


def common_words(rows: Sequence[Row]) -> dict[str, float]:
    """Score a prediction without a model: the number of common words of both sentences over that of all their words."""
    pairs = [[set(re.findall(r"\w+", row[side].lower())) for side in ("sentence_A", "sentence_B")] for row in rows]
    overlaps = np.array([len(first & second) / max(1, len(first | second)) for first, second in pairs])
    return number_scores(np.array([float(row["reference"]) for row in rows]), overlaps)
