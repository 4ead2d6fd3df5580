"""Image classifiers: a head on the vector that any encoder computes for an image.

Shapes: B images, D width of the vector.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import ImageHeadConfig
from tformer_cli.models.encoder_head import EncoderWithHead
from tformer_cli.nn.dropout import Dropout

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal distribution that is truncated at -2 and 2."""


def lecun_normal(weight: Tensor) -> None:
    """Initialise weights (outputs, inputs) with a truncated normal distribution of variance 1 / inputs.

    The variance follows LeCun et al. 1998, the truncation follows JAX.
    """
    std = weight.shape[1] ** -0.5 / TRUNCATED_STD
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class ImageHead(nn.Module):
    """A linear layer initialised with zeros, optionally after a hidden layer with tanh (Dosovitskiy et al. 2021, 3.1).

    Args:
        dim: width D of the vector.
        head: settings of the head.
        outputs: number of outputs per image.
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
        """Return the outputs for vectors (B, D): (B, outputs)."""
        if self.hidden is not None:
            vector = torch.tanh(self.hidden(vector))
        return self.output(self.dropout(vector))


class ImageClassifier(EncoderWithHead):
    """An encoder of images and a head.

    Args:
        encoder: an encoder of images; `vector(images, pooling)` returns a vector of size `width` for each image.
        head: settings of the head, and whether the encoder is frozen.
        outputs: number of outputs per image.
    """

    def __init__(self, encoder: nn.Module, head: ImageHeadConfig, outputs: int) -> None:
        super().__init__(encoder, frozen=head.frozen)
        self.head = ImageHead(self.encoder.width, head, outputs)
        self.pooling = head.pooling

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of images (B, C, S, S), float32: (B, outputs)."""
        return self.head(self.encoder.vector(images, self.pooling))

    def fit(self, checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a checkpoint, adapted to the image size of this model if its encoder depends on it.

        Args:
            checkpoint: weights by name.

        Raises:
            RunError: if the weights do not fit the encoder (`ViT.fit`).
        """
        fit = getattr(self.encoder, "fit", None)
        return dict(checkpoint) if fit is None else fit(self, checkpoint)
