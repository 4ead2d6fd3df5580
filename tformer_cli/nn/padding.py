"""Real positions of padded sequences."""

from __future__ import annotations

import torch
from torch import Tensor


def real_positions(lengths: Tensor, size: int) -> Tensor:
    """Return whether each position is real, not padding at the end.

    Args:
        lengths: number of real positions of each row, (B,), int64.
        size: number of positions, T.

    Returns:
        (B, T), bool, on the device of `lengths`.
    """
    return torch.arange(size, device=lengths.device) < lengths[:, None]
