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


def _less(gradient: Tensor, summand: Tensor) -> Tensor:
    """Return gradient - summand, in the gradient's type, for a summand in float32.

    Half-precision gradients are converted first, with the same result: torch does not use vector instructions to
    subtract different types on a CPU.
    """
    if gradient.element_size() >= 4:
        return gradient.sub_(summand)
    return (gradient.float() - summand).to(gradient.dtype)


def _new_gradients(
    ctx, hidden: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return memory for the gradients of hidden states, weight and bias; None where none is needed."""
    need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
    return (
        torch.empty_like(hidden) if need_hidden else None,
        torch.zeros_like(weight) if need_weight else None,
        torch.zeros_like(bias) if need_bias and bias is not None else None,
    )


def _accumulate(
    gradient_weight: Tensor | None, gradient_bias: Tensor | None, logit_gradient: Tensor, h: Tensor
) -> None:
    """Add the gradients of weight and bias, given the gradient of the logits, (n, V), and hidden states, (n, D)."""
    if gradient_bias is not None:
        gradient_bias += logit_gradient.sum(0)
    if gradient_weight is not None:
        gradient_weight.addmm_(logit_gradient.T, h)


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
        gradient_hidden, gradient_weight, gradient_bias = _new_gradients(ctx, hidden, weight, bias)
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
            _accumulate(gradient_weight, gradient_bias, gradient, h)
            if gradient_hidden is not None:
                torch.mm(gradient, weight, out=gradient_hidden[start : start + rows])
        if smoothing and gradient_hidden is not None:
            gradient_hidden = _less(gradient_hidden, even * weight_sum)
        if smoothing and gradient_weight is not None:
            gradient_weight = _less(gradient_weight, even * hidden.float().sum(0))
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


class _PairedHeadLoss(torch.autograd.Function):
    """The losses of two passes over the same targets, and the divergence of their distributions p and q.

        L = CE(p) + CE(q) + w J,    J = KL(p || q) + KL(q || p)

    With d = log p - log q, the gradient of J is p (d - KL(p || q)) + p - q with respect to the logits of the first
    pass, and q (-d - KL(q || p)) + q - p with respect to the logits of the second.
    """

    @staticmethod
    def forward(
        ctx, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float, w: float, rows: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        gradient_hidden, gradient_weight, gradient_bias = _new_gradients(ctx, hidden, weight, bias)
        even = smoothing / weight.shape[0]
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        log_likelihood, divergence = torch.zeros_like(loss), torch.zeros_like(loss)
        for start in range(0, hidden.shape[1], rows):
            h = hidden[:, start : start + rows]  # (2, n, D)
            target = targets[start : start + rows].expand(2, -1)[..., None]
            log_p = _logits(h.flatten(0, 1), weight, bias).log_softmax(-1).unflatten(0, (2, -1))  # (2, n, V)
            p = log_p.exp()
            picked = log_p.gather(-1, target)
            log_likelihood += picked.sum()
            loss -= (1 - smoothing) * picked.sum()
            if smoothing:
                loss -= even * log_p.sum()
            d = log_p[0] - log_p[1]
            kl = torch.stack((torch.linalg.vecdot(p[0], d), -torch.linalg.vecdot(p[1], d)))  # (2, n)
            divergence += kl.sum()
            if gradient_hidden is None and gradient_weight is None and gradient_bias is None:
                continue
            change = (p[0] - p[1]).mul_(w)
            d = d.mul_(w)
            gradient = torch.stack((d - w * kl[0, :, None], -d - w * kl[1, :, None])).add_(1).mul_(p)  # p (1 + ...)
            gradient[0].add_(change)
            gradient[1].sub_(change)
            if smoothing:
                gradient.sub_(even)
            gradient.scatter_add_(-1, target, torch.full_like(picked, smoothing - 1))
            logit_gradient = gradient.flatten(0, 1).to(hidden.dtype)
            _accumulate(gradient_weight, gradient_bias, logit_gradient, h.flatten(0, 1))
            if gradient_hidden is not None:
                gradient_hidden[:, start : start + rows] = (logit_gradient @ weight).unflatten(0, (2, -1))
        loss += w * divergence
        ctx.save_for_backward(gradient_hidden, gradient_weight, gradient_bias)
        ctx.mark_non_differentiable(log_likelihood, divergence)
        return loss, log_likelihood, divergence

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [g if g is None else g * grad_outputs[0].to(g.dtype) for g in ctx.saved_tensors]
        return (*gradients, None, None, None, None)


def paired_head_loss(
    first: Tensor,
    second: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    label_smoothing: float = 0.0,
    divergence_weight: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the cross-entropies of two passes, and the weighted divergence of their distributions, in chunks.

        CE(p) + CE(q) + w (KL(p || q) + KL(q || p))

    Args:
        first: hidden states of the rows that have a target, (N, D), float; their distributions are p.
        second: hidden states of the same rows in the second pass, (N, D); their distributions are q.
        weight: output embedding, (V, D).
        targets: target tokens, (N,), int64.
        bias: bias of the logits, (V,) or None.
        label_smoothing: see `head_cross_entropy`.
        divergence_weight: w.

    Returns:
        The sum over rows (differentiable, also through both sides of the divergence), the sum of the targets'
        log-likelihoods in both passes, and the sum of KL(p || q) + KL(q || p); (), float32.
    """
    hidden, weight, bias = _autocast(torch.stack((first, second)), weight, bias)
    rows = chunk_rows(hidden.device, 8 * weight.shape[0])  # log p, p and gradients of both passes, d and p - q
    return _PairedHeadLoss.apply(hidden, weight, bias, targets, label_smoothing, divergence_weight, rows)


def _autocast(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return hidden states, weights and bias in the type of autocast, if it is enabled."""
    if not torch.is_autocast_enabled(hidden.device.type):
        return hidden, weight, bias
    dtype = torch.get_autocast_dtype(hidden.device.type)
    return hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def chunk_rows(device: torch.device, columns: int) -> int:
    """Return the number of rows of a chunk of logits, each of `columns` float32 numbers."""
    budget = CHUNK_BYTES if device.type == "cpu" else GPU_CHUNK_BYTES
    return max(32, budget // (4 * columns))


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
    hidden, weight, bias = _autocast(hidden, weight, bias)
    rows = chunk_rows(hidden.device, weight.shape[0])
    return _HeadCrossEntropy.apply(hidden, weight, bias, targets, label_smoothing, rows)
