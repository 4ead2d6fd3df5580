"""Sampling: the right distribution, the right support, and the same draws in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy import BOS, EOS, FORBIDDEN, ToyDecoder

from tformer_cli.config.schema import DecodeConfig
from tformer_cli.decode.search import search
from tformer_cli.decode.select import draw

DRAWS = 20_000


def run(decoder: ToyDecoder, names: list[int], limits: list[int], config: DecodeConfig, **more) -> list:
    return search(
        decoder, decoder.start(names), config=config, bos_id=BOS, eos_id=EOS, max_lengths=torch.tensor(limits),
        forbidden=FORBIDDEN, sample_ids=more.pop("sample_ids", names), **more,
    )  # fmt: skip


def counts_of(logits: torch.Tensor, **options) -> np.ndarray:
    """How often each token is drawn from one row of logits (V,)."""
    uniform = torch.from_numpy(np.random.default_rng(5).random(DRAWS))
    tokens = draw(logits.expand(DRAWS, -1), uniform, **options)
    return np.bincount(tokens.numpy(), minlength=len(logits))


def chi_square_fits(counts: np.ndarray, probability: np.ndarray) -> bool:
    """Pearson's statistic within five standard deviations of its mean; nothing where the probability is zero."""
    possible = probability > 0
    if counts[~possible].any():
        return False
    expected = probability[possible] * counts.sum()
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    freedom = possible.sum() - 1
    return statistic < freedom + 5 * np.sqrt(2 * freedom) + 5


def filtered(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """The distribution, written plainly."""
    scaled = logits.double().numpy() / temperature
    order = np.argsort(-scaled, kind="stable")
    indices = order[: top_k or None]
    probability = np.exp(scaled[indices] - scaled[indices].max())
    probability /= probability.sum()
    if top_p < 1:
        size = max(1, int(np.searchsorted(probability.cumsum(), top_p - 1e-12)) + 1)
        indices, probability = indices[:size], probability[:size] / probability[:size].sum()
    result = np.zeros(len(scaled))
    result[indices] = probability
    return result


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (5, 1.0), (0, 0.7), (8, 0.6), (1, 1.0), (0, 0.0), (99, 1.0)])
def test_draws_follow_the_distribution(temperature: float, top_k: int, top_p: float) -> None:
    logits = torch.randn(24, generator=torch.Generator().manual_seed(1)) * 1.5
    logits[[2, 7]] = -torch.inf
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    expected = filtered(logits, **options)
    assert chi_square_fits(counts_of(logits, **options), expected)
    if expected.max() < 0.8:  # the test can tell another distribution
        assert not chi_square_fits(counts_of(logits, **{**options, "temperature": temperature * 1.3}), expected)


def test_the_ends_of_the_unit_interval_draw_possible_tokens() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf, 0.5, -torch.inf]])
    for number in (0.0, 1 - 2**-53, 1.0):  # rounding may make it one
        for options in ({}, {"top_p": 0.5}, {"top_k": 2}, {"top_k": 4}):
            assert int(draw(logits, torch.tensor([number], dtype=torch.float64), **options)) in (1, 2, 4)


def test_the_last_possible_token_is_that_of_its_own_row() -> None:
    logits = torch.full((3, 6), -torch.inf)
    for row, last in enumerate((1, 5, 0)):
        logits[row, : last + 1] = 0.0
    numbers = torch.full((3,), 1.0, dtype=torch.float64)
    assert draw(logits, numbers).tolist() == [1, 5, 0]


def test_the_smallest_set_that_reaches_top_p_ends_there() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    assert int(draw(logits, torch.tensor([0.999], dtype=torch.float64), top_p=0.5)) == 0


