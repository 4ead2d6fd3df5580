"""Cross-entropy of a vocabulary head, computed in chunks of rows so that the complete logits are never stored.

The logits of a large vocabulary would be the largest tensor of a training step. Their gradient can be computed as soon
as they are known. The forward pass therefore computes the gradient of each chunk and then frees its logits.

Shapes: N rows (target positions), D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK_BYTES = 16 << 20  # size of a chunk of logits: it fits into caches, and products are fast
GPU_CHUNK_BYTES = 512 << 20
UNDERFLOW = -80.0  # log of a probability that float32 is about to round to zero


def _logits(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return h W^T + b in float32 (or float64)."""
    logits = h @ weight.T if bias is None else torch.addmm(bias, h, weight.T)
    return logits if logits.dtype is torch.float64 else logits.float()


class _HeadCrossEntropy(torch.autograd.Function):
    """The loss -(1 - e) log p(target) - e / V * sum_v log p(v) (Szegedy et al. 2016, eq. 3).

    Label smoothing needs no additional pass over the logits: their sum is h . sum_v W_v, and the constant e / V in the
    gradient of every logit contributes e / V * sum_v W_v to the gradient of h.
    """

    @staticmethod
    def forward(
        ctx, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float, rows: int
    ) -> tuple[Tensor, Tensor]:
        count, vocabulary = hidden.shape[0], weight.shape[0]
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        gradient_hidden = torch.empty_like(hidden) if need_hidden else None
        gradient_weight = torch.zeros_like(weight) if need_weight else None
        gradient_bias = torch.zeros_like(bias) if need_bias and bias is not None else None
        even = smoothing / vocabulary
        weight_sum = weight.float().sum(0)  # (D,)
        bias_sum = 0.0 if bias is None else bias.float().sum()
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        log_likelihood = torch.zeros_like(loss)
        for start in range(0, count, rows):
            h, target = hidden[start : start + rows], targets[start : start + rows, None]
            logits = _logits(h, weight, bias)
            picked = logits.gather(1, target)
            log_p = picked - logits.logsumexp(-1, keepdim=True) if logits.is_cuda else None
            probabilities = torch.softmax(logits, -1, out=logits)
            if log_p is None:  # saves a pass; the check for rare underflows would make a GPU wait
                log_p = probabilities.gather(1, target).log_()
                far = (log_p < UNDERFLOW).nonzero()[:, 0]
                if len(far):
                    log_p[far] = _logits(h[far], weight, bias).log_softmax(-1).gather(1, target[far])
            log_likelihood += log_p.sum()
            loss -= (1 - smoothing) * log_p.sum()
            if smoothing:
                log_total = picked - log_p
                loss -= even * ((h.float() @ weight_sum).sum() + h.shape[0] * bias_sum) - smoothing * log_total.sum()
            if gradient_hidden is None and gradient_weight is None and gradient_bias is None:
                continue
            gradient = probabilities.scatter_add_(1, target, torch.full_like(picked, smoothing - 1)).to(hidden.dtype)
            if gradient_bias is not None:
                gradient_bias += gradient.sum(0)
            if gradient_hidden is not None:
                torch.mm(gradient, weight, out=gradient_hidden[start : start + rows])
            if gradient_weight is not None:
                gradient_weight.addmm_(gradient.T, h)
        if smoothing and gradient_hidden is not None:
            gradient_hidden.sub_(even * weight_sum)
        if smoothing and gradient_weight is not None:
            gradient_weight.sub_(even * hidden.float().sum(0))
        if smoothing and gradient_bias is not None:
            gradient_bias.sub_(even * count)
        ctx.save_for_backward(gradient_hidden, gradient_weight, gradient_bias)
        ctx.mark_non_differentiable(log_likelihood)
        return loss, log_likelihood

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient_loss, _ = grad_outputs
        gradients = [g if g is None else g * gradient_loss.to(g.dtype) for g in ctx.saved_tensors]
        return (*gradients, None, None, None)


def head_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, bias: Tensor | None = None, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Compute the summed cross-entropy of `hidden @ weight.T + bias` against `targets` without storing all logits.

    Args:
        hidden: hidden states of the rows that have a target, without padding, (N, D), float.
        weight: output embedding, (V, D).
        targets: target tokens, (N,), int64.
        bias: bias of the logits, (V,) or None.
        label_smoothing: epsilon, spread evenly over the vocabulary (Szegedy et al. 2016; Vaswani et al. 2017,
            section 5.4).

    Returns:
        The sum of the smoothed losses (differentiable) and the sum of the targets' log-likelihoods; (), float32.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    budget = CHUNK_BYTES if hidden.device.type == "cpu" else GPU_CHUNK_BYTES
    rows = max(32, budget // (4 * weight.shape[0]))
    return _HeadCrossEntropy.apply(hidden, weight, bias, targets, label_smoothing, rows)
