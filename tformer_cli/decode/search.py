"""Greedy search, beam search and sampling with any autoregressive model; docs/decoding.md describes the rules.

The hypotheses of a sentence are query positions of one sequence: all append their keys to one cache, and a mask selects
the keys of each hypothesis' history. When hypotheses are reordered, only the mask changes, and no cache is copied.
Other states, such as recurrent ones, are reordered themselves (`nn.stepping.State.follow`).

Shapes: B sentences, R rows (hypotheses) of each, K cached keys, D model width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import DecodeConfig, Stopping
from tformer_cli.decode.select import Head, draw
from tformer_cli.decode.short_head import Allowed, ShortHead
from tformer_cli.nn.attention import EVERYTHING, Mask
from tformer_cli.nn.stepping import State, Stepper

COMPACT_SHARE = 0.25
"""Share of completed sentences from which on they are removed from the batch; removing them copies the others."""

BATCH_HYPOTHESES = 320
"""Hypotheses in a batch if `decode.batch` is 0: 64 sentences with beam 5."""


S = TypeVar("S", bound=State)

Extensions = tuple[Tensor, Tensor, Tensor]
"""Log-probabilities, parent rows and tokens of hypotheses after a step, (B, beams) each."""


class Scorer(Protocol):
    """An additional score of the hypotheses of a search; each step extends all rows by a token.

    Scores are at most 0, so that the score of a hypothesis never increases. The rule for stopping relies on this.
    """

    def scores(self) -> Tensor:
        """Return the scores of all tokens, </s> included, after each hypothesis.

        Returns:
            (B, R, V), natural logarithms, not NaN.
        """
        ...

    def advance(self, parents: Tensor, tokens: Tensor) -> None:
        """Reorder the hypotheses and extend them by a token: row r becomes row parents[b, r] with tokens[b, r].

        R grows once, from 1. Rows without a hypothesis may have any token.

        Args:
            parents: (B, R), int64.
            tokens: (B, R), int64.
        """
        ...

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64, ascending."""
        ...


@dataclass
class Hypothesis:
    """An output of a search.

    Attributes:
        tokens: tokens without <s> and </s>.
        score: score by which hypotheses are ranked: log_probability / (tokens + 1) ** length_penalty.
        log_probability: natural log-probability of all tokens and </s>, a forced prefix included; with scorers, the
            weighted sum of the model's and theirs.
        finished: False if the length limit ended it: </s> was forced, and was not the most probable token.
    """

    tokens: list[int]
    score: float
    log_probability: float
    finished: bool

    def details(self, text: str) -> dict[str, Any]:
        """Return the fields of `--json` for this hypothesis, whose text is `text`."""
        return {"text": text, "score": self.score, "finished": self.finished}


def num_hypotheses(config: DecodeConfig) -> int:
    """Return the number of hypotheses of each sentence, which the decoder's state must have capacity for."""
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
    allowed: Allowed | None = None,
) -> list[list[Hypothesis]]:
    """Search for the best outputs of a batch, or sample outputs.

    Args:
        decoder: model in evaluation mode.
        state: decoder state of B sentences, with capacity for `num_hypotheses(config)` hypotheses of
            `max_lengths.max()` tokens.
        config: settings of the search.
        bos_id: token before the first token of an output; or one for each sentence, (B,) int64.
        eos_id: token that ends an output.
        max_lengths: maximum number of tokens of each sentence's output without </s>, (B,) int64.
        prefix: for each sentence the tokens that its output must start with; they are part of its length and its
            log-probability.
        forbidden: tokens that are never chosen; a prefix may contain them.
        sample_ids: sampling: ids of the sentences; the seed, the id and the step determine the random numbers. By
            default 0, 1, ...
        cached: number of keys per sentence that the state already contains, from a prompt.
        on_token: with one hypothesis per sentence: called with the index of the sentence and each token as it is
            chosen, </s> included.
        scorers: additional scorers with their weights, which are at least 0; not with sampling.
        decoder_weight: weight of the decoder's log-probabilities, above 0.
        allowed: the only tokens that each output may contain, with `eos_id` among them; probabilities are normalised
            over these tokens. None: all tokens.

    Returns:
        For each sentence at most `n_best` hypotheses, best first.

    Raises:
        RunError: if the model's logits are not finite.
        ValueError: if a prefix contains </s>, scorers are given with sampling or `allowed`, `decoder_weight` is not
            positive, or `on_token` is given with several hypotheses.
    """
    if on_token is not None and num_hypotheses(config) > 1:
        raise ValueError("on_token needs one hypothesis per sentence, since tokens of several may be dropped later")
    if (scorers and (config.sample or allowed is not None)) or decoder_weight <= 0:
        raise ValueError("scorers need beam search over all tokens, and decoder_weight must be positive")
    run = _Search(decoder, state, config, eos_id, max_lengths, prefix, forbidden, sample_ids, allowed)
    run.scorers = [(weight / decoder_weight, scorer) for weight, scorer in scorers if weight > 0]
    run.weight = decoder_weight
    return run.run(bos_id, cached, on_token)


