"""Cross-entropy of a vocabulary head, in chunks of rows that never build the whole logits.

The logits of a large vocabulary are the largest tensor of a training step. Their gradient is known as soon as they are, so
each chunk's gradient is formed in the forward pass and the logits are built once and dropped.

Shapes: N rows (target positions), D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK_BYTES = 8 << 20  # logits of one chunk: what stays in a CPU's second- and third-level cache
GPU_CHUNK_BYTES = 512 << 20


class _HeadCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float, rows: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        count, vocabulary = hidden.shape[0], weight.shape[0]
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        gradient_hidden = torch.empty_like(hidden) if need_hidden else None
        gradient_weight = torch.zeros_like(weight) if need_weight else None
        gradient_bias = torch.zeros_like(bias) if need_bias else None
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        log_likelihood, correct = torch.zeros_like(loss), torch.zeros_like(loss)
        for start in range(0, count, rows):
            h, target = hidden[start : start + rows], targets[start : start + rows]
            logits = (h @ weight.T if bias is None else torch.addmm(bias, h, weight.T)).float()
            highest = logits.amax(-1, keepdim=True)
            picked = logits.gather(1, target[:, None])[:, 0]
            correct += (picked == highest[:, 0]).sum()
            mean = logits.mean(-1) if smoothing else None
            probabilities = logits.sub_(highest).exp_()
            total = probabilities.sum(-1, keepdim=True)
            log_total = total.log()[:, 0] + highest[:, 0]
            log_likelihood += (picked - log_total).sum()
            # label smoothing: -(1 - e) log p(target) - e / V * sum_v log p(v)   (Szegedy et al. 2016, eq. 3)
            loss += (log_total - (1 - smoothing) * picked).sum()
            if mean is not None:
                loss -= smoothing * mean.sum()
            if not any(ctx.needs_input_grad):
                continue
            gradient = probabilities.div_(total)  # softmax; minus the smoothed target is the gradient of the logits
            if smoothing:
                gradient.sub_(smoothing / vocabulary)
            gradient.scatter_add_(1, target[:, None], gradient.new_full((target.shape[0], 1), smoothing - 1))
            if gradient_bias is not None:
                gradient_bias += gradient.sum(0)
            gradient = gradient.to(hidden.dtype)
            if gradient_hidden is not None:
                torch.mm(gradient, weight, out=gradient_hidden[start : start + rows])
            if gradient_weight is not None:
                gradient_weight.addmm_(gradient.T, h)
        ctx.save_for_backward(gradient_hidden, gradient_weight, gradient_bias)
        ctx.mark_non_differentiable(log_likelihood, correct)
        return loss, log_likelihood, correct

    @staticmethod
    def backward(ctx, gradient_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [g if g is None else g * gradient_loss.to(g.dtype) for g in ctx.saved_tensors]
        return (*gradients, None, None, None)


def head_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, bias: Tensor | None = None, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Summed cross-entropy of `hidden @ weight.T + bias` against `targets`, without ever holding all logits.

    Args:
        hidden: (N, D), float; only rows that have a target (drop padding first).
        weight: output embedding, (V, D).
        targets: (N,), int64.
        bias: (V,) or None.
        label_smoothing: epsilon, spread evenly over the vocabulary (Szegedy et al. 2016; Vaswani et al. 2017, section 5.4).

    Returns:
        The sum of the smoothed losses (differentiable, float32), the sum of the targets' log-likelihoods, and the number
        of rows whose most probable word is the target; all ().
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    budget = CHUNK_BYTES if hidden.device.type == "cpu" else GPU_CHUNK_BYTES
    rows = max(32, budget // (4 * weight.shape[0]))
    return _HeadCrossEntropy.apply(hidden, weight, bias, targets, label_smoothing, rows)
