"""Random configurations of tformer and other libraries, and random weights for their models."""

from __future__ import annotations

import dataclasses
import random
import zlib
from enum import Enum
from typing import Any

import torch
from torch import nn

Choices = dict[str, list[Any]]
"""Values by the name of a setting."""


def generator(*names: object) -> random.Random:
    """Return a generator seeded by names, which is the same on every machine."""
    return random.Random(zlib.crc32(" ".join(map(str, names)).encode()))


def drawn(rng: random.Random, passing: Choices, refused: Choices, share: float) -> tuple[dict[str, Any], set[str]]:
    """Draw a value for each setting, and for a share of the draws a value that must be refused.

    Returns:
        The values, and the names of the settings that must be refused.
    """
    values = {name: rng.choice(options) for name, options in passing.items()}
    bad: set[str] = set()
    if refused and rng.random() < share:
        bad = {rng.choice(sorted(refused))}
        values |= {name: rng.choice(refused[name]) for name in bad}
    return values, bad


def other_values(field: dataclasses.Field) -> list[Any]:
    """Return values of a field of a configuration that are not its default."""
    default = field.default
    if isinstance(default, bool):
        return [not default]
    if isinstance(default, Enum):
        return [one for one in type(default) if one is not default]
    if isinstance(default, float):
        return [0.25, 0.004]
    if isinstance(default, int):
        return [default + 2, default * 2 or 4]
    return []


@torch.no_grad()
def randomise(model: nn.Module, rng: random.Random) -> nn.Module:
    """Give every parameter random values, so that a lost one is detected."""
    source = torch.Generator().manual_seed(rng.randrange(2**31))
    for name, value in model.state_dict().items():
        if value.is_floating_point() and "embed_positions" not in name:
            centre = 1.0 if value.dim() == 1 and "norm" in name.lower() and name.endswith("weight") else 0.0
            value.copy_(centre + 0.3 * torch.randn(value.shape, generator=source))
    return model.eval()
