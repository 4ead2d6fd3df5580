"""The logit lens: what a model would predict if each of its layers were the last (nostalgebraist 2020).

Shapes: L layers, T positions, D model width, V vocabulary, k predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Lens(NamedTuple):
    """The predictions of each layer.

    Attributes:
        top_tokens: ids of the most probable tokens, most probable first, (L, T, k), int64.
        top_probabilities: their probabilities, (L, T, k), float32.
        tokens: the token to follow through the layers at each position, (T,), int64.
        probabilities: probability of this token in each layer, (L, T), float32.
        ranks: rank of this token in each layer, (L, T), int64; 1: no token is more probable.
        divergences: KL divergence of each layer from the last, (L, T), float32, in nats; 0 in the last layer.
    """

    top_tokens: np.ndarray
    top_probabilities: np.ndarray
    tokens: np.ndarray
    probabilities: np.ndarray
    ranks: np.ndarray
    divergences: np.ndarray


@torch.no_grad()
def logit_lens(
    states: Tensor, logits: Callable[[Tensor], Tensor], *, top: int = 5, tokens: Tensor | None = None, chunk: int = 64
) -> Lens:
    """Return what each layer would predict at each position (nostalgebraist 2020, "interpreting GPT: the logit lens").

    Let h_l be the hidden state after layer l, and p_l = softmax(logits(h_l)). Then

        divergence_l = KL(p_L || p_l) = sum_v p_L(v) (ln p_L(v) - ln p_l(v)).

    The last layer gives the output of the model. The probabilities of the vocabulary are computed for `chunk` positions
    of one layer at a time, which needs memory for about 3 x chunk x V numbers.

    Args:
        states: hidden states after each layer, before the final normalisation, (L, T, D). The first may be the
            embedding.
        logits: the final normalisation and the output layer, (n, D) to (n, V).
        top: k, at most V.
        tokens: the token to follow at each position, such as the correct one, (T,), int64; None: the prediction of the
            last layer.
        chunk: number of positions at a time.
    """
    parts = []
    for start in range(0, states.shape[1], chunk):
        followed = None if tokens is None else tokens[start : start + chunk]
        parts.append(_lens_of(states[:, start : start + chunk], logits, top, followed))
    tops, top_values, ids, values, ranks, divergences = zip(*parts, strict=True)
    by_layer = [torch.cat(tensors, 1).cpu().numpy() for tensors in (tops, top_values, values, ranks, divergences)]
    return Lens(by_layer[0], by_layer[1], torch.cat(ids).cpu().numpy(), *by_layer[2:])


def _lens_of(
    states: Tensor, logits: Callable[[Tensor], Tensor], top: int, tokens: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the fields of the lens for the positions of a chunk, (L, n, ...); `tokens` is (n,)."""
    output = logits(states[-1]).float().log_softmax(-1)  # (n, V)
    ids = output.argmax(-1) if tokens is None else tokens.to(output.device)
    layers = []
    for state in states:
        logs = logits(state).float().log_softmax(-1)
        best = logs.topk(min(top, logs.shape[-1]), dim=-1)
        followed = logs.gather(-1, ids[:, None])  # (n, 1)
        ranks = 1 + (logs > followed).sum(-1)
        divergence = torch.nn.functional.kl_div(logs, output, log_target=True, reduction="none").sum(-1)
        layers.append((best.indices, best.values.exp(), followed[:, 0].exp(), ranks, divergence.clamp(min=0)))
    tops, top_values, values, ranks, divergences = (torch.stack(tensors) for tensors in zip(*layers, strict=True))
    return tops, top_values, ids, values, ranks, divergences