@pytest.mark.parametrize("setting", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-3}], ids=str)
def test_search_draws_with_the_settings(setting: dict) -> None:
    """Each of them alone leaves only the most probable token."""
    decoder, names, limits = ToyDecoder(9, 4), list(range(6)), [8] * 6
    greedy = run(decoder, names, limits, DecodeConfig(beam=1))
    drawn = run(decoder, names, limits, DecodeConfig(beam=1, sample=True, **setting))
    free = run(decoder, names, limits, DecodeConfig(beam=1, sample=True))
    tokens = [[row[0].tokens for row in rows] for rows in (greedy, drawn, free)]
    assert tokens[0] == tokens[1] != tokens[2]


def test_whole_outputs_follow_the_model() -> None:
    decoder = ToyDecoder(6, 0, spread=1.0)
    outputs: dict[tuple[int, ...], int] = {}
    config = DecodeConfig(sample=True, n_best=50, beam=1)
    names = list(range(100))
    decoder.logits = lambda name, history, logits=decoder.logits: logits(0, history)  # all sentences are the same
    for hypotheses in run(decoder, names, [2] * 100, config):
        assert len(hypotheses) == 50
        for hypothesis in hypotheses:
            outputs[tuple(hypothesis.tokens)] = outputs.get(tuple(hypothesis.tokens), 0) + 1
    free = (4, 5)
    space = [(), *((a,) for a in free), *((a, b) for a in free for b in free)]
    probability = []
    for tokens in space:
        share = 1.0
        for i, token in enumerate((*tokens, EOS)[:2]):  # at the limit the end is certain
            following = np.exp(decoder.log_probabilities(0, tokens[:i]))
            share *= following[token] / following[[EOS, 4, 5]].sum()
        probability.append(share)
    assert sum(outputs.values()) == 5000
    assert chi_square_fits(np.array([outputs.get(tokens, 0) for tokens in space]), np.array(probability))


def test_draws_depend_on_seed_sentence_and_step_alone() -> None:
    decoder, random = ToyDecoder(40, 2, end=1.0), np.random.default_rng(0)
    limits = random.integers(1, 12, size=20).tolist()
    config = DecodeConfig(sample=True, n_best=3, top_p=0.9)
    alone = [run(decoder, [name], [limits[name]], config)[0] for name in range(20)]
    for _ in range(5):
        names = random.permutation(20)[: random.integers(2, 21)].tolist()
        assert run(decoder, names, [limits[name] for name in names], config) == [alone[name] for name in names]
    assert alone[0] != run(decoder, [0], [limits[0]], config, sample_ids=[1])[0]
    assert alone[0] != run(decoder, [0], [limits[0]], DecodeConfig(sample=True, n_best=3, top_p=0.9, seed=2))[0]
    negative = DecodeConfig(sample=True, seed=-1)
    assert run(decoder, [0], [9], negative) == run(decoder, [0], [9], negative)


def test_log_probability_is_the_models_own_whatever_is_filtered() -> None:
    decoder = ToyDecoder(15, 4, end=1.0)
    config = DecodeConfig(sample=True, n_best=4, temperature=0.5, top_k=3, length_penalty=0.5)
    for hypothesis in run(decoder, [0], [10], config)[0]:
        ended = [*hypothesis.tokens, EOS]
        total = sum(decoder.log_probabilities(0, ended[:i])[token] for i, token in enumerate(ended))
        assert (
            abs(hypothesis.log_probability - total) < 1e-4 and abs(hypothesis.score - total / len(ended) ** 0.5) < 1e-4
        )


def test_every_draw_continues_a_prefix() -> None:
    decoder = ToyDecoder(15, 4, end=1.0)
    results = run(decoder, [0, 1, 2], [8, 8, 8], DecodeConfig(sample=True, n_best=3), prefix=[[5, 6, 7], [], [4]])
    assert [len(hypotheses) for hypotheses in results] == [3, 3, 3]
    for hypotheses, prefix in zip(results, ([5, 6, 7], [], [4]), strict=True):
        assert all(hypothesis.tokens[: len(prefix)] == prefix for hypothesis in hypotheses)
        assert len({tuple(hypothesis.tokens) for hypothesis in hypotheses}) > 1
