"""Greedy, beam and sampling search over any model that writes token after token; docs/decoding.md has the rules.

The hypotheses of a sentence are query positions of one sequence: all write their keys into one cache, and a mask says
which keys are a hypothesis's own history. So beams that change places change a few booleans, and no cache is copied.
A state that is not made of cached keys, such as a recurrent one, follows its hypotheses (`nn.stepping.State.follow`).

Shapes: B sentences, R rows (hypotheses) of each, K keys cached so far, D model width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import DecodeConfig, Stopping
from tformer_cli.decode.select import Head, draw
from tformer_cli.nn.attention import EVERYTHING, Mask
from tformer_cli.nn.stepping import State, Stepper

COMPACT_SHARE = 0.25
"""Settled sentences leave the batch once they are this share of it: leaving copies what stays."""

BATCH_HYPOTHESES = 320
"""Hypotheses decoded together where the settings do not say how many sentences: 64 sentences at beam 5."""


S = TypeVar("S", bound=State)

Extensions = tuple[Tensor, Tensor, Tensor]
"""Log-probabilities, parent rows and tokens of hypotheses after a step, (B, beams) each."""


class Scorer(Protocol):
    """Another opinion of the hypotheses of a search, added to the decoder's; all rows advance by a token a step.

    What it adds is never above 0, so that a hypothesis's score only falls, which stopping relies on.
    """

    def scores(self) -> Tensor:
        """What each token would add to each hypothesis, </s> included: (B, R, V), natural logarithms, no NaN."""
        ...

    def advance(self, parents: Tensor, tokens: Tensor) -> None:
        """Hypotheses change places and take their tokens: row r now is row parents[b, r] and tokens[b, r].

        R grows once, from 1. Rows may be of no use any more, and hold any token.
        """
        ...

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64, ascending."""
        ...


@dataclass
class Hypothesis:
    """One output.

    Attributes:
        tokens: without <s> and </s>.
        score: what hypotheses are ranked by: log_probability / (tokens + 1) ** length_penalty.
        log_probability: the model's, natural, of all tokens and </s>, a forced prefix included; with scorers, the
            weighted sum of all.
        finished: False if only the length limit ended it: </s> was forced, and was not the most probable token.
    """

    tokens: list[int]
    score: float
    log_probability: float
    finished: bool


def num_hypotheses(config: DecodeConfig) -> int:
    """Return the number of hypotheses that are decoded for each sentence: a decoder's state must have room for them."""
    return config.n_best if config.sample else config.beam


