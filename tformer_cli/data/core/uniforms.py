"""Random numbers that have no state: a hash of what they are for."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
MULTIPLIERS = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def _scramble(words: Tensor) -> Tensor:
    """SplitMix64's output function, in int64, whose products wrap; the masks make its shifts logical."""
    words = (words ^ (words >> 30 & (1 << 34) - 1)) * MULTIPLIERS[0]
    words = (words ^ (words >> 27 & (1 << 37) - 1)) * MULTIPLIERS[1]
    return words ^ (words >> 31 & (1 << 33) - 1)


def sequences(seed: int, epoch: int, samples: Tensor, stream: int) -> Tensor:
    """Where each sample's sequence of numbers begins, (B,), int64."""
    digest = hashlib.blake2b(f"{seed} {epoch} {int(stream)}".encode(), digest_size=8).digest()
    return _scramble(samples * GOLDEN + int.from_bytes(digest, "little", signed=True))


def numbers(keys: Tensor, places: Tensor) -> Tensor:
    """Float32 in [0, 1), multiples of 2^-24: those at `places` (from 0) of the sequences that begin at `keys`."""
    return (_scramble(keys + (places + 1) * GOLDEN) >> 40 & (1 << 24) - 1).float() * 2.0**-24


def uniforms(seed: int, epoch: int, samples: Tensor, count: int, stream: int) -> Tensor:
    """Random numbers from (seed, epoch, sample, stream) and their place alone: SplitMix64 (Steele et al. 2014, sec. 4).

    Args:
        seed: of the run.
        epoch: from 0.
        samples: their numbers in the data, (B,), int64, on any device; the numbers are the same on each.
        count: how many for each sample; the first ones do not depend on it.
        stream: what they are for, see `Stream`.

    Returns:
        (B, count), float32 in [0, 1).
    """
    keys = sequences(seed, epoch, samples, stream)
    return numbers(keys[:, None], torch.arange(count, device=samples.device))