class _Search(Generic[S]):
    """The state of a search. Row r of sentence b is a hypothesis; where `so_far` is minus infinity, there is none."""

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
        allowed: Allowed | None = None,
    ) -> None:
        self.decoder, self.state, self.config, self.eos_id = decoder, state, config, eos_id
        output = decoder.output_layer()
        self.device = device = (output[0] if isinstance(output, tuple) else output.scale).device
        batch, self.beams = len(max_lengths), num_hypotheses(config)
        prefix = prefix or [()] * batch
        if any(eos_id in part for part in prefix):
            raise ValueError("a prefix must not contain the token that ends the output")
        self.prefix_lengths = torch.tensor([len(part) for part in prefix], dtype=torch.int64)
        self.limits = torch.maximum(max_lengths.cpu(), self.prefix_lengths)
        self.longest = int(self.limits.max()) if batch else 0
        self.shared = int(self.prefix_lengths.min()) if batch else 0  # number of steps with one hypothesis
        self.forced_until = int(self.prefix_lengths.max()) if batch else 0
        self.forced = torch.zeros(batch, self.forced_until, dtype=torch.int64)
        for row, part in zip(self.forced, prefix, strict=True):
            row[: len(part)] = torch.tensor(part, dtype=torch.int64)
        self.limit_steps = set(self.limits.tolist())
        self.limits, self.prefix_lengths = self.limits.to(device), self.prefix_lengths.to(device)
        self.forced = self.forced.to(device)

        excluded = torch.tensor(sorted(set(forbidden)), dtype=torch.int64, device=device)
        rows = batch * self.beams
        self.head = Head(output, rows, excluded) if allowed is None else ShortHead(output, rows, excluded, allowed)
        self.sentences = list(range(batch))  # indices of the sentences in the tensors below
        self.so_far = torch.zeros(batch, 1, device=device)
        self.outputs = torch.zeros(batch, 1, self.longest, dtype=torch.int64, device=device)
        self.results: list[list[Hypothesis]] = [[] for _ in range(batch)]
        self.worst = torch.full((batch,), -torch.inf, dtype=torch.float64, device=device)  # score of the n-th best
        self.uniform = self._uniform_numbers(sample_ids or self.sentences) if config.sample else None
        self.scorers: list[tuple[float, Scorer]] = []  # weights relative to the decoder's
        self.weight = 1.0

    def run(
        self, first: int | Tensor, cached: int, on_token: Callable[[int, int], None] | None
    ) -> list[list[Hypothesis]]:
        """Step until the results of all sentences are final, and return them."""
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
                    if value > -math.inf:  # else it has ended and will be removed from the batch
                        on_token(sentence, token)
            self._advance(step, log_probability, parents, tokens)
            self.state.follow(parents)
            for _, scorer in self.scorers:
                scorer.advance(parents, tokens)
            self._drop(step)
        return self.results

    def _mask(self) -> Mask:
        """Return the mask of cached keys that each hypothesis attends to: its ancestors' keys and its own."""
        if self.beams == 1:
            return EVERYTHING
        batch, rows = self.tokens.shape
        diagonal = torch.eye(rows, dtype=torch.bool, device=self.device).expand(batch, -1, -1)
        self.allowed = torch.cat((self.allowed, diagonal), dim=2)
        return EVERYTHING if rows == 1 else Mask(self.allowed[:, None], may_be_empty=False)

    # --- one step ---------------------------------------------------------------------------------------------

    def _extensions(self, step: int) -> Extensions:
        """Return the hypotheses after this step."""
        head, rows = self.head, self.tokens.shape[1]
        forced = None
        if step < self.forced_until:
            forced = head.log_probability(self.forced[:, step, None].expand(-1, rows))
        self.end = None
        if step in self.limit_steps:
            end = torch.full_like(self.tokens, self.eos_id)
            self.end = head.log_probability(end)
        head.forbid()
        if self.end is not None:  # the end is forced unless it is the most probable of the allowed tokens
            self.natural = self.end >= head.highest()
        if self.uniform is not None:
            extensions = self._drawn(self.uniform[:, :, step].flatten())
        else:
            extensions = head.best(self.so_far, self.beams)
        if forced is not None:
            parent = torch.arange(self.beams, device=self.device).clamp(max=rows - 1).expand(len(forced), -1)
            value, token = (self.so_far + forced).gather(1, parent), self.forced[:, step, None].expand(-1, self.beams)
            if not self.config.sample:
                value[:, 1:] = -torch.inf  # a single hypothesis until the prefix ends
            extensions = self._select(step < self.prefix_lengths, (value, parent, token), extensions)
        if self.end is not None:
            value, parent = self._padded(self.so_far + self.end).sort(dim=1, descending=True, stable=True)
            token = torch.full_like(parent, self.eos_id)
            extensions = self._select(self.limits == step, (value, parent.clamp(max=rows - 1), token), extensions)
        if step >= self.shared:
            return extensions
        value, parent, token = extensions
        return value[:, :1], parent[:, :1], token[:, :1]

    def _padded(self, value: Tensor) -> Tensor:
        """Pad values (B, R) to (B, beams) with minus infinity."""
        missing = self.beams - value.shape[1]
        return torch.nn.functional.pad(value, (0, missing), value=-torch.inf) if missing else value

    @staticmethod
    def _select(condition: Tensor, yes: Extensions, no: Extensions) -> Extensions:
        value, parent, token = (torch.where(condition[:, None], a, b) for a, b in zip(yes, no, strict=True))
        return value, parent, token

    def _uniform_numbers(self, sample_ids: Sequence[int]) -> Tensor:
        """Return random numbers in [0, 1), (B, beams, steps); they depend only on seed, sentence, draw and step."""
        shape = (self.beams, self.longest + 1)
        numbers = np.empty((len(sample_ids), *shape))
        for row, sample_id in enumerate(sample_ids):
            for draw_number in range(self.beams):
                key = (self.config.seed % 2**64, int(sample_id), draw_number)
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
        tokens = head.ids(tokens.view(parents.shape))
        return self.so_far.gather(1, parents) + chosen.view(parents.shape), parents, tokens

    def _advance(self, step: int, log_probability: Tensor, parents: Tensor, tokens: Tensor) -> None:
        """Reorder the hypotheses, append their new tokens, and collect ended ones."""
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
        """Add the hypotheses that ended, `ended` (B, beams), to the results; keep the n best of each sentence."""
        row, beam = ended.nonzero().unbind(1)
        values = log_probability[row, beam].double() * self.weight
        length = step + 1  # with </s>
        scores = values / length**self.config.length_penalty
        finished = torch.ones_like(row, dtype=torch.bool)
        if self.end is not None:
            finished = (step < self.limits[row]) | self.natural[row, parents[row, beam]]
        tokens = self.outputs[row, beam, :step].tolist()
        columns = (row.tolist(), tokens, scores.tolist(), values.tolist(), finished.tolist())
        changed = set()
        for index, *fields in zip(*columns, strict=True):
            self.results[self.sentences[index]].append(Hypothesis(*fields))
            changed.add(index)
        for index in changed:
            results = self.results[self.sentences[index]]
            results.sort(key=lambda hypothesis: -hypothesis.score)  # stable: among equal scores the earliest first
            del results[self.config.n_best :]
            if len(results) == self.config.n_best:
                self.worst[index] = results[-1].score

    def _drop(self, step: int) -> None:
        """End the search of sentences with final results; remove them from the batch if they are numerous."""
        best = self.so_far.amax(1).double() * self.weight
        alpha, length = (
            self.config.length_penalty,
            torch.full_like(best, step + 2),
        )  # length if it ends at the next step
        if self.config.stopping is Stopping.longest and alpha > 0:
            length = (self.limits + 1).double()
        final = best == -torch.inf
        if not self.config.sample:
            final |= best / length**alpha <= self.worst
        count = int(final.sum())
        if not count:
            return
        if count < len(final) and count < COMPACT_SHARE * len(final):
            self.so_far = self.so_far.masked_fill(final[:, None], -torch.inf)
            return
        remaining = (~final).nonzero().squeeze(1)
        self.sentences = [self.sentences[row] for row in remaining.tolist()]
        if not self.sentences:
            return
        self.state.keep(remaining)
        self.head.keep(remaining)
        for _, scorer in self.scorers:
            scorer.keep(remaining)
        rows = ("tokens", "so_far", "outputs", "allowed", "worst", "limits", "prefix_lengths", "forced", "uniform")
        for name in rows:
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value[remaining])
