"""Search with a recurrent decoder: the state of a hypothesis is a vector, and must be that of its own history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy import BOS, EOS, FORBIDDEN, assert_same, exhaustive, plain_beam_search

from tformer_cli.config.schema import DecodeConfig, Stopping
from tformer_cli.decode import search as module
from tformer_cli.decode.search import Hypothesis, search
from tformer_cli.models.decoding import Memory
from tformer_cli.nn.attention import EVERYTHING, Mask

LIMITS = [9, 4, 12, 1, 7, 7, 0, 5]
PREFIXES = [(), (5, 6), (4,), (), (8, 8, 8, 8), (5,), (), (9, 4)]


class RecurrentState:
    """The hidden state of each hypothesis, (B, R, H)."""

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden

    def follow(self, parents: Tensor) -> None:
        self.hidden = self.hidden.gather(1, parents[:, :, None].expand(-1, -1, self.hidden.shape[2]))

    def keep(self, sentences: Tensor) -> None:
        self.hidden = self.hidden[sentences]


class StaleState(RecurrentState):
    """The number of rows grows, but a row never takes the state of its parent."""

    def follow(self, parents: Tensor) -> None:
        if self.hidden.shape[1] < parents.shape[1]:
            self.hidden = self.hidden.expand(-1, parents.shape[1], -1)


class RecurrentDecoder(nn.Module):
    """A GRU that starts from the last state of an encoder; its weights are random, and sharp."""

    def __init__(self, vocab_size: int, seed: int, *, end: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(vocab_size, 6)
        self.bridge, self.cell, self.output = nn.Linear(5, 8), nn.GRUCell(6, 8), nn.Linear(8, vocab_size)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=1.5)
        nn.init.zeros_(self.output.bias)
        nn.init.constant_(self.output.bias[EOS : EOS + 1], end)

    def start(self, memory: Memory, hypotheses: int, steps: int) -> RecurrentState:
        assert memory.final is not None
        return RecurrentState(self.bridge(memory.final).tanh()[:, None])

    def step(self, tokens: Tensor, state: RecurrentState, mask: Mask = EVERYTHING) -> Tensor:
        assert state.hidden.shape[:2] == tokens.shape
        hidden = self.cell(self.embedding(tokens).flatten(0, 1), state.hidden.flatten(0, 1))
        state.hidden = hidden.view(*tokens.shape, -1)
        return state.hidden

    def output_layer(self) -> tuple[Tensor, Tensor | None]:
        return self.output.weight, self.output.bias


def encode(names: Sequence[int]) -> Memory:
    """What a recurrent encoder makes of sentences, which depends on their names alone."""
    final = torch.tensor(np.array([np.random.default_rng((7, name)).normal(size=5) for name in names])).float()
    return Memory(final[:, None], Mask(), torch.ones(len(names), dtype=torch.int64), final.reshape(len(names), 5))


class Plain:
    """The same decoder by the equations of the GRU (Cho et al. 2014), one history at a time, in float64."""

    def __init__(self, decoder: RecurrentDecoder) -> None:
        self.weights = {name: value.detach().double().numpy() for name, value in decoder.named_parameters()}
        self.vocab_size = len(self.weights["output.bias"])
        self.known: dict[tuple[int, tuple[int, ...]], np.ndarray] = {}

    def hidden(self, name: int, history: tuple[int, ...]) -> np.ndarray:
        """(H,) after a history that begins with <s>."""
        if (name, history) not in self.known:
            self.known[name, history] = self._hidden(name, history)
        return self.known[name, history]

    def _hidden(self, name: int, history: tuple[int, ...]) -> np.ndarray:
        w = self.weights
        if not history:
            return np.tanh(w["bridge.weight"] @ np.random.default_rng((7, name)).normal(size=5) + w["bridge.bias"])
        before = self.hidden(name, history[:-1])
        r_in, z_in, n_in = np.split(w["cell.weight_ih"] @ w["embedding.weight"][history[-1]] + w["cell.bias_ih"], 3)
        r_before, z_before, n_before = np.split(w["cell.weight_hh"] @ before + w["cell.bias_hh"], 3)
        r, z = 1 / (1 + np.exp(-r_in - r_before)), 1 / (1 + np.exp(-z_in - z_before))
        return (1 - z) * np.tanh(n_in + r * n_before) + z * before

    def log_probabilities(self, name: int, tokens: Sequence[int]) -> np.ndarray:
        """(V,) of the token after `tokens`."""
        logits = self.weights["output.weight"] @ self.hidden(name, (BOS, *tokens)) + self.weights["output.bias"]
        return logits - np.log(np.exp(logits).sum())


class Bigrams:
    """A scorer that knows the token before: table (V, V) of log-probabilities."""

    def __init__(self, vocab_size: int, sentences: int) -> None:
        generator = torch.Generator().manual_seed(3)
        self.table = (2 * torch.randn(vocab_size, vocab_size, generator=generator)).log_softmax(1)
        self.last = torch.full((sentences, 1), BOS)

    def scores(self) -> Tensor:
        return self.table[self.last]

    def advance(self, parents: Tensor, tokens: Tensor) -> None:
        self.last = tokens

    def keep(self, sentences: Tensor) -> None:
        self.last = self.last[sentences]


class WithBigrams(Plain):
    """Both opinions, weighted."""

    def __init__(self, decoder: RecurrentDecoder, share: float) -> None:
        super().__init__(decoder)
        self.share, self.table = share, Bigrams(self.vocab_size, 1).table.double().numpy()

    def log_probabilities(self, name: int, tokens: Sequence[int]) -> np.ndarray:
        last = tokens[-1] if len(tokens) else BOS
        return (1 - self.share) * super().log_probabilities(name, tokens) + self.share * self.table[last]


def run(
    decoder: RecurrentDecoder,
    names: Sequence[int],
    limits: Sequence[int],
    config: DecodeConfig,
    state: type[RecurrentState] = RecurrentState,
    **more,
) -> list[list[Hypothesis]]:
    with torch.no_grad():
        started = state(decoder.start(encode(names), 99, 99).hidden)
    return search(
        decoder, started, config=config, bos_id=BOS, eos_id=EOS, max_lengths=torch.tensor(limits), forbidden=FORBIDDEN,
        sample_ids=names, **more,
    )  # fmt: skip


def plain(decoder: Plain, config: DecodeConfig, limits: Sequence[int], prefixes: Sequence[tuple[int, ...]]) -> list:
    """`plain_beam_search` for all sentences; the bounds are those of docs/decoding.md."""
    results = []
    for name, (limit, prefix) in enumerate(zip(limits, prefixes, strict=True)):
        longest = max(limit, len(prefix))

        def bound(log_probability: float, step: int, longest: int = longest) -> float:
            alpha = config.length_penalty
            length = longest + 1 if config.stopping is Stopping.longest and alpha > 0 else step + 2
            return log_probability / length**alpha

        results.append(
            plain_beam_search(
                decoder,
                name,
                longest,
                beam=config.beam,
                n_best=config.n_best,
                alpha=config.length_penalty,
                bound=bound,
                prefix=prefix,
            )  # fmt: skip
        )
    return results


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_the_n_best_of_all_outputs(seed: int, alpha: float) -> None:
    decoder, limits = RecurrentDecoder(7, seed), [4, 3, 1, 0]
    config = DecodeConfig(beam=200, n_best=5, length_penalty=alpha, stopping=Stopping.longest)
    for name, hypotheses in enumerate(run(decoder, range(4), limits, config)):
        expected = exhaustive(Plain(decoder), name, limits[name], alpha)[:5]
        assert [hypothesis.tokens for hypothesis in hypotheses] == [tokens for _, tokens, _ in expected]
        np.testing.assert_allclose(
            [hypothesis.score for hypothesis in hypotheses], [score for score, _, _ in expected], atol=1e-4
        )


@pytest.mark.parametrize("stopping", list(Stopping))
@pytest.mark.parametrize("alpha", [0.0, 0.7, -0.5])
@pytest.mark.parametrize(("beam", "n_best"), [(1, 1), (2, 1), (3, 3), (6, 2), (20, 20)])
def test_equals_a_plain_beam_search(beam: int, n_best: int, alpha: float, stopping: Stopping) -> None:
    config = DecodeConfig(beam=beam, n_best=n_best, length_penalty=alpha, stopping=stopping)
    for seed in range(2):
        decoder = RecurrentDecoder(11, seed, end=-3.0)
        for prefixes in ([()] * 8, PREFIXES, [(5, 6, 7)] * 8):
            results = run(decoder, range(8), LIMITS, config, prefix=prefixes)
            for hypotheses, expected in zip(results, plain(Plain(decoder), config, LIMITS, prefixes), strict=True):
                assert_same(hypotheses, expected)


@pytest.mark.parametrize("beam", [1, 4])
def test_equals_a_plain_beam_search_with_a_scorer(beam: int) -> None:
    share, config = 0.3, DecodeConfig(beam=beam, n_best=min(2, beam), stopping=Stopping.longest)
    decoder = RecurrentDecoder(11, 0, end=-3.0)
    results = run(decoder, range(8), LIMITS, config, scorers=[(share, Bigrams(11, 8))], decoder_weight=1 - share)
    for hypotheses, expected in zip(results, plain(WithBigrams(decoder, share), config, LIMITS, [()] * 8), strict=True):
        assert_same(hypotheses, expected)


@pytest.mark.parametrize("share", [0.0, 0.25, 2.0])
def test_company_and_compaction_change_nothing(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With share 0.0 sentences leave the batch one by one, with 2.0 all at once."""
    monkeypatch.setattr(module, "COMPACT_SHARE", share)
    decoder, config = RecurrentDecoder(20, 3, end=-3.0), DecodeConfig(beam=4, n_best=2)
    alone = plain(Plain(decoder), config, LIMITS, [()] * 8)
    for batch in ([5, 0, 2, 7, 1, 6, 4, 3], [3], [2, 2, 0, 1]):
        for name, hypotheses in zip(batch, run(decoder, batch, [LIMITS[name] for name in batch], config), strict=True):
            assert_same(hypotheses, alone[name])


