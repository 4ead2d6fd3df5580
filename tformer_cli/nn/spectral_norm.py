"""Spectral normalisation: weights are divided by an estimate of their largest singular value (Miyato et al. 2018).

    W_SN = W / sigma(W),   sigma(W) = u^T W v                                        (eq. 8; algorithm 1)
    v <- W^T u / ||W^T u||,   u <- W v / ||W v||

The vectors u and v are buffers, which `iterate_spectral_norms` updates. `torch.nn.utils.parametrizations.spectral_norm`
instead updates them at each access of the weight in training mode. A step's result would then depend on the number of
its forward passes.

Shapes: O outputs, I inputs times the size of the kernel.
"""

from __future__ import annotations

from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

INITIAL_ITERATIONS = 15
"""Power iterations for weights that were set by no step of training, so that the first estimate is close."""

L = TypeVar("L", bound=nn.Module)


class SpectralNorm(nn.Module):
    """The division of a weight by the estimate u^T W v of its largest singular value.

    Args:
        weight: (O, ...); dimensions after the first are joined.
    """

    left: Tensor
    """The vector u, (O,)."""
    right: Tensor
    """The vector v, (I,)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", F.normalize(torch.randn(len(matrix)), dim=0))
        self.register_buffer("right", F.normalize(torch.randn(matrix.shape[1]), dim=0))
        self.iterate(weight, INITIAL_ITERATIONS)

    @torch.no_grad()
    def iterate(self, weight: Tensor, iterations: int = 1) -> None:
        """Update the vectors by power iteration."""
        matrix = weight.flatten(1)
        for _ in range(iterations):
            self.right.copy_(F.normalize(matrix.mT @ self.left, dim=0))
            self.left.copy_(F.normalize(matrix @ self.right, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the normalised weight; gradients also flow through the estimate."""
        # Elementwise, since autocast would compute a product of matrices in bfloat16.
        return weight / (self.left[:, None] * weight.flatten(1) * self.right).sum()


def spectrally_normalised(layer: L) -> L:
    """Replace the `weight` of a linear layer, convolution or embedding by the normalised weight; return the layer."""
    parametrize.register_parametrization(layer, "weight", SpectralNorm(cast(Tensor, layer.weight)))
    return layer


def iterate_spectral_norms(model: nn.Module, iterations: int = 1) -> None:
    """Update the vectors of all normalised weights of a model; call it once per step, before the forward pass."""
    for module in model.modules():
        if isinstance(module, parametrize.ParametrizationList):
            for norm in module:
                if isinstance(norm, SpectralNorm):
                    norm.iterate(module.original, iterations)


def spectral_vectors(model: nn.Module) -> dict[str, Tensor]:
    """Return the vectors of all normalised weights of a model by their names in its state; they are not copied."""
    return {
        f"{prefix}.{name}": vector
        for prefix, module in model.named_modules()
        if isinstance(module, SpectralNorm)
        for name, vector in module.named_buffers()
    }
