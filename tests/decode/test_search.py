"""Beam search and greedy: against all outputs, against a plain search, and against themselves in other company."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toy import BOS, EOS, FORBIDDEN, ToyDecoder, assert_same, exhaustive, plain_beam_search

from tformer_cli.config.schema import DecodeConfig, Stopping
from tformer_cli.decode import search as module
from tformer_cli.decode.search import Hypothesis, batch_sentences, search
from tformer_cli.errors import RunError


def run(
    decoder: ToyDecoder, names: list[int], limits: list[int], config: DecodeConfig, **more
) -> list[list[Hypothesis]]:
    return search(
        decoder, decoder.start(names), config=config, bos_id=BOS, eos_id=EOS,
        max_lengths=torch.tensor(limits), forbidden=FORBIDDEN, **more,
    )  # fmt: skip


def bound_of(config: DecodeConfig, limit: int):
    """The best score a hypothesis in progress may reach, as docs/decoding.md states it."""
    alpha = config.length_penalty

    def bound(log_probability: float, step: int) -> float:
        length = limit + 1 if config.stopping is Stopping.longest and alpha > 0 else step + 2
        return log_probability / length**alpha

    return bound


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0, -0.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_n_best_of_all_outputs(seed: int, alpha: float) -> None:
    decoder, limits = ToyDecoder(7, seed), [4, 3, 1, 0]
    config = DecodeConfig(beam=200, n_best=5, length_penalty=alpha, stopping=Stopping.longest)
    for name, (limit, hypotheses) in enumerate(zip(limits, run(decoder, [0, 1, 2, 3], limits, config), strict=True)):
        expected = exhaustive(decoder, name, limit, alpha)[:5]
        assert [hypothesis.tokens for hypothesis in hypotheses] == [tokens for _, tokens, _ in expected]
        np.testing.assert_allclose(
            [hypothesis.score for hypothesis in hypotheses], [score for score, _, _ in expected], atol=1e-4
        )
        np.testing.assert_allclose(
            [hypothesis.log_probability for hypothesis in hypotheses], [total for _, _, total in expected], atol=1e-4
        )


@pytest.mark.parametrize("stopping", list(Stopping))
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, -0.5])
@pytest.mark.parametrize(("beam", "n_best"), [(1, 1), (2, 1), (3, 3), (6, 2), (20, 20)])
def test_equals_a_plain_beam_search(beam: int, n_best: int, alpha: float, stopping: Stopping) -> None:
    limits = [9, 4, 12, 1, 7, 7, 0, 5]
    prefixes = [(), (5, 6), (4,), (), (8, 8, 8, 8), (5,), (), (9, 4)]
    for seed in range(2):
        decoder = ToyDecoder(11, seed, end=1.5)
        config = DecodeConfig(beam=beam, n_best=n_best, length_penalty=alpha, stopping=stopping)
        for prefix in (None, prefixes, [(5, 6, 7)] * 8):
            lengths = [max(limit, len(prefix[i]) if prefix else 0) for i, limit in enumerate(limits)]
            results = run(decoder, list(range(8)), limits, config, prefix=prefix)
            for name in range(8):
                expected = plain_beam_search(
                    decoder, name, lengths[name], beam=beam, n_best=n_best, alpha=alpha,
                    bound=bound_of(config, lengths[name]), prefix=prefix[name] if prefix else (),
                )  # fmt: skip
                assert_same(results[name], expected)


def test_stopping_saves_steps_and_longest_is_as_good_as_never_stopping() -> None:
    steps, worse = {}, 0
    for seed in range(20):
        results = {}
        for stopping in Stopping:
            decoder = ToyDecoder(9, seed, end=2.0)
            results[stopping] = run(decoder, [0, 1], [30, 30], DecodeConfig(beam=3, stopping=stopping))
            steps[stopping] = steps.get(stopping, 0) + decoder.rows_stepped
        for name in range(2):
            options = {"beam": 3, "n_best": 1, "alpha": 1.0, "bound": lambda *_: math.inf}
            assert_same(results[Stopping.longest][name], plain_beam_search(decoder, name, 30, **options))
            worse += results[Stopping.next][name][0].score < results[Stopping.longest][name][0].score
    assert steps[Stopping.next] < 0.7 * steps[Stopping.longest] < 0.7 * 20 * 2 * 31
    assert worse > 0  # else there would be no reason for two rules


@pytest.mark.parametrize("seed", range(5))
def test_greedy_takes_the_most_probable_token_each_step(seed: int) -> None:
    decoder = ToyDecoder(30, seed, end=1.0)
    (found,) = run(decoder, [7], [25], DecodeConfig(beam=1))[0]
    tokens, total = [], 0.0
    while True:
        following = decoder.log_probabilities(7, tokens)
        following[list(FORBIDDEN)] = -np.inf
        best = int(following.argmax()) if len(tokens) < 25 else EOS
        total += following[best]
        if best == EOS:
            break
        tokens.append(best)
    assert found.tokens == tokens and abs(found.log_probability - total) < 1e-4


@pytest.mark.parametrize("share", [0.0, 0.25, 2.0])
def test_company_order_and_compaction_change_nothing(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPACT_SHARE", share)
    decoder, random = ToyDecoder(20, 3, end=1.0), np.random.default_rng(0)
    limits, config = random.integers(1, 15, size=24).tolist(), DecodeConfig(beam=4, n_best=2)
    alone = [run(decoder, [name], [limits[name]], config)[0] for name in range(24)]
    for _ in range(5):
        names = random.permutation(24)[: random.integers(2, 25)].tolist()
        together = run(decoder, names, [limits[name] for name in names], config)
        assert together == [alone[name] for name in names]


def test_best_first_no_output_twice_and_never_a_forbidden_token() -> None:
    results = run(ToyDecoder(12, 1, end=1.0), [0, 1, 2], [8, 8, 8], DecodeConfig(beam=6, n_best=6))
    for hypotheses in results:
        scores = [hypothesis.score for hypothesis in hypotheses]
        assert len(scores) == 6 and scores == sorted(scores, reverse=True)
        assert len({tuple(hypothesis.tokens) for hypothesis in hypotheses}) == 6
        assert not {token for hypothesis in hypotheses for token in hypothesis.tokens} & {*FORBIDDEN, EOS}


def test_the_limit_forces_the_end_and_says_so() -> None:
    decoder = ToyDecoder(12, 5, end=-50.0)
    (hypothesis,) = run(decoder, [0], [6], DecodeConfig(beam=3))[0]
    assert len(hypothesis.tokens) == 6 and not hypothesis.finished
    assert hypothesis.details("a") == {"text": "a", "score": hypothesis.score, "finished": False}
    total = sum(decoder.log_probabilities(0, hypothesis.tokens[:i])[t] for i, t in enumerate([*hypothesis.tokens, EOS]))
    assert abs(hypothesis.log_probability - total) < 1e-3
    (hypothesis,) = run(ToyDecoder(12, 5, end=50.0), [0], [0], DecodeConfig(beam=3))[0]
    assert hypothesis.tokens == [] and hypothesis.finished  # it would have ended there anyway


def test_equal_scores_are_ordered_the_same_every_time() -> None:
    class Flat(ToyDecoder):
        def logits(self, name: int, history: tuple[int, ...]) -> np.ndarray:
            return np.zeros(self.vocab_size, dtype=np.float32)

    config = DecodeConfig(beam=4, n_best=4)
    alone = run(Flat(300, 0), [0], [5], config)
    together = run(Flat(300, 0), list(range(9)), [5, 3, 4, 5, 1, 2, 5, 5, 5], config)
    assert together[0] == together[3] == together[8] == alone[0]


def test_an_empty_batch_has_no_answers() -> None:
    assert run(ToyDecoder(9, 0), [], [], DecodeConfig(beam=2)) == []


def test_a_prefix_may_hold_forbidden_tokens_but_not_the_end() -> None:
    (found,) = run(ToyDecoder(9, 0), [0], [5], DecodeConfig(beam=2), prefix=[[1, 5]])[0]
    assert found.tokens[:2] == [1, 5] and math.isfinite(found.score)
    with pytest.raises(ValueError, match="prefix"):
        run(ToyDecoder(9, 0), [0], [5], DecodeConfig(), prefix=[[EOS]])


def test_scores_that_are_no_numbers_are_an_error() -> None:
    class Broken(ToyDecoder):
        def logits(self, name: int, history: tuple[int, ...]) -> np.ndarray:
            return np.full(self.vocab_size, np.nan, dtype=np.float32)

    with pytest.raises(RunError, match="not finite"):
        run(Broken(9, 0), [0], [5], DecodeConfig())


def test_a_batch_has_as_many_sentences_as_hypotheses_leave_room_for() -> None:
    assert batch_sentences(DecodeConfig(beam=5)) == 64
    assert batch_sentences(DecodeConfig(beam=1)) == 320
    assert batch_sentences(DecodeConfig(sample=True, beam=1, n_best=2)) == 160
    assert batch_sentences(DecodeConfig(beam=1024)) == 1
    assert batch_sentences(DecodeConfig(beam=1, batch=7)) == 7
