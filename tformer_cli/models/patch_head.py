"""A head on an encoder of patches for masked patch prediction (Dosovitskiy et al. 2021, appendix B.1.2).

Shapes: B images; C channels; S height and width in pixels (they may differ); N patches; M predicted patches of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class MaskedPatchModel(nn.Module):
    """The encoder with a head for masked patch prediction (Dosovitskiy et al. 2021, appendix B.1.2).

    Args:
        encoder: an encoder of patches, such as `ViT`: `embed` returns a vector for each patch, and `transform` encodes
            the vectors.
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

    def forward(self, images: Tensor, masked: Tensor, sources: Tensor | None, indices: Tensor) -> Tensor:
        """Return the outputs for the patches to predict.

        Args:
            images: (B, C, S, S), float32.
            masked: whether the learned mask embedding replaces a patch, (B, N), bool.
            sources: index of the patch of the same image to use at each position, (B, N), int64; None: its own.
            indices: indices of the M patches to predict among all B * N patches, int64.

        Returns:
            (M, outputs).
        """
        patches = self.encoder.embed(images)
        if sources is not None:
            patches = patches.gather(1, sources[..., None].expand_as(patches))
        patches = torch.where(masked[..., None], self.mask.to(patches.dtype), patches)
        tokens = self.encoder.transform(patches)[:, -patches.shape[1] :]
        return self.output(tokens.flatten(0, 1)[indices])

    def fit(self, checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a checkpoint at the resolution of this model; see `ViT.fit`."""
        return self.encoder.fit(self, checkpoint)
