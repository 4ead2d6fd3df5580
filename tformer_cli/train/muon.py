"""An optimiser that uses Muon for matrices and AdamW for other parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from tformer_cli.machine import exact_products

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients (a, b, c) of the quintic iteration X <- aX + b(XX^T)X + c(XX^T)^2 X (Jordan et al. 2024)."""
NEWTON_SCHULZ_STEPS = 5


class MuonAdamW(torch.optim.AdamW):
    """Fused AdamW, with Muon for groups that have `muon` set (Jordan et al. 2024).

    Muon orthogonalises the momentum by Newton-Schulz iterations.

    For a weight W of (rows, columns), gradient G, momentum M with decay mu and learning rate eta:

        M <- mu M + (1 - mu) G
        O <- NewtonSchulz((1 - mu) G + mu M)                              Nesterov; O is near U V^T of the SVD
        W <- W - eta (0.2 sqrt(max(rows, columns)) O + weight_decay W)    Liu et al. 2025, "Muon is scalable", eq. 4

    The weight of a convolution (output channels, input channels, height, width) is treated as a matrix (output
    channels, all other dimensions). The factor gives updates about the same size (root mean square) as those of AdamW,
    so that both kinds of groups share one learning rate. torch's implementation of Muon updates one matrix at a time,
    in bfloat16 (several times slower than float32 on a CPU without bfloat16 instructions), and supports neither
    `grad_scale` nor `found_inf`. This one updates all matrices of a shape at once.
    """

    grad_scale: Tensor
    """Divisor of the gradients, a scalar; it must be set before each step."""
    found_inf: Tensor
    """1.0 if a gradient is not finite, otherwise 0.0, a scalar; it must be set before each step."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step; `grad_scale` and `found_inf` have the same meaning as in the fused AdamW."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["muon"]]
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group["muon"]:
                self._muon(group)

    def _muon(self, group: dict) -> None:
        by_shape: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        for weight in group["params"]:
            if weight.grad is not None:
                shape = (len(weight), weight[0].numel())
                by_shape.setdefault(shape, []).append((weight, weight.grad))
        unchanged = self.found_inf.bool()
        for shape, pairs in by_shape.items():
            weights, raw_gradients = map(list, zip(*pairs, strict=True))
            momenta = [self.state[weight].setdefault("momentum", torch.zeros_like(weight)) for weight in weights]
            gradients = torch.stack([gradient.reshape(shape) for gradient in raw_gradients]) / self.grad_scale
            momentum = torch.stack([value.reshape(shape) for value in momenta])
            new = torch.lerp(gradients, momentum, group["momentum"])
            update = orthogonalized(torch.lerp(gradients, new, group["momentum"]))
            update *= -group["lr"] * 0.2 * max(shape) ** 0.5
            update.masked_fill_(unchanged, 0.0)
            decay = 1 - group["lr"] * group["weight_decay"] * (~unchanged).float()
            torch._foreach_copy_(momenta, _shaped(torch.where(unchanged, momentum, new), weights))
            torch._foreach_mul_(weights, decay)
            torch._foreach_add_(weights, _shaped(update, weights))


def _shaped(matrices: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """Return matrices (count, rows, columns) as tensors of the shapes of the weights."""
    return [matrix.view(weight.shape) for matrix, weight in zip(matrices.unbind(), weights, strict=True)]


def orthogonalized(matrices: Tensor) -> Tensor:
    """Return approximations of the nearest semi-orthogonal matrices, with singular values between 0.7 and 1.2.

    The quintic iteration multiplies X from the left by a polynomial of XX^T. All iterations are therefore computed on
    these small square matrices, and X itself is used in only two products. This is faster for wide matrices and
    slightly slower for square ones.

    A GPU computes in float32, not in TF32: the square matrices have the squares of the singular values, and rounding to
    TF32 would let small ones grow far beyond 1.2.

    Args:
        matrices: matrices, (count, rows, columns).
    """
    with exact_products():
        return _orthogonalized(matrices)


def _orthogonalized(matrices: Tensor) -> Tensor:
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    gram = x @ x.mT
    factor = product = _factor(gram)
    for _ in range(NEWTON_SCHULZ_STEPS - 1):
        gram = factor @ (factor @ gram)  # of the next X, since the factor is symmetric and commutes with it
        factor = _factor(gram)
        product = factor @ product
    x = product @ x
    return x.mT if tall else x


def _factor(gram: Tensor) -> Tensor:
    """Return the factor of one iteration, a + b XX^T + c (XX^T)^2, (count, rows, rows)."""
    a, b, c = NEWTON_SCHULZ
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor
