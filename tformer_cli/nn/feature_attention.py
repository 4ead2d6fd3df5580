"""Self-attention on feature maps (Zhang et al. 2019, section 3).

    beta_ji = softmax_i(f(x_i)^T g(x_j)),   o_j = v(sum_i beta_ji h(x_i)),   y_j = gamma o_j + x_j       (eq. 1 to 3)

f, g, h and v are convolutions of size 1. As in the released code, keys f(x) and values h(x) are max-pooled 2 x 2, f and
g have C/8 channels and h has C/2. Scores are not scaled. gamma is a parameter that starts at 0: the layer starts as the
identity, and the network learns local structure first.

Pooling takes whole windows, as in the released code. The last row or column of an odd map therefore has queries, but no
key and no value.

Shapes: B images, C channels, h and w height and width of a feature map, N = h * w queries, M pooled cells.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.schema import AttentionKind
from tformer_cli.nn.taps import Tappable

POOLING = 2
"""Height and width of the cells that are pooled to a key and a value."""


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a convolution of size 1 without bias, initialised after Glorot and Bengio (2010)."""
    layer = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.xavier_uniform_(layer.weight)
    return layer


class FeatureMapAttention(Tappable):
    """Attention of each cell of a feature map to the pooled cells of the same map.

    Args:
        channels: channels C of the map.
        prepare: function that is applied to each of its convolutions, such as a normalisation of its weight.

    Attributes:
        gamma: factor of the attention, a scalar.
    """

    def __init__(self, channels: int, prepare: Callable[[nn.Conv2d], nn.Module] = lambda layer: layer) -> None:
        super().__init__()
        self.kind = AttentionKind.encoder
        inner, middle = max(1, channels // 8), max(1, channels // 2)
        self.query = prepare(_convolution(channels, inner))
        self.key = prepare(_convolution(channels, inner))
        self.value = prepare(_convolution(channels, middle))
        self.output = prepare(_convolution(middle, channels))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Add the attention to a feature map x, (B, C, h, w)."""
        q = self.query(x).flatten(2).mT  # (B, N, C/8)
        k = F.max_pool2d(self.key(x), POOLING).flatten(2)  # (B, C/8, M)
        v = F.max_pool2d(self.value(x), POOLING).flatten(2).mT  # (B, M, C/2)
        weights = torch.bmm(q, k).softmax(-1)
        outputs = torch.bmm(weights, v)  # (B, N, C/2)
        if self.taps:
            for kind, tensor in (("weights", weights), ("values", v), ("outputs", outputs)):
                self.record(kind, tensor[:, None])
        maps = outputs.mT.reshape(len(x), -1, *x.shape[2:])
        return x + self.gamma * self.output(maps)
