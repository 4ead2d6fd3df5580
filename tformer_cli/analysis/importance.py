"""Importance of tokens, patches and pixels for a score of a model, by gradients and by occlusion.

A score is a function of a batch of inputs, (B, ...) to (B,), such as the logit of one label. The score of an example
must not depend on other examples of the batch, so put the model into evaluation mode. Token vectors have the shape
(T, D), pictures (C, height, width).

Shapes: B batch, T tokens, D width of a vector, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tformer_cli.data.core.batching import in_groups

Score = Callable[[Tensor], Tensor]
"""A score of each input of a batch, (B, ...) to (B,)."""


def _gradients(score: Score, inputs: Tensor) -> Tensor:
    """Return the gradient of the score of each input with respect to it, (B, ...).

    The gradients of cuDNN's recurrent layers need training mode; PyTorch's own implementation does not.
    """
    recurrent = inputs.dim() == 3  # (B, T, D); the convolutions of pictures are much faster with cuDNN
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext():
        inputs = inputs.detach().requires_grad_()
        (gradients,) = torch.autograd.grad(score(inputs).sum(), inputs)
    return gradients


def gradient_times_input(score: Score, inputs: Tensor) -> np.ndarray:
    """Return the gradient of the score times the input, x_i df/dx_i (Shrikumar et al. 2016).

    In a linear model it is the effect of each number on the score; in any other model it is a first-order
    approximation. The importance of a token is the sum over its vector.

    Args:
        score: see the module.
        inputs: one example, of any shape.

    Returns:
        The shape of `inputs`.
    """
    return (inputs * _gradients(score, inputs[None])[0]).detach().cpu().numpy()


class IntegratedGradients(NamedTuple):
    """Attributions of the difference between the scores of an input and of a baseline.

    Attributes:
        attributions: array in the shape of the input; it sums to `difference` + `error`.
        difference: score of the input minus score of the baseline.
        error: sum of the attributions minus `difference`; 0 for the exact integral (completeness).
        steps: number of points of the integral.
    """

    attributions: np.ndarray
    difference: float
    error: float
    steps: int


def integrated_gradients(
    score: Score,
    inputs: Tensor,
    baseline: Tensor,
    *,
    steps: int = 32,
    max_steps: int = 512,
    tolerance: float = 0.01,
    batch: int = 16,
) -> IntegratedGradients:
    """Return integrated gradients along the straight line from a baseline (Sundararajan et al. 2017, equation 1).

        (x_i - b_i) integral from 0 to 1 of df/dx_i at b + a (x - b) da

    The integral is a Gauss-Legendre sum. The attributions of the exact integral add up to f(x) - f(b) (completeness,
    proposition 1). The number of points is doubled until the deviation from this sum is small.

    Args:
        score: see the module.
        inputs: x, one example, of any shape.
        baseline: b, an input without information, such as padding or a grey picture, of the same shape.
        steps: number of points at first.
        max_steps: maximum number of points; its result is returned whatever the error.
        tolerance: maximum error, as a share of the difference.
        batch: number of points that are computed at once.
    """
    with torch.no_grad():
        ends = score(torch.stack((baseline, inputs))).cpu().double()
    difference = float(ends[1] - ends[0])
    while True:
        attributions = _integral(score, inputs, baseline, steps, batch)
        error = float(attributions.sum()) - difference
        if abs(error) <= tolerance * abs(difference) or 2 * steps > max_steps:
            return IntegratedGradients(attributions.cpu().numpy(), difference, error, steps)
        steps *= 2


def _integral(score: Score, inputs: Tensor, baseline: Tensor, steps: int, batch: int) -> Tensor:
    """Return the Gauss-Legendre sum over `steps` points, float64, in the shape of the input."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on -1 to 1
    change = (inputs - baseline).detach()
    total = torch.zeros(inputs.shape, dtype=torch.float64, device="cpu")
    for indices in in_groups(range(steps), batch):
        shares = torch.tensor((nodes[indices] + 1) / 2, dtype=inputs.dtype, device=inputs.device)
        points = baseline + shares.view(-1, *[1] * inputs.dim()) * change
        gradients = _gradients(score, points).cpu().double()
        total += torch.tensordot(torch.from_numpy(weights[indices] / 2), gradients, dims=1)
    return total * change.cpu().double()


