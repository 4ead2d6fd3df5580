"""A model, a vocabulary and a length of training that suit the size of the data.

What is known is the smallest tier: on 29,000 pairs of image captions its settings were measured
(`recipes/translation/multi30k_en_de.yaml`). From there the vocabulary and the number of steps grow with the square root
of the number of pairs, so that a larger collection is seen in fewer passes, and the model grows in two steps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tformer_cli.config.schema import BadSample, Experiment, Size, TranslationExperiment
from tformer_cli.data.source import ParallelSplit, read_parallel

SEEN = 100_000
"""Pairs whose characters are counted."""


@dataclass(frozen=True)
class Tier:
    """Settings up to some number of pairs.

    Attributes:
        pairs: fewer than these.
        model: option of the group `model`.
        lr: peak learning rate.
        batch_tokens: in a batch.
    """

    pairs: float
    model: str
    lr: float
    batch_tokens: int


TIERS = (
    Tier(100_000, "transformer_tiny", 0.004, 2048),
    Tier(1_000_000, "transformer_small", 0.003, 4096),
    Tier(math.inf, "transformer_base", 0.002, 8192),
)
STEPS_PER_ROOT, FEWEST_STEPS, MOST_STEPS = 53, 1_000, 100_000
PIECES_PER_ROOT, MOST_PIECES = 35, 32_000


def suggested(config: Experiment, overrides: Sequence[str] = ()) -> tuple[str, list[str]]:
    """Settings that suit the data, where the configuration leaves that open (`size=auto`).

    Args:
        config: with a location of data.
        overrides: settings of the command line, which are kept; the warm-up and the evaluations follow given steps.

    Returns:
        The size of the data, for the reader, and settings as they are written on the command line; "" and none if the
        configuration says all.

    Raises:
        ConfigError: if the data's location or languages are impossible.
        DataError: if the training data cannot be read.
    """
    if not isinstance(config, TranslationExperiment) or config.size is not Size.auto:
        return "", []
    skip = config.trainer.on_bad_sample is BadSample.skip
    train = read_parallel(config.data, "train", seed=config.seed, skip=skip)
    given = {override.partition("=")[0].lstrip("+") for override in overrides}
    if config.tokenizer.path:
        given.add("tokenizer.vocab_size")
    steps = config.trainer.steps if "trainer.steps" in given else 0
    settings = _settings(train, steps, joint=config.tokenizer.joint)
    return f"{len(train):,} pairs", [f"{key}={value}" for key, value in settings.items() if key not in given]


def _settings(train: ParallelSplit, steps: int, *, joint: bool) -> dict[str, object]:
    """Settings by the number of pairs, for so many steps; 0: as many as suit."""
    pairs = max(1, len(train))
    tier = next(tier for tier in TIERS if pairs < tier.pairs)
    steps = steps or min(MOST_STEPS, max(FEWEST_STEPS, 10 * round(STEPS_PER_ROOT * math.sqrt(pairs) / 10)))
    every = max(1, steps // 10)
    return {
        "model": tier.model,
        "tokenizer.vocab_size": _pieces(train, joint),
        "data.batch_tokens": tier.batch_tokens,
        "optim.lr": tier.lr,
        "optim.warmup_steps": steps // 20,
        "trainer.steps": steps,
        "trainer.evaluate_every": every,
        "trainer.checkpoint_every": every,
    }


def _pieces(train: ParallelSplit, joint: bool) -> int:
    """A vocabulary that holds all characters, and no more pieces than a small text has."""
    characters: set[str] = set()
    for source, target in itertools.islice(train, SEEN):
        characters.update(source, target)
    pieces = PIECES_PER_ROOT * math.sqrt(max(1, len(train))) * (1.0 if joint else 0.6)
    return min(MOST_PIECES, round(max(pieces, 1.2 * len(characters) + 4)))