def batch_sentences(config: DecodeConfig) -> int:
    """Return the number of sentences in a batch: `decode.batch`, or as many as have `BATCH_HYPOTHESES` hypotheses."""
    return config.batch or max(1, BATCH_HYPOTHESES // num_hypotheses(config))


@torch.inference_mode()
def search(
    decoder: Stepper[S],
    state: S,
    *,
    config: DecodeConfig,
    bos_id: int | Tensor,
    eos_id: int,
    max_lengths: Tensor,
    prefix: Sequence[Sequence[int]] | None = None,
    forbidden: Sequence[int] = (),
    sample_ids: Sequence[int] | None = None,
    cached: int = 0,
    on_token: Callable[[int, int], None] | None = None,
    scorers: Sequence[tuple[float, Scorer]] = (),
    decoder_weight: float = 1.0,
) -> list[list[Hypothesis]]:
    """Find the best outputs of a batch, or draw some.

    Args:
        decoder: the model, in evaluation mode.
        state: what it needs to know of the B sentences, with room for `num_hypotheses(config)` hypotheses of
            `max_lengths.max()` tokens.
        config: the kind of search.
        bos_id: the token that each output starts after; or one a sentence, (B,) int64.
        eos_id: what ends it.
        max_lengths: most tokens of each sentence's output, </s> not counted, (B,) int64.
        prefix: tokens that each output starts with, by sentence; counted in its length and log-probability.
        forbidden: tokens that are never chosen (a prefix may hold them).
        sample_ids: sampling: names of the sentences; with the seed and the step they decide what is drawn. By
            default 0, 1, ...
        cached: keys a sentence that are in the state already: those of a prompt.
        on_token: with one hypothesis a sentence: called with the sentence's number and each token as it is chosen,
            </s> included.
        scorers: others that judge the hypotheses, each with its weight, 0 or more; not with sampling.
        decoder_weight: of the decoder's own log-probabilities, above 0.

    Returns:
        For each sentence its hypotheses, best first: `n_best` of them, or fewer if search found fewer.

    Raises:
        RunError: if the model's scores are not finite.
        ValueError: if a prefix holds </s>; if scorers are to judge what is drawn, or the decoder has no weight.
    """
    if on_token is not None and num_hypotheses(config) > 1:
        raise ValueError("tokens can be watched only where nothing is ever taken back: with one hypothesis")
    if (scorers and config.sample) or decoder_weight <= 0:
        raise ValueError("scorers go with beam search only, and with a decoder that has a weight")
    run = _Search(decoder, state, config, eos_id, max_lengths, prefix, forbidden, sample_ids)
    run.scorers = [(weight / decoder_weight, scorer) for weight, scorer in scorers if weight > 0]
    run.weight = decoder_weight
    return run.run(bos_id, cached, on_token)


class _Search(Generic[S]):
    """A batch under way. Row r of sentence b is a hypothesis; `so_far` is minus infinity where there is none."""

    def __init__(
        self,
        decoder: Stepper[S],
        state: S,
        config: DecodeConfig,
        eos_id: int,
        max_lengths: Tensor,
        prefix: Sequence[Sequence[int]] | None,
        forbidden: Sequence[int],
        sample_ids: Sequence[int] | None,
    ) -> None:
        self.decoder, self.state, self.config, self.eos_id = decoder, state, config, eos_id
        output = decoder.output_layer()
        self.device = device = (output[0] if isinstance(output, tuple) else output.scale).device
        batch, self.beams = len(max_lengths), num_hypotheses(config)
        prefix = prefix or [()] * batch
        if any(eos_id in part for part in prefix):
            raise ValueError("a prefix may not hold the token that ends the output")
        self.prefix_lengths = torch.tensor([len(part) for part in prefix], dtype=torch.int64)
        self.limits = torch.maximum(max_lengths.cpu(), self.prefix_lengths)
        self.longest = int(self.limits.max()) if batch else 0
        self.shared = int(self.prefix_lengths.min()) if batch else 0  # a sentence has one hypothesis up to here
        self.forced_until = int(self.prefix_lengths.max()) if batch else 0
        self.forced = torch.zeros(batch, self.forced_until, dtype=torch.int64)
        for row, part in zip(self.forced, prefix, strict=True):
            row[: len(part)] = torch.tensor(part, dtype=torch.int64)
        self.limit_steps = set(self.limits.tolist())
        self.limits, self.prefix_lengths = self.limits.to(device), self.prefix_lengths.to(device)
        self.forced = self.forced.to(device)

        excluded = torch.tensor(sorted(set(forbidden)), dtype=torch.int64, device=device)
        self.head = Head(output, batch * self.beams, excluded)
        self.sentences = list(range(batch))  # which sentences the rows of all tensors below are of
        self.so_far = torch.zeros(batch, 1, device=device)
        self.outputs = torch.zeros(batch, 1, self.longest, dtype=torch.int64, device=device)
        self.found: list[list[Hypothesis]] = [[] for _ in range(batch)]
        self.worst = torch.full((batch,), -torch.inf, dtype=torch.float64, device=device)  # of the n best found
        self.uniform = self._uniform_numbers(sample_ids or self.sentences) if config.sample else None
        self.scorers: list[tuple[float, Scorer]] = []  # their weights as shares of the decoder's
        self.weight = 1.0

    def run(
        self, first: int | Tensor, cached: int, on_token: Callable[[int, int], None] | None
    ) -> list[list[Hypothesis]]:
        """Step until every sentence's answer is settled."""
        batch = len(self.sentences)
        self.tokens = torch.as_tensor(first, device=self.device).expand(batch)[:, None]
        self.allowed = torch.ones(batch, 1, cached, dtype=torch.bool, device=self.device)  # (B, R, K)
        for step in range(self.longest + 1):
            if not self.sentences:
                break
            self.head.project(self.decoder.step(self.tokens, self.state, self._mask()))
            for weight, scorer in self.scorers:
                self.head.add(weight * scorer.scores())
            log_probability, parents, tokens = self._extensions(step)
            if on_token is not None:
                chosen = zip(self.sentences, tokens[:, 0].tolist(), log_probability[:, 0].tolist(), strict=True)
                for sentence, token, value in chosen:
                    if value > -math.inf:  # else it has ended, and only waits to leave the batch
                        on_token(sentence, token)
            self._advance(step, log_probability, parents, tokens)
            self.state.follow(parents)
            for _, scorer in self.scorers:
                scorer.advance(parents, tokens)
            self._drop(step)
        return self.found

    def _mask(self) -> Mask:
        """Which cached keys each hypothesis may see: its ancestors' and its own."""
        if self.beams == 1:
            return EVERYTHING
        batch, rows = self.tokens.shape
        own = torch.eye(rows, dtype=torch.bool, device=self.device).expand(batch, -1, -1)
        self.allowed = torch.cat((self.allowed, own), dim=2)
        return EVERYTHING if rows == 1 else Mask(self.allowed[:, None], may_be_empty=False)

    # --- one step ---------------------------------------------------------------------------------------------

    def _extensions(self, step: int) -> Extensions:
        """The hypotheses after this step."""
        head, rows = self.head, self.tokens.shape[1]
        forced = None
        if step < self.forced_until:
            forced = head.log_probability(self.forced[:, step, None].expand(-1, rows))
        self.end = None
        if step in self.limit_steps:
            end = torch.full_like(self.tokens, self.eos_id)
            self.end = head.log_probability(end)
        head.forbid()
        if self.end is not None:  # forced, not chosen, unless nothing that may be chosen is better
            self.natural = self.end >= head.highest()
        if self.uniform is not None:
            found = self._drawn(self.uniform[:, :, step].flatten())
        else:
            found = head.best(self.so_far, self.beams)
        if forced is not None:
            parent = torch.arange(self.beams, device=self.device).clamp(max=rows - 1).expand(len(forced), -1)
            value, token = (self.so_far + forced).gather(1, parent), self.forced[:, step, None].expand(-1, self.beams)
            if not self.config.sample:
                value[:, 1:] = -torch.inf  # one hypothesis until the prefix ends
            found = self._where(step < self.prefix_lengths, (value, parent, token), found)
        if self.end is not None:
            value, parent = self._padded(self.so_far + self.end).sort(dim=1, descending=True, stable=True)
            token = torch.full_like(parent, self.eos_id)
            found = self._where(self.limits == step, (value, parent.clamp(max=rows - 1), token), found)
        if step >= self.shared:
            return found
        value, parent, token = found
        return value[:, :1], parent[:, :1], token[:, :1]

    def _padded(self, value: Tensor) -> Tensor:
        """(B, R) to (B, beams): minus infinity where there is no row yet."""
        missing = self.beams - value.shape[1]
        return torch.nn.functional.pad(value, (0, missing), value=-torch.inf) if missing else value

    @staticmethod
    def _where(condition: Tensor, yes: Extensions, no: Extensions) -> Extensions:
        value, parent, token = (torch.where(condition[:, None], a, b) for a, b in zip(yes, no, strict=True))
        return value, parent, token

    def _uniform_numbers(self, sample_ids: Sequence[int]) -> Tensor:
        """The numbers that decide what is drawn, (B, beams, steps): of seed, sentence, draw and step alone."""
        shape = (self.beams, self.longest + 1)
        numbers = np.empty((len(sample_ids), *shape))
        for row, name in enumerate(sample_ids):
            for draw_number in range(self.beams):
                key = (self.config.seed % 2**64, int(name), draw_number)
                numbers[row, draw_number] = np.random.default_rng(key).random(shape[1])
        return torch.from_numpy(numbers).to(self.device)

    def _drawn(self, uniform: Tensor) -> Extensions:
        head, rows = self.head, self.tokens.shape[1]
        parents = torch.arange(self.beams, device=self.device).clamp(max=rows - 1).expand(len(self.sentences), -1)
        index = (torch.arange(len(self.sentences), device=self.device)[:, None] * rows + parents).flatten()
        logits = head.scaled()[index] if rows < self.beams else head.scaled()
        config = self.config
        tokens = draw(logits, uniform, temperature=config.temperature, top_k=config.top_k, top_p=config.top_p)
        chosen = logits.gather(1, tokens[:, None]).squeeze(1).float() - head.normalizer[index]
        tokens = tokens.view(parents.shape)
        return self.so_far.gather(1, parents) + chosen.view(parents.shape), parents, tokens

    def _advance(self, step: int, log_probability: Tensor, parents: Tensor, tokens: Tensor) -> None:
        """Hypotheses change places, take their new token, and leave if it is </s>."""
        if self.beams > 1:
            base = torch.arange(len(self.sentences), device=self.device)[:, None] * self.tokens.shape[1]
            flat = (base + parents).flatten()
            self.outputs = self.outputs.flatten(0, 1)[flat].view(*parents.shape, -1)
            self.allowed = self.allowed.flatten(0, 1)[flat].view(*parents.shape, -1)
        ended = (tokens == self.eos_id) & (log_probability > -torch.inf)
        if bool(ended.any()):
            self._collect(step, ended, log_probability, parents)
            log_probability = log_probability.masked_fill(ended, -torch.inf)
        if step < self.longest:
            self.outputs[:, :, step] = tokens
        self.tokens, self.so_far = tokens, log_probability

    def _collect(self, step: int, ended: Tensor, log_probability: Tensor, parents: Tensor) -> None:
        """Note the hypotheses that ended, (B, beams) True; keep the n best of each sentence."""
        where = ended.nonzero()
        row, beam = where.unbind(1)
        values = log_probability[row, beam].double() * self.weight
        length = step + 1  # with </s>
        scores = values / length**self.config.length_penalty
        finished = torch.ones_like(row, dtype=torch.bool)
        if self.end is not None:
            finished = (step < self.limits[row]) | self.natural[row, parents[row, beam]]
        tokens = self.outputs[row, beam, :step].tolist()
        columns = (row.tolist(), tokens, scores.tolist(), values.tolist(), finished.tolist())
        touched = set()
        for place, *fields in zip(*columns, strict=True):
            self.found[self.sentences[place]].append(Hypothesis(*fields))
            touched.add(place)
        for place in touched:
            found = self.found[self.sentences[place]]
            found.sort(key=lambda one: -one.score)  # stable: of equals, the one found first
            del found[self.config.n_best :]
            if len(found) == self.config.n_best:
                self.worst[place] = found[-1].score

    def _drop(self, step: int) -> None:
        """Leave sentences whose answer is settled; take them out of the batch when there are enough of them."""
        best = self.so_far.amax(1).double() * self.weight
        alpha, length = self.config.length_penalty, torch.full_like(best, step + 2)  # if the next token ends it
        if self.config.stopping is Stopping.longest and alpha > 0:
            length = (self.limits + 1).double()
        settled = best == -torch.inf
        if not self.config.sample:
            settled |= best / length**alpha <= self.worst
        count = int(settled.sum())
        if not count:
            return
        if count < len(settled) and count < COMPACT_SHARE * len(settled):
            self.so_far = self.so_far.masked_fill(settled[:, None], -torch.inf)
            return
        kept = (~settled).nonzero().squeeze(1)
        self.sentences = [self.sentences[row] for row in kept.tolist()]
        if not self.sentences:
            return
        self.state.keep(kept)
        for _, scorer in self.scorers:
            scorer.keep(kept)
        rows = ("tokens", "so_far", "outputs", "allowed", "worst", "limits", "prefix_lengths", "forced", "uniform")
        for name in rows:
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value[kept])
