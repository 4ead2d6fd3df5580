"""CTC as a scorer of beam search: joint CTC/attention decoding (Hori et al. 2017; Watanabe et al. 2017, section IV-C).

An output's prefix g has the probability psi(g) of all alignments whose output starts with g. With gamma_n(g, t) and
gamma_b(g, t), those of the first t frames saying exactly g and ending in its last token or in a blank,

    phi(g, c, t) = gamma_b(g, t) + (0 if g ends in c, else gamma_n(g, t))
    psi(g c) = sum_t phi(g, c, t - 1) p(c | t)
    gamma_n(g c, t) = (gamma_n(g c, t - 1) + phi(g, c, t - 1)) p(c | t)
    gamma_b(g, t) = (gamma_b(g, t - 1) + gamma_n(g, t - 1)) p(blank | t)

So psi of all next tokens is one product of matrices, and no token need be selected beforehand: the search is over the
whole vocabulary. The recursions over t are needed for the hypotheses that are kept only, and as they are linear, a
cumulative sum solves them: y(t) = (y(t - 1) + x(t - 1)) a(t) is y(t) = A(t) * sum_{s <= t} x(s - 1) / A(s - 1) with
A(t) = a(1) ... a(t); in logarithms and float64, so that nothing under- or overflows.

Shapes: B utterances, R hypotheses of each, T frames, V vocabulary with the blank.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = -1e4
"""Stands for the logarithm of 0 where it is divided by."""


class CTCPrefix:
    """The scorer: what a token adds is log psi(g c) - log psi(g), and </s> what makes it the probability of g alone.

    Args:
        log_probs: natural, (B, T, V).
        lengths: frames of each, (B,) int64.
        eos_id: </s>.
        blank: the blank's id.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, *, eos_id: int, blank: int = 0) -> None:
        if log_probs.shape[1] == 0:  # one frame of padding, as there is no product over none
            log_probs = torch.nn.functional.pad(log_probs, (0, 0, 0, 1))
        batch, frames, _ = log_probs.shape
        self.eos_id, self.blank = eos_id, blank
        number = torch.arange(frames, device=log_probs.device)
        padding = (number >= lengths.to(log_probs.device)[:, None])[:, :, None]
        # In padding a blank is certain: whatever has been said by then stays, and nothing else is.
        self.log_probs = log_probs.masked_fill(padding, -torch.inf)
        self.log_probs[:, :, blank].masked_fill_(padding[:, :, 0], 0.0)
        self.probs = self.log_probs.exp()
        self.probs[:, :, blank] = 0.0  # not a token
        self.valid = ~padding[:, None, :, 0]  # (B, 1, T)
        self.blanks = _cumulative(self.log_probs[:, None, :, blank])  # (B, 1, T + 1)
        self.after_blank = self.blanks.clone()  # gamma_b of the empty prefix, (B, R, T + 1)
        self.after_token = torch.full_like(self.blanks, -torch.inf)  # gamma_n
        self.last = torch.full((batch, 1), blank, device=log_probs.device)  # of each hypothesis
        self.psi = self.blanks.new_zeros(batch, 1)

    def scores(self) -> Tensor:
        """See `decode.search.Scorer`."""
        found = self._prefixes()
        psi = self.psi[:, :, None]
        return torch.where(psi > -torch.inf, found - psi, -torch.inf).clamp(max=0.0).float()

    def _prefixes(self) -> Tensor:
        """Log psi(g c) for all tokens c, and for </s> the log-probability of g: (B, R, V) float64."""
        phi = torch.logaddexp(self.after_blank, self.after_token)
        highest = phi[:, :, :-1].amax(-1, keepdim=True)
        highest = highest.masked_fill(highest == -torch.inf, 0.0)
        shares = (phi[:, :, :-1] - highest).exp().to(self.probs.dtype)
        found = (shares @ self.probs).double().log() + highest
        found.scatter_(2, self.last[:, :, None], self._of(self.last, self.after_blank)[:, :, None])
        found[:, :, self.blank] = -torch.inf
        found[:, :, self.eos_id] = phi[:, :, -1]
        return found

    def _of(self, tokens: Tensor, phi: Tensor) -> Tensor:
        """Log psi of each hypothesis and one token, (B, R), from its phi (B, R, T + 1)."""
        return (phi[:, :, :-1] + self._frames(tokens)).logsumexp(-1)

    def _frames(self, tokens: Tensor) -> Tensor:
        """Log p(token | t), (B, R) to (B, R, T)."""
        places = tokens[:, None, :].expand(-1, self.log_probs.shape[1], -1)
        return self.log_probs.gather(2, places).transpose(1, 2).double()

    def advance(self, parents: Tensor, tokens: Tensor) -> None:
        """See `decode.search.Scorer`."""
        places = parents[:, :, None].expand(-1, -1, self.after_blank.shape[2])
        before_blank, before_token = self.after_blank.gather(1, places), self.after_token.gather(1, places)
        repeated = (tokens == self.last.gather(1, parents))[:, :, None]
        phi = torch.where(repeated, before_blank, torch.logaddexp(before_blank, before_token))
        self.psi, self.last = self._of(tokens, phi), tokens
        self.after_token = _accumulate(_cumulative(self._frames(tokens)), phi)
        self.after_token[:, :, 1:].masked_fill_(~self.valid, -torch.inf)
        self.after_blank = _accumulate(self.blanks, self.after_token)

    def keep(self, sentences: Tensor) -> None:
        """See `decode.search.Scorer`."""
        for name in ("log_probs", "probs", "valid", "blanks", "after_blank", "after_token", "last", "psi"):
            setattr(self, name, getattr(self, name)[sentences])


def _cumulative(log_probs: Tensor) -> Tensor:
    """Log A(t) for t = 0 ... T: (..., T) to (..., T + 1) float64."""
    return torch.nn.functional.pad(log_probs.double().clamp(min=LEAST).cumsum(-1), (1, 0))


def _accumulate(factors: Tensor, added: Tensor) -> Tensor:
    """Log y(t) of y(t) = (y(t - 1) + x(t - 1)) a(t), y(0) = 0, from log A and log x, (..., T + 1) each."""
    total = torch.logcumsumexp(added[..., :-1] - factors[..., :-1], -1)
    return torch.nn.functional.pad(total + factors[..., 1:], (1, 0), value=-torch.inf)