def test_draws_equal_those_of_a_plain_sampler() -> None:
    config = DecodeConfig(sample=True, n_best=3, seed=5)
    decoder = RecurrentDecoder(15, 4, end=-3.0)
    reference = Plain(decoder)
    possible = [token for token in range(15) if token not in FORBIDDEN]
    limits = [limit or 3 for limit in LIMITS]  # where only </s> is possible, nothing is drawn
    for name, hypotheses in enumerate(run(decoder, range(8), limits, config)):
        expected = []
        for draw in range(3):
            numbers = np.random.default_rng((5, name, draw)).random(limits[name] + 1)
            tokens, total = [], 0.0
            while not tokens or tokens[-1] != EOS:
                following = reference.log_probabilities(name, tokens)
                shares = np.exp(following[possible]).cumsum()
                token = possible[int((shares > numbers[len(tokens)] * shares[-1]).argmax())]
                tokens.append(token if len(tokens) < limits[name] else EOS)
                total += following[tokens[-1]]
            expected.append((tokens[:-1], total))
        expected.sort(key=lambda pair: -pair[1] / (len(pair[0]) + 1))
        assert [hypothesis.tokens for hypothesis in hypotheses] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose(
            [hypothesis.log_probability for hypothesis in hypotheses], [total for _, total in expected], atol=1e-4
        )


