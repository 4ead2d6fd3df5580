"""The choice of a model, a vocabulary and a length of training by the size of the data.

The settings of the smallest tier were measured on 29,000 pairs of image captions
(`recipes/translation/multi30k_en_de.yaml`). The vocabulary and the number of steps grow with the square root of the
number of pairs, so that a larger corpus is trained on for fewer epochs. There are three sizes of the model.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tformer_cli.config.schema import BadSample, Experiment
from tformer_cli.data.text.parallel import ParallelSplit, read_parallel
from tformer_cli.tasks.settings.text import Size, TranslationExperiment

COUNTED_PAIRS = 100_000
"""Number of pairs whose characters are counted."""


@dataclass(frozen=True)
class Tier:
    """Settings for up to some number of pairs.

    Attributes:
        pairs: upper bound of the number of pairs, exclusive.
        model: option of the group `model`.
        lr: peak learning rate.
        batch_tokens: tokens per batch.
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


def sizes(config: Experiment) -> bool:
    """Return whether settings are chosen by the size of the data."""
    return isinstance(config, TranslationExperiment) and config.size is Size.auto


def suggested(config: Experiment, overrides: Sequence[str] = ()) -> tuple[str, list[str]]:
    """Choose settings by the size of the data if the configuration has `size=auto`.

    Args:
        config: a configuration with a data location.
        overrides: settings of the command line, which are kept; warm-up and evaluations are adapted to given steps.

    Returns:
        A description of the size of the data, and settings in command line syntax; both are empty without `size=auto`.

    Raises:
        ConfigError: if the data's location or languages are impossible.
        DataError: if the training data cannot be read.
    """
    if not isinstance(config, TranslationExperiment) or config.size is not Size.auto:
        return "", []
    skip = config.trainer.on_bad_sample is BadSample.skip
    train = read_parallel(config.data, "train", seed=config.seed, skip=skip)
    overridden = {override.partition("=")[0].lstrip("+") for override in overrides}
    if config.tokenizer.path:
        overridden.add("tokenizer.vocab_size")
    steps = config.trainer.steps if "trainer.steps" in overridden else 0
    settings = _settings(train, steps, joint=config.tokenizer.joint)
    return f"{len(train):,} pairs", [f"{key}={value}" for key, value in settings.items() if key not in overridden]


def _settings(train: ParallelSplit, steps: int, *, joint: bool) -> dict[str, object]:
    """Return settings for the number of pairs, and for `steps`; 0: the number of pairs determines the steps too."""
    pairs = max(1, len(train))
    tier = next(tier for tier in TIERS if pairs < tier.pairs)
    steps = steps or min(MOST_STEPS, max(FEWEST_STEPS, 10 * round(STEPS_PER_ROOT * math.sqrt(pairs) / 10)))
    interval = max(1, steps // 10)
    return {
        "model": tier.model,
        "tokenizer.vocab_size": _pieces(train, joint),
        "data.batch_tokens": tier.batch_tokens,
        "optim.lr": tier.lr,
        "optim.warmup_steps": steps // 20,
        "trainer.steps": steps,
        "trainer.evaluate_every": interval,
        "trainer.checkpoint_every": interval,
    }


def _pieces(train: ParallelSplit, joint: bool) -> int:
    """Return a vocabulary size that covers all characters and is not too large for a small text."""
    characters: set[str] = set()
    for source, target in itertools.islice(train, COUNTED_PAIRS):
        characters.update(source, target)
    pieces = PIECES_PER_ROOT * math.sqrt(max(1, len(train))) * (1.0 if joint else 0.6)
    return min(MOST_PIECES, round(max(pieces, 1.2 * len(characters) + 4)))
