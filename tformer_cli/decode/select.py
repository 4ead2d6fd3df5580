"""Exact selection of the best next tokens with few passes over the logits.

A decoding step computes B * R * V logits and needs few of them. The log-softmax is not stored: its normaliser is summed
in parts that fit the processor's cache, and the best tokens are selected from the blocks with the largest maxima, which
always contain them. All large buffers are allocated once, since first accesses to memory take longer than the products.

Shapes: B sentences, R rows (hypotheses) of each, N = B * R, V vocabulary, D model width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tformer_cli.errors import RunError
from tformer_cli.nn.int8 import Int8Linear

BLOCK = 16
"""Logits per block. Larger blocks have fewer maxima to rank and more logits to read again."""
CACHED_LOGITS = 1 << 18
"""Number of logits to exponentiate and sum at once: 1 MB, about the second-level cache of a core."""


def finite_scores(scores: Tensor) -> Tensor:
    """Return scores of a model.

    Raises:
        RunError: if they are not finite.
    """
    if not bool(scores.isfinite().all()):
        raise RunError("the model's scores are not finite numbers", "use an earlier checkpoint")
    return scores


class Head:
    """The output projection of a search.

    Call `project` first, then `log_probability` for given tokens, then `forbid`, then `highest` and `best`.

    Args:
        output: weights (V, D) and bias (V,) or None, or a quantised layer.
        rows: maximum number of rows N in a step.
        forbidden: tokens that are never chosen, (F,) int64. They keep their probabilities, so that the probabilities of
            other tokens do not change.
    """

    def __init__(self, output: tuple[Tensor, Tensor | None] | Int8Linear, rows: int, forbidden: Tensor) -> None:
        self.forbidden = forbidden
        self.quantized = output if isinstance(output, Int8Linear) else None
        self.weight, self.bias = (output.scale, output.bias) if isinstance(output, Int8Linear) else output
        self._allocate(rows, len(self.weight), self.weight)

    def _allocate(self, rows: int, vocab_size: int, weight: Tensor) -> None:
        """Allocate the buffers for logits of the type of the weights."""
        self.vocab_size = vocab_size
        self.block = max(1, min(BLOCK, self.vocab_size // 64))
        self.blocks = -(-self.vocab_size // self.block)
        # A block consists of every `blocks`-th logit: the maximum over the middle of (N, block, blocks) is vectorised.
        self._buffer = weight.new_empty(rows, self.block * self.blocks)
        self._buffer[:, self.vocab_size :] = -torch.inf
        self._part = max(1, min(rows, CACHED_LOGITS // self.vocab_size))
        self._scratch = torch.empty(self._part, self.vocab_size, dtype=torch.float32, device=weight.device)
        self._sums = torch.empty(rows, dtype=torch.float32, device=weight.device)

    def project(self, hidden: Tensor) -> None:
        """Compute the logits and normalisers of hidden states (B, R, D) for the other methods.

        Raises:
            RunError: if the logits are not finite.
        """
        self.sentences, self.rows = hidden.shape[:2]
        size = self.sentences * self.rows
        self._padded = self._buffer[:size]
        self.logits = self._padded[:, : self.vocab_size]
        self.scale = None
        self._compute_logits(hidden)
        self.normalizer = self._log_sum_exp()  # (N,)

    def _compute_logits(self, hidden: Tensor) -> None:
        """Write the logits of hidden states (B, R, D) into `logits`."""
        hidden = hidden.reshape(len(self.logits), -1)
        if self.quantized is not None and self.bias is None and self.vocab_size == self._buffer.shape[1]:
            logits, self.scale = self.quantized.product(hidden)  # scaling all logits would be another pass
            self._take(logits)
        elif self.quantized is not None:
            self.quantized.into(hidden, self.logits)
        elif has_library_product(hidden, self.weight):
            self._take(torch.ops.mkldnn._linear_pointwise(hidden, self.weight, self.bias, "none", [], ""))
        elif self.bias is None:
            torch.mm(hidden, self.weight.t(), out=self.logits)
        else:
            torch.addmm(self.bias, hidden, self.weight.t(), out=self.logits)

    def _take(self, logits: Tensor) -> None:
        """Use logits (N, V) in place of the buffer, or copy them to it if it is wider."""
        if self.vocab_size == self._buffer.shape[1]:
            self.logits = self._padded = logits
        else:
            self.logits.copy_(logits)

    def _log_sum_exp(self) -> Tensor:
        """Return log sum_v exp(logit_v) of each row, (N,) float32.

        The maximum is not subtracted, since that would be another pass: logits of trained models are below 80, and
        exp(80) fits in float32. If a sum leaves the safe range, `torch.logsumexp` is used.
        """
        sums = self._sums[: len(self.logits)]
        if self.logits.is_cuda:
            return finite_scores(torch.logsumexp(self.scaled().float(), dim=-1))
        for begin in range(0, len(sums), self._part):
            part = self.logits[begin : begin + self._part]
            scratch = self._scratch[: len(part)]
            if self.scale is not None:
                torch.mul(part, self.scale[begin : begin + self._part], out=scratch).exp_()
            elif part.dtype is torch.float32:
                torch.exp(part, out=scratch)
            else:
                scratch.copy_(part).exp_()
            torch.sum(scratch, dim=-1, out=sums[begin : begin + self._part])
        least, most = sums.aminmax()
        if float(least) > 1e-20 and float(most) < 1e30:
            return sums.log()
        return finite_scores(torch.logsumexp(self.scaled().float(), dim=-1))

    def add(self, scores: Tensor) -> None:
        """Add scores (B, R, V) to the log-probabilities of all tokens, for the methods called after this one."""
        logits = self._padded if self.scale is None else self._padded * self.scale
        self._padded, self.scale = logits.float(), None
        self.logits = self._padded[:, : self.vocab_size]
        self.logits += scores.reshape(self.logits.shape)

    def scaled(self) -> Tensor:
        """Return the logits, (N, V)."""
        return self.logits if self.scale is None else self.logits * self.scale

    def log_probability(self, tokens: Tensor) -> Tensor:
        """Return the log-probabilities of tokens (B, R) int64: (B, R) float32. Call it before `forbid`."""
        chosen = self.logits.gather(1, tokens.reshape(-1, 1))
        chosen = (chosen if self.scale is None else chosen * self.scale).squeeze(1)
        return (chosen.float() - self.normalizer).view(tokens.shape)

    def forbid(self) -> None:
        """Exclude the forbidden tokens from `highest`, `best` and sampling."""
        if len(self.forbidden):
            self.logits.index_fill_(1, self.forbidden, -torch.inf)

    def highest(self) -> Tensor:
        """Return the log-probability of the most probable token that is not forbidden, (B, R)."""
        highest = self.logits.amax(-1)
        highest = highest if self.scale is None else highest * self.scale.squeeze(1)
        return (highest.float() - self.normalizer).view(self.sentences, self.rows)

    def best(self, so_far: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the most probable extensions of each sentence's hypotheses by one token.

        Args:
            so_far: log-probabilities of the hypotheses, (B, R) float32; minus infinity: no hypothesis.
            count: number of extensions per sentence.

        Returns:
            Log-probabilities of the extended hypotheses, best first, the rows that they extend, and their last tokens,
            (B, count) each. If there are fewer extensions, the rest have minus infinity. The choice among equal values
            does not depend on other sentences of the batch.
        """
        offset = so_far - self.normalizer.view(so_far.shape)  # (B, R)
        maxima = self._padded.view(-1, self.block, self.blocks).amax(1)
        maxima = maxima if self.scale is None else maxima.mul_(self.scale)
        maxima = (maxima.view(self.sentences, self.rows, self.blocks) + offset[:, :, None]).flatten(1)
        chosen = largest(maxima, min(count, maxima.shape[1]))[1]  # (B, C): other blocks contain no better token
        row, column = chosen // self.blocks, chosen % self.blocks
        # flat indices in (B, R, block, blocks) of all members of the chosen blocks
        first = torch.arange(self.sentences, device=chosen.device)[:, None] * self.rows + row
        first = first * (self.block * self.blocks) + column
        members = first[:, :, None] + torch.arange(self.block, device=chosen.device) * self.blocks
        values = self._padded.view(-1)[members]  # (B, C, block)
        if self.scale is not None:
            values *= self.scale.view(offset.shape).gather(1, row)[:, :, None]
        values = values + offset.gather(1, row)[:, :, None]
        values, index = largest(values.flatten(1), min(count, chosen.shape[1] * self.block))
        block = index // self.block
        row, column = row.gather(1, block), column.gather(1, block)
        tokens = (column + index % self.block * self.blocks).clamp(max=self.vocab_size - 1)
        missing = count - values.shape[1]
        if missing > 0:
            values = F.pad(values, (0, missing), value=-torch.inf)
            row, tokens = F.pad(row, (0, missing)), F.pad(tokens, (0, missing))
        return values, row, self.ids(tokens)

    def ids(self, columns: Tensor) -> Tensor:
        """Return the tokens of columns of the logits, (B, C), int64."""
        return columns

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64, ascending."""


def has_library_product(a: Tensor, weight: Tensor) -> bool:
    """Return whether oneDNN multiplies float32 matrices on this device.

    On AMD processors with AVX-512 its products take less than half the time of `torch.mm`, which calls MKL.
    """
    in_float32 = a.dtype is weight.dtype is torch.float32
    return in_float32 and a.device.type == "cpu" and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest values of each row (N, C) and their columns, (N, count), best first.

    For a single value, as in greedy search, `torch.max` takes less time than `torch.topk`.
    """
    return values.max(1, keepdim=True) if count == 1 else values.topk(count)


