"""Random numbers without state: hashes of (seed, epoch, sample, stream, index)."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
MULTIPLIERS = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def _scramble(words: Tensor) -> Tensor:
    """Apply SplitMix64's output function to int64, whose products wrap; the masks make its shifts logical."""
    words = (words ^ (words >> 30 & (1 << 34) - 1)) * MULTIPLIERS[0]
    words = (words ^ (words >> 27 & (1 << 37) - 1)) * MULTIPLIERS[1]
    return words ^ (words >> 31 & (1 << 33) - 1)


def sequences(seed: int, epoch: int, samples: Tensor, stream: int) -> Tensor:
    """Return the state with which each sample's sequence of random numbers begins, (B,), int64."""
    digest = hashlib.blake2b(f"{seed} {epoch} {int(stream)}".encode(), digest_size=8).digest()
    return _scramble(samples * GOLDEN + int.from_bytes(digest, "little", signed=True))


def numbers(keys: Tensor, indices: Tensor) -> Tensor:
    """Return the random numbers at `indices` (from 0) of the sequences that begin at `keys`.

    They are float32 in [0, 1), multiples of 2^-24.
    """
    return (_scramble(keys + (indices + 1) * GOLDEN) >> 40 & (1 << 24) - 1).float() * 2.0**-24


def uniforms(seed: int, epoch: int, samples: Tensor, count: int, stream: int) -> Tensor:
    """Return random numbers that depend only on (seed, epoch, sample, stream) and their index.

    They are those of SplitMix64 (Steele et al. 2014, section 4), and the same on every device.

    Args:
        seed: seed of the run.
        epoch: counts from 0.
        samples: indices of the samples in the data, (B,), int64.
        count: number of random numbers for each sample; the first ones do not depend on it.
        stream: their purpose, see `Stream`.

    Returns:
        (B, count), float32 in [0, 1).
    """
    keys = sequences(seed, epoch, samples, stream)
    return numbers(keys[:, None], torch.arange(count, device=samples.device))


def normals(seed: int, epoch: int, samples: Tensor, count: int, stream: int) -> Tensor:
    """Return normally distributed random numbers, derived as `uniforms` are (Box and Muller 1958).

    Returns:
        (B, count), float32, with mean 0 and standard deviation 1.
    """
    drawn = uniforms(seed, epoch, samples, 2 * count, stream)
    radius = (-2 * torch.log1p(-drawn[:, ::2])).sqrt()
    return radius * torch.cos(2 * math.pi * drawn[:, 1::2])
