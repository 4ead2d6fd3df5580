"""A head on an encoder of patches for masked patch prediction (Dosovitskiy et al. 2021, appendix B.1.2).

Shapes: B images; C channels; S height and width in pixels (they may differ); N patches; M predicted patches of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class MaskedPatchModel(nn.Module):
    """The encoder with a mask vector and a linear layer for the colours of masked patches.

    Args:
        encoder: an encoder of patches: `embed` gives each patch a vector, `transform` makes vectors of all, see `ViT`.
        outputs: number of outputs per patch.
    """

    encoder: Any

    def __init__(self, encoder: nn.Module, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = self.encoder.config
        self.mask = nn.Parameter(torch.zeros(self.encoder.width))
        self.output = nn.Linear(self.encoder.width, outputs)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, images: Tensor, hidden: Tensor, shuffled: Tensor | None, places: Tensor) -> Tensor:
        """Only the patches that are to be predicted go through the head.

        Args:
            images: (B, C, S, S), float32.
            hidden: patches that a learned vector stands for, (B, N), bool.
            shuffled: the patch of the same picture that stands in each place, (B, N), int64; None: its own.
            places: of the M patches to predict, in the flat (B * N), int64.

        Returns:
            (M, outputs).
        """
        patches = self.encoder.embed(images)
        if shuffled is not None:
            patches = patches.gather(1, shuffled[..., None].expand_as(patches))
        patches = torch.where(hidden[..., None], self.mask.to(patches.dtype), patches)
        tokens = self.encoder.transform(patches)[:, -patches.shape[1] :]
        return self.output(tokens.flatten(0, 1)[places])

    def fit(self, checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a checkpoint's weights at this model's resolution, see `ViT.fit`."""
        return self.encoder.fit(self, checkpoint)