@torch.no_grad()
def _scores(score: Score, inputs: Iterable[Tensor], batch: int) -> Iterator[float]:
    """Yield the score of each input, computed in batches of bounded size."""
    for group in in_groups(inputs, batch):
        yield from score(torch.stack(group)).cpu().double().tolist()


def occlusion(score: Score, inputs: Tensor, replacement: Tensor | float, *, batch: int = 32) -> np.ndarray:
    """Return the drop of the score when each token is replaced, f(x) - f(x without token t).

    Li et al. (2016, "Understanding neural networks through representation erasure") erase words and dimensions in this
    way.

    Args:
        score: see the module.
        inputs: token ids, (T,), or vectors, (T, D).
        replacement: id or vector (D,) without information, such as that of [MASK] or padding; or one for each token,
            (T,) or (T, D).
        batch: number of inputs that are computed at once.

    Returns:
        (T,), in the unit of the score; negative if the token lowers the score.
    """

    def variants() -> Iterator[Tensor]:
        yield inputs
        for token in range(len(inputs)):
            variant = inputs.clone()
            if isinstance(replacement, Tensor) and replacement.dim() == inputs.dim():
                variant[token] = replacement[token]
            else:
                variant[token] = replacement
            yield variant

    original, *others = _scores(score, variants(), batch)
    return original - np.array(others)


class OcclusionMap(NamedTuple):
    """The drops of a picture's score when a square hides a part of it.

    Attributes:
        drops: f(x) - f(x with the square), (rows, columns) of positions of the square.
        tops: upper edge of the squares of each row, in pixels.
        lefts: left edge of the squares of each column, in pixels.
        pixels: mean drop over the squares that hide each pixel, (height, width); nan where none does.
    """

    drops: np.ndarray
    tops: list[int]
    lefts: list[int]
    pixels: np.ndarray


def occlusion_map(
    score: Score,
    image: Tensor,
    size: int,
    *,
    stride: int | None = None,
    fill: Tensor | float = 0.0,
    batch: int = 32,
) -> OcclusionMap:
    """Move a grey square over a picture, and return the drops of the score (Zeiler and Fergus 2014, section 4.2).

    Args:
        score: see the module.
        image: (C, height, width).
        size: side of the square in pixels, usually that of a patch or a multiple.
        stride: pixels between two positions; None: squares lie side by side. The last squares touch the edge.
        fill: value of the square, a number or (C,); 0 is the mean of normalised pictures.
        batch: number of pictures that are computed at once.
    """
    height, width = image.shape[-2:]
    tops, lefts = (_starts(length, size, stride or size) for length in (height, width))
    colour = torch.as_tensor(fill, dtype=image.dtype, device=image.device).reshape(-1, 1, 1)

    def variants() -> Iterator[Tensor]:
        yield image
        for top in tops:
            for left in lefts:
                variant = image.clone()
                variant[:, top : top + size, left : left + size] = colour
                yield variant

    original, *others = _scores(score, variants(), batch)
    drops = (original - np.array(others)).reshape(len(tops), len(lefts))
    return OcclusionMap(drops, tops, lefts, _by_pixel(drops, tops, lefts, size, (height, width)))


def _starts(length: int, size: int, stride: int) -> list[int]:
    """Return the starts of squares along an edge: 0, stride, ..., and the last that fits."""
    last = max(length - size, 0)
    return [*range(0, last, stride), last]


def _by_pixel(
    drops: np.ndarray, tops: Sequence[int], lefts: Sequence[int], size: int, shape: tuple[int, int]
) -> np.ndarray:
    """Return the mean drop over the squares that cover each pixel; nan where there is none."""
    sums, counts = np.zeros(shape), np.zeros(shape)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            window = np.s_[top : top + size, left : left + size]
            sums[window] += drops[row, column]
            counts[window] += 1
    return np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)
