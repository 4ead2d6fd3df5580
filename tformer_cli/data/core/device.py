"""Copies from the CPU to the device of a model."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on a device, without waiting until a GPU has done its earlier work."""
    return tensor.to(device, non_blocking=True)