def test_without_following_outputs_are_others() -> None:
    """A state that only grows gives hypotheses the histories of others; with one hypothesis it makes no difference."""
    decoder, plain_decoder = RecurrentDecoder(11, 0, end=-3.0), Plain(RecurrentDecoder(11, 0, end=-3.0))
    for beam in (1, 4):
        config = DecodeConfig(beam=beam)
        expected = [[hypothesis.tokens for hypothesis in row] for row in plain(plain_decoder, config, LIMITS, [()] * 8)]
        for state in (RecurrentState, StaleState):
            tokens = [
                [hypothesis.tokens for hypothesis in row] for row in run(decoder, range(8), LIMITS, config, state)
            ]
            assert (tokens == expected) is (state is RecurrentState or beam == 1)


def test_parents_are_rows_of_the_step_and_rows_grow_once() -> None:
    """Three forced tokens are shared by all, so that there is one hypothesis until then; the limit is 9."""
    calls: list[Tensor | int] = []

    class Watched(RecurrentState):
        def follow(self, parents: Tensor) -> None:
            calls.append(parents)
            assert parents.dtype is torch.int64 and len(parents) == len(self.hidden)
            assert int(parents.min()) >= 0 and int(parents.max()) < self.hidden.shape[1]
            super().follow(parents)

        def keep(self, sentences: Tensor) -> None:
            calls.append(len(sentences))
            assert sentences.tolist() == sorted(set(sentences.tolist()))
            super().keep(sentences)

    run(RecurrentDecoder(11, 1, end=-3.0), range(8), LIMITS, DecodeConfig(beam=3), Watched, prefix=[(5, 6, 7)] * 8)
    rows = [call.shape[1] for call in calls if isinstance(call, Tensor)]
    assert rows[:4] == [1, 1, 1, 3] and set(rows[4:]) == {3}
    sizes = [call for call in calls if isinstance(call, int)]
    assert sizes == sorted(sizes, reverse=True) and sizes and sizes[0] < 8
    parents = torch.cat([call.flatten() for call in calls if isinstance(call, Tensor) and call.shape[1] == 3])
    assert set(parents.tolist()) == {0, 1, 2}