def draw(logits: Tensor, uniform: Tensor, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Draw a token for each row by inverting the cumulative distribution function.

    The logits are divided by the temperature. Then only the `top_k` largest are kept (Fan et al. 2018), and of these
    only the smallest set of most probable tokens with a total probability of at least `top_p` (Holtzman et al. 2020).
    The most probable token is always kept.

    Args:
        logits: (N, V); tokens with minus infinity are never drawn.
        uniform: random numbers in [0, 1), (N,) float64.
        temperature: divisor of the logits, above 0.
        top_k: number of tokens to draw from; 0: all.
        top_p: probability to draw from, in [0, 1]; 1: all.

    Returns:
        Tokens, (N,) int64.
    """
    logits = logits.double() / temperature
    tokens = None
    if 0 < top_k < logits.shape[1]:
        logits, tokens = logits.topk(top_k)
    elif top_p < 1:
        logits, tokens = logits.sort(descending=True)
    probability = logits.softmax(-1)
    if top_p < 1:
        before = probability.cumsum(-1) - probability  # probability of all tokens that are more probable
        outside = before >= top_p
        outside[:, 0] = False
        probability = probability.masked_fill(outside, 0)
    reached = probability.cumsum(-1)
    # Scaled by the exact total, so that a number just below 1 does not exceed the last token of positive probability.
    thresholds = uniform[:, None] * reached[:, -1:]
    index = torch.searchsorted(reached, thresholds, right=True)
    last = (probability > 0).long().cumsum(-1).argmax(-1, keepdim=True)
    index = index.minimum(last).clamp(max=logits.shape[1] - 1)
    return (index if tokens is None else tokens.gather(1, index)).squeeze(1)
