"""CTC as a scorer of beam search: joint CTC/attention decoding (Hori et al. 2017; Watanabe et al. 2017, section IV-C).

Let psi(g) be the probability of all alignments with an output that starts with the prefix g. Let gamma_n(g, t) and
gamma_b(g, t) be the probabilities that the output of the first t frames is exactly g and that their alignment ends in
the last token of g or in a blank, respectively. Then

    phi(g, c, t) = gamma_b(g, t) + (0 if g ends in c, else gamma_n(g, t))
    psi(g c) = sum_t phi(g, c, t - 1) p(c | t)
    gamma_n(g c, t) = (gamma_n(g c, t - 1) + phi(g, c, t - 1)) p(c | t)
    gamma_b(g, t) = (gamma_b(g, t - 1) + gamma_n(g, t - 1)) p(blank | t)

One matrix product computes psi of all next tokens, so that the search covers the complete vocabulary without a
preselection. The recursions over t are computed only for the hypotheses that are kept. They are linear, so that a
cumulative sum solves them: y(t) = (y(t - 1) + x(t - 1)) a(t) is y(t) = A(t) * sum_{s <= t} x(s - 1) / A(s - 1) with
A(t) = a(1) ... a(t). They are computed as logarithms in float64, which neither underflow nor overflow.

Shapes: B utterances, R hypotheses of each, T frames, V vocabulary with the blank.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_LOG_PROB = -1e4
"""Lower bound of logarithms that are subtracted, in place of minus infinity."""


class CTCPrefix:
    """A scorer of beam search by CTC.

    The score of a token c is log psi(g c) - log psi(g). The score of </s> is log p(g) - log psi(g), so that the scores
    of an output add up to its log-probability.

    Args:
        log_probs: natural logarithms, (B, T, V).
        lengths: number of frames of each utterance, (B,) int64.
        eos_id: id of </s>.
        blank: id of the blank.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, *, eos_id: int, blank: int = 0) -> None:
        if log_probs.shape[1] == 0:  # one frame of padding, since the products need at least one
            log_probs = torch.nn.functional.pad(log_probs, (0, 0, 0, 1))
        batch, frames, _ = log_probs.shape
        self.eos_id, self.blank = eos_id, blank
        number = torch.arange(frames, device=log_probs.device)
        padding = (number >= lengths.to(log_probs.device)[:, None])[:, :, None]
        # In padding the blank has probability 1, so that outputs do not change.
        self.log_probs = log_probs.masked_fill(padding, -torch.inf)
        self.log_probs[:, :, blank].masked_fill_(padding[:, :, 0], 0.0)
        self.probs = self.log_probs.exp()
        self.probs[:, :, blank] = 0.0  # not a token
        self.valid = ~padding[:, None, :, 0]  # (B, 1, T)
        self.blanks = _cumulative(self.log_probs[:, None, :, blank])  # (B, 1, T + 1)
        self.after_blank = self.blanks.clone()  # gamma_b of the empty prefix, (B, R, T + 1)
        self.after_token = torch.full_like(self.blanks, -torch.inf)  # gamma_n
        self.last = torch.full((batch, 1), blank, device=log_probs.device)  # last token of each hypothesis
        self.psi = self.blanks.new_zeros(batch, 1)

    def scores(self) -> Tensor:
        """Return the scores of all tokens after each hypothesis, (B, R, V)."""
        extended = self._prefixes()
        psi = self.psi[:, :, None]
        return torch.where(psi > -torch.inf, extended - psi, -torch.inf).clamp(max=0.0).float()

    def _prefixes(self) -> Tensor:
        """Return log psi(g c) for all tokens c, and for </s> the log-probability of g: (B, R, V) float64."""
        phi = torch.logaddexp(self.after_blank, self.after_token)
        highest = phi[:, :, :-1].amax(-1, keepdim=True)
        highest = highest.masked_fill(highest == -torch.inf, 0.0)
        shares = (phi[:, :, :-1] - highest).exp().to(self.probs.dtype)
        log_psi = (shares @ self.probs).double().log() + highest
        log_psi.scatter_(2, self.last[:, :, None], self._log_psi(self.last, self.after_blank)[:, :, None])
        log_psi[:, :, self.blank] = -torch.inf
        log_psi[:, :, self.eos_id] = phi[:, :, -1]
        return log_psi

    def _log_psi(self, tokens: Tensor, phi: Tensor) -> Tensor:
        """Return log psi of each hypothesis extended by one token, (B, R), given phi (B, R, T + 1)."""
        return (phi[:, :, :-1] + self._frames(tokens)).logsumexp(-1)

    def _frames(self, tokens: Tensor) -> Tensor:
        """Return log p(token | t) of tokens (B, R): (B, R, T)."""
        indices = tokens[:, None, :].expand(-1, self.log_probs.shape[1], -1)
        return self.log_probs.gather(2, indices).transpose(1, 2).double()

    def advance(self, parents: Tensor, tokens: Tensor) -> None:
        """Extend the hypotheses by one token; see `decode.search.Scorer`."""
        indices = parents[:, :, None].expand(-1, -1, self.after_blank.shape[2])
        before_blank, before_token = self.after_blank.gather(1, indices), self.after_token.gather(1, indices)
        repeated = (tokens == self.last.gather(1, parents))[:, :, None]
        phi = torch.where(repeated, before_blank, torch.logaddexp(before_blank, before_token))
        self.psi, self.last = self._log_psi(tokens, phi), tokens
        self.after_token = _accumulate(_cumulative(self._frames(tokens)), phi)
        self.after_token[:, :, 1:].masked_fill_(~self.valid, -torch.inf)
        self.after_blank = _accumulate(self.blanks, self.after_token)

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64."""
        for name in ("log_probs", "probs", "valid", "blanks", "after_blank", "after_token", "last", "psi"):
            setattr(self, name, getattr(self, name)[sentences])


def _cumulative(log_probs: Tensor) -> Tensor:
    """Return log A(t) for t = 0 ... T, given log a(t): (..., T) to (..., T + 1) float64."""
    return torch.nn.functional.pad(log_probs.double().clamp(min=MIN_LOG_PROB).cumsum(-1), (1, 0))


def _accumulate(factors: Tensor, added: Tensor) -> Tensor:
    """Return log y(t) of y(t) = (y(t - 1) + x(t - 1)) a(t), y(0) = 0, given log A and log x, (..., T + 1) each."""
    total = torch.logcumsumexp(added[..., :-1] - factors[..., :-1], -1)
    return torch.nn.functional.pad(total + factors[..., 1:], (1, 0), value=-torch.inf)
