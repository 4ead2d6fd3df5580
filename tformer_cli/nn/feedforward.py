"""Position-wise feed-forward layers, FFN(x) = f(x W_1 + b_1) W_2 + b_2 (Vaswani et al. 2017, section 3.3)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.schema import Activation
from tformer_cli.nn.dropout import Dropout

FUNCTIONS = {
    Activation.relu: F.relu,
    Activation.gelu: F.gelu,  # Hendrycks and Gimpel 2016
    Activation.gelu_tanh: partial(F.gelu, approximate="tanh"),  # its approximation, as in GPT-2
    Activation.swish: F.silu,  # Ramachandran et al. 2017
    Activation.glu: torch.sigmoid,  # Dauphin et al. 2017
    Activation.reglu: F.relu,  # the gated variants: Shazeer 2020
    Activation.geglu: F.gelu,
    Activation.swiglu: F.silu,
}
GATED = (Activation.glu, Activation.reglu, Activation.geglu, Activation.swiglu)


class FeedForward(nn.Module):
    """The feed-forward layer f(x W_1) W_2, or gated, (f(x W) * x V) W_2 (Shazeer 2020, eq. 5 and 6).

    Args:
        dim: width of input and output.
        ffn_dim: inner width. A gated layer has half as many parameters again.
        activation: function f.
        dropout: dropout rate of the inner activations.
        bias: whether the projections have a bias.
    """

    def __init__(self, dim: int, ffn_dim: int, activation: Activation, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.function, self.gated = FUNCTIONS[activation], activation in GATED
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
