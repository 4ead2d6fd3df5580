"""The base class of models that add a head to an encoder, which may be frozen."""

from __future__ import annotations

from typing import Any, Self

from torch import nn


class EncoderWithHead(nn.Module):
    """An encoder of any kind, whose subclass adds a head.

    A frozen encoder stays in evaluation mode: neither its weights nor its normalisation statistics change, and it has
    no dropout.

    Args:
        encoder: the encoder.
        frozen: whether only the head is trained.
    """

    swaps_head = True
    encoder: Any

    def __init__(self, encoder: nn.Module, *, frozen: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = self.encoder.config
        self.frozen = frozen
        if frozen:
            self.encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set training mode as in torch, but not in a frozen encoder."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self
