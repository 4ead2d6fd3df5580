"""A decoder without a network, and searches written a second time, plainly: what `decode.search` is held against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tformer_cli.decode.search import Hypothesis
from tformer_cli.nn.attention import Mask

PAD, UNK, BOS, EOS = 0, 1, 2, 3
FORBIDDEN = (PAD, UNK, BOS)


@dataclass
class ToyState:
    """What has been read: the names of the sentences and every token so far, rows side by side."""

    names: list[int]
    tokens: Tensor = field(default_factory=lambda: torch.zeros(0))
    steps: int = 0

    def follow(self, parents: Tensor) -> None:
        """The mask says which tokens are whose."""

    def keep(self, sentences: Tensor) -> None:
        self.names = [self.names[index] for index in sentences.tolist()]
        self.tokens = self.tokens[sentences]


class ToyDecoder:
    """Logits are a random function of the sentence and of all tokens that the mask lets a row see, in order."""

    def __init__(self, vocab_size: int, seed: int, *, spread: float = 2.0, end: float = 0.0) -> None:
        self.vocab_size, self.seed, self.spread, self.end = vocab_size, seed, spread, end
        self.known: dict[tuple[int, tuple[int, ...]], np.ndarray] = {}
        self.rows_stepped = 0

    def logits(self, name: int, history: tuple[int, ...]) -> np.ndarray:
        if (name, history) not in self.known:
            random = np.random.default_rng((self.seed, name, len(history), *history))
            logits = random.normal(size=self.vocab_size) * self.spread
            logits[EOS] += self.end
            self.known[name, history] = logits.astype(np.float32)
        return self.known[name, history]

    def start(self, names: Sequence[int]) -> ToyState:
        return ToyState(list(names), torch.zeros(len(names), 0, dtype=torch.int64))

    def step(self, tokens: Tensor, state: ToyState, mask: Mask) -> Tensor:
        batch, rows = tokens.shape
        self.rows_stepped += batch
        state.tokens, state.steps = torch.cat((state.tokens, tokens), 1), state.steps + 1
        allowed = torch.ones(1, 1, 1, state.tokens.shape[1], dtype=torch.bool) if mask.allowed is None else mask.allowed
        allowed = allowed.expand(batch, 1, rows, -1)
        hidden = torch.empty(batch, rows, self.vocab_size)
        for b, r in itertools.product(range(batch), range(rows)):
            history = tuple(state.tokens[b][allowed[b, 0, r]].tolist())
            assert len(history) == state.steps, "a row sees one token a step"
            hidden[b, r] = torch.from_numpy(self.logits(state.names[b], history))
        return hidden

    def output_layer(self) -> tuple[Tensor, Tensor | None]:
        return torch.eye(self.vocab_size), None

    def log_probabilities(self, name: int, tokens: Sequence[int]) -> np.ndarray:
        """(V,) of the token after `tokens`."""
        logits = self.logits(name, (BOS, *tokens)).astype(np.float64)
        return logits - math.log(np.exp(logits).sum())


def exhaustive(decoder: ToyDecoder, name: int, limit: int, alpha: float, prefix: tuple[int, ...] = ()) -> list[tuple]:
    """Every output up to the limit with its score, best first."""
    free = [token for token in range(decoder.vocab_size) if token not in (*FORBIDDEN, EOS)]
    outputs = []
    for length in range(len(prefix), limit + 1):
        for rest in itertools.product(free, repeat=length - len(prefix)):
            tokens = (*prefix, *rest)
            total = sum(decoder.log_probabilities(name, tokens[:i])[token] for i, token in enumerate((*tokens, EOS)))
            outputs.append((total / (length + 1) ** alpha, list(tokens), total))
    return sorted(outputs, key=lambda one: -one[0])


def plain_beam_search(
    decoder: ToyDecoder,
    name: int,
    limit: int,
    *,
    beam: int,
    n_best: int,
    alpha: float,
    bound: Callable[[float, int], float],
    prefix: Sequence[int] = (),
) -> list[Hypothesis]:
    """docs/decoding.md read word by word, one sentence, one hypothesis at a time.

    `bound(log_probability, step)` is the best score that a hypothesis in progress may still be thought to reach.
    """
    live, done = [((), 0.0)], []
    for step in range(limit + 1):
        extensions = []
        for tokens, so_far in live:
            following = decoder.log_probabilities(name, tokens)
            natural = following[EOS] >= max(following[t] for t in range(len(following)) if t not in FORBIDDEN)
            choice = [token for token in range(len(following)) if token not in FORBIDDEN]
            if step == limit:
                choice = [EOS]
            elif step < len(prefix):
                choice = [prefix[step]]
            extensions += [(so_far + following[t], (*tokens, t), natural or step < limit) for t in choice]
        extensions.sort(key=lambda one: -one[0])
        live = []
        for total, tokens, natural in extensions[:beam]:
            if tokens[-1] == EOS:
                done.append(Hypothesis(list(tokens[:-1]), total / (step + 1) ** alpha, total, natural))
            else:
                live.append((tokens, total))
        done = sorted(done, key=lambda one: -one.score)[:n_best]
        best = max((bound(total, step) for _, total in live), default=-math.inf)
        if not live or (len(done) == n_best and best <= done[-1].score):
            break
    return done


def assert_same(hypotheses: list[Hypothesis], expected: list[Hypothesis]) -> None:
    """Same tokens, order and ends; scores within float32's rounding."""
    assert [hypothesis.tokens for hypothesis in hypotheses] == [hypothesis.tokens for hypothesis in expected]
    assert [hypothesis.finished for hypothesis in hypotheses] == [hypothesis.finished for hypothesis in expected]
    for hypothesis, other in zip(hypotheses, expected, strict=True):
        assert (
            abs(hypothesis.score - other.score) < 1e-4
            and abs(hypothesis.log_probability - other.log_probability) < 1e-4
        )
