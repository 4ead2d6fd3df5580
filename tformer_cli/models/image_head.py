"""What classifies pictures: the vector of a whole picture, made by any encoder, to scores of labels.

Shapes: B pictures, D width of the vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import ImageHeadConfig
from tformer_cli.nn.dropout import Dropout

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a normal distribution of 1 that is cut off at -2 and 2."""


def lecun_normal(weight: Tensor) -> None:
    """Truncated normal of variance 1 / inputs (LeCun et al. 1998, as in JAX), for weights (outputs, inputs)."""
    std = weight.shape[1] ** -0.5 / TRUNCATED_STD
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class ImageHead(nn.Module):
    """A linear layer that starts at zero, after a hidden one with tanh if asked (Dosovitskiy et al. 2021, section 3.1).

    Args:
        dim: D.
        head: its shape.
        outputs: numbers a picture gets.
    """

    def __init__(self, dim: int, head: ImageHeadConfig, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim) if head.hidden else None
        self.dropout = Dropout(head.dropout)
        self.output = nn.Linear(dim, outputs)
        if self.hidden is not None:
            lecun_normal(self.hidden.weight)
            nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, vector: Tensor) -> Tensor:
        """(B, D) to (B, outputs)."""
        if self.hidden is not None:
            vector = torch.tanh(self.hidden(vector))
        return self.output(self.dropout(vector))


class ImageClassifier(nn.Module):
    """An encoder of pictures and a head. Of a frozen encoder nothing moves, statistics of its normalisations included.

    Args:
        encoder: an encoder of pictures: `vector(images, pooling)` gives each picture a vector of its `width`.
        head: pooling and shape of the head, and whether the encoder is trained too.
        outputs: number of outputs per image.
    """

    swaps_head = True
    encoder: Any

    def __init__(self, encoder: nn.Module, head: ImageHeadConfig, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = self.encoder.config
        self.head = ImageHead(self.encoder.width, head, outputs)
        self.pooling, self.frozen = head.pooling, head.frozen
        if self.frozen:
            self.encoder.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores: (B, C, S, S), float32, to (B, outputs)."""
        return self.head(self.encoder.vector(images, self.pooling))

    def fit(self, checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a checkpoint's weights for pictures of this model's size, if its encoder depends on the size.

        Args:
            checkpoint: weights by name.

        Raises:
            RunError: if they are not weights of such an encoder.
        """
        fit = getattr(self.encoder, "fit", None)
        return dict(checkpoint) if fit is None else fit(self, checkpoint)

    def train(self, mode: bool = True) -> ImageClassifier:
        """As in torch, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self
