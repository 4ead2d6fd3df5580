"""Position-wise feed-forward layers, FFN(x) = f(x W_1 + b_1) W_2 + b_2 (Vaswani et al. 2017, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.schema import Activation
from tformer_cli.nn.dropout import Dropout


class TrainedSwish(nn.Module):
    """Swish with a trained factor, f(x) = x sigmoid(beta x) with one beta for a layer (Ramachandran et al. 2017).

    It is swish at the start, beta = 1; x / 2 with beta = 0; and relu in the limit of a large beta.
    """

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element of x."""
        return x * torch.sigmoid(self.beta.to(x.dtype) * x)


FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.relu: F.relu,
    Activation.gelu: F.gelu,  # Hendrycks and Gimpel 2016
    Activation.gelu_tanh: partial(F.gelu, approximate="tanh"),  # its approximation, as in GPT-2
    Activation.swish: F.silu,
    Activation.glu: torch.sigmoid,  # Dauphin et al. 2017
    Activation.reglu: F.relu,  # the gated variants: Shazeer 2020
    Activation.geglu: F.gelu,
    Activation.swiglu: F.silu,
}
"""The activation functions without parameters; in a gated layer the function is applied to the gate."""
GATED = (Activation.glu, Activation.reglu, Activation.geglu, Activation.swiglu)


def activation_function(activation: Activation) -> Callable[[Tensor], Tensor]:
    """Return the function of an activation; one with a parameter is a new module."""
    return TrainedSwish() if activation is Activation.swish_beta else FUNCTIONS[activation]


class FeedForward(nn.Module):
    """The feed-forward layer f(x W_1) W_2, or gated, (f(x W) * x V) W_2 (Shazeer 2020, eq. 5 and 6).

    Args:
        dim: width of input and output.
        ffn_dim: inner width. At the same width a gated layer has 1.5 times as many parameters.
        activation: function f.
        dropout: dropout rate of the inner activations.
        bias: whether the projections have a bias.
    """

    def __init__(self, dim: int, ffn_dim: int, activation: Activation, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.function, self.gated = activation_function(activation), activation in GATED
        self.project_in = nn.Linear(dim, 2 * ffn_dim if self.gated else ffn_dim, bias=bias)
        self.project_out = nn.Linear(ffn_dim, dim, bias=bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to x, (..., D)."""
        x = self.project_in(x)
        if self.gated:
            gate, x = x.chunk(2, dim=-1)
            x = self.function(gate) * x
        else:
            x = self.function(x)
        return self.project_out(self.dropout(x))
