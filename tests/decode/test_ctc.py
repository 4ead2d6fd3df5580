"""CTC in use: every answer against the enumeration of all alignments, which is the definition."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from toy import BOS, EOS, FORBIDDEN, ToyDecoder, plain_beam_search

from tformer_cli.config.schema import DecodeConfig, Stopping
from tformer_cli.data.speech.fitting import needed_frames
from tformer_cli.decode import ctc
from tformer_cli.decode.joint import CTCPrefix
from tformer_cli.decode.search import search
from tformer_cli.decode.spelling import Spelling


def collapse(path: Sequence[int]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def outputs_of(frames: Tensor) -> dict[tuple[int, ...], float]:
    """The probability of every output of (T, V) log-probabilities."""
    found: dict[tuple[int, ...], float] = {}
    values = frames.double().exp().tolist()
    possible = [token for token in range(frames.shape[1]) if any(value[token] for value in values)]
    for path in itertools.product(possible, repeat=len(frames)):
        share = math.prod(values[t][token] for t, token in enumerate(path))
        found[collapse(path)] = found.get(collapse(path), 0.0) + share
    return found


def random_frames(batch: int, frames: int, vocab_size: int, seed: int, spread: float = 1.5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(batch, frames, vocab_size, generator=generator)).log_softmax(-1)


# --- greedy ----------------------------------------------------------------------------------------------------------


def test_greedy_merges_repetitions_drops_blanks_and_ends_at_the_length():
    paths = [[1, 1, 0, 1, 2, 2, 3], [0, 0, 3, 3, 0, 3, 2], [2, 2, 2, 2, 2, 2, 2]]
    log_probs = torch.nn.functional.one_hot(torch.tensor(paths), 4).float()
    assert ctc.greedy(log_probs, torch.tensor([7, 6, 0])) == [[1, 1, 2, 3], [3, 3], []]
    assert ctc.greedy(log_probs, torch.tensor([7, 7, 7]), blank=3) == [[1, 0, 1, 2], [0, 0, 2], [2]]


def test_needed_frames_is_the_least_for_which_there_is_an_alignment():
    for target in itertools.product((1, 2), repeat=4):
        needed = needed_frames(target)
        for frames in range(3, 8):
            possible = any(collapse(path) == target for path in itertools.product(range(3), repeat=frames))
            assert possible == (frames >= needed)
    assert needed_frames([]) == 0


# --- prefix beam search ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_prefix_beam_finds_all_outputs_with_their_probabilities(seed: int):
    log_probs = random_frames(3, 5, 4, seed)
    lengths = [5, 3, 1]
    for hypotheses, row, length in zip(
        ctc.prefix_beam(log_probs, torch.tensor(lengths), beam=500, n_best=500), log_probs, lengths, strict=True
    ):
        expected = sorted(outputs_of(row[:length]).items(), key=lambda pair: -pair[1])
        assert [tuple(hypothesis.tokens) for hypothesis in hypotheses] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose(
            [hypothesis.log_probability for hypothesis in hypotheses], [math.log(p) for _, p in expected], atol=1e-6
        )
        assert [hypothesis.score for hypothesis in hypotheses] == [
            hypothesis.log_probability for hypothesis in hypotheses
        ]


class Toy:
    """A language model whose scores are a random function of all tokens so far."""

    highest = 0.0

    def start(self, sentences: int) -> list[tuple[int, ...]]:
        return [()] * sentences

    def all_scores(self, history: tuple[int, ...]) -> np.ndarray:
        return -np.random.default_rng((9, len(history), *history)).gamma(2.0, size=10)

    def scores(self, hypotheses: Sequence[tuple[int, ...]], tokens: np.ndarray) -> np.ndarray:
        return np.stack([self.all_scores(hypothesis)[tokens] for hypothesis in hypotheses])

    def ends(self, hypotheses: Sequence[tuple[int, ...]]) -> np.ndarray:
        return np.array([self.all_scores(hypothesis)[-1] for hypothesis in hypotheses])

    def follow(self, hypothesis: tuple[int, ...], token: int) -> tuple[int, ...]:
        return (*hypothesis, token)

    def total(self, tokens: tuple[int, ...]) -> float:
        return sum(self.all_scores(tokens[:i])[token] for i, token in enumerate((*tokens, -1)))


class Bonus(Toy):
    """Gives instead of taking, as a word bonus does."""

    highest = 8.0

    def all_scores(self, history: tuple[int, ...]) -> np.ndarray:
        return np.minimum(-super().all_scores(history), 8.0)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_ctc_and_of_language_models_weighted(seed: int):
    log_probs = random_frames(1, 5, 4, seed)
    scorers = [(0.7, Toy()), (0.2, Bonus())]
    (hypotheses,) = ctc.prefix_beam(log_probs, torch.tensor([5]), beam=500, n_best=10, scorers=scorers)
    every = {
        tokens: math.log(p) + sum(weight * model.total(tokens) for weight, model in scorers)
        for tokens, p in outputs_of(log_probs[0]).items()
    }
    expected = sorted(every.items(), key=lambda pair: -pair[1])[:10]
    assert [tuple(hypothesis.tokens) for hypothesis in hypotheses] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose(
        [hypothesis.score for hypothesis in hypotheses], [score for _, score in expected], atol=1e-6
    )


def plain_prefix_beam(
    frames: Tensor, beam: int, added: Callable[[tuple[int, ...]], float] = lambda tokens: 0.0
) -> list[tuple[tuple[int, ...], float]]:
    """Hannun et al. 2014, algorithm 1, without its pruning of tokens: prefixes in a dictionary, one at a time."""
    live = {(): (0.0, -math.inf)}
    for frame in frames.double().tolist():
        grown: dict[tuple[int, ...], list[float]] = {}
        for tokens, (blank, token) in live.items():
            here = grown.setdefault(tokens, [-math.inf, -math.inf])
            here[0] = np.logaddexp(here[0], np.logaddexp(blank, token) + frame[0])
            if tokens:
                here[1] = np.logaddexp(here[1], token + frame[tokens[-1]])
            for c in range(1, len(frame)):
                longer = grown.setdefault((*tokens, c), [-math.inf, -math.inf])
                before = blank if tokens and c == tokens[-1] else np.logaddexp(blank, token)
                longer[1] = np.logaddexp(longer[1], before + frame[c])
        ranked = sorted(grown.items(), key=lambda one: -(np.logaddexp(*one[1]) + added(one[0])))
        live = {tokens: (values[0], values[1]) for tokens, values in ranked[:beam]}
    return [(tokens, float(np.logaddexp(*values)) + added(tokens)) for tokens, values in live.items()]


@pytest.mark.parametrize("spread", [1.0, 4.0])
@pytest.mark.parametrize("beam", [1, 2, 5, 12])
def test_a_narrow_prefix_beam_equals_a_plain_one(beam: int, spread: float):
    scorers = [(0.3, Toy()), (0.5, Bonus())]

    def added(tokens: tuple[int, ...]) -> float:  # in progress: without the end
        return sum(
            weight * sum(model.all_scores(tokens[:i])[token] for i, token in enumerate(tokens))
            for weight, model in scorers
        )

    for seed in range(2):
        log_probs = random_frames(2, 25, 8, seed, spread)
        log_probs[0, 5:9] = torch.tensor([50.0, *[0.0] * 7]).log_softmax(-1)  # nothing but blanks
        results = ctc.prefix_beam(log_probs, torch.tensor([25, 20]), beam=beam, n_best=beam)
        for row, length, hypotheses in zip(log_probs, (25, 20), results, strict=True):
            expected = plain_prefix_beam(row[:length], beam)
            assert [tuple(hypothesis.tokens) for hypothesis in hypotheses] == [tokens for tokens, _ in expected]
            np.testing.assert_allclose(
                [hypothesis.score for hypothesis in hypotheses], [score for _, score in expected], atol=1e-6
            )
        (fused,) = ctc.prefix_beam(log_probs[:1], torch.tensor([25]), beam=beam, n_best=beam, scorers=scorers)
        expected = plain_prefix_beam(log_probs[0], beam, added)
        assert {tuple(hypothesis.tokens) for hypothesis in fused} == {tokens for tokens, _ in expected}


class Penalty(Toy):
    """Takes much from some tokens, so that log-probabilities alone say little about which prefixes survive."""

    def all_scores(self, history: tuple[int, ...]) -> np.ndarray:
        return 4 * super().all_scores(history)


@pytest.mark.parametrize("beam", [2, 4])
def test_a_narrow_prefix_beam_equals_a_plain_one_under_strong_penalties(beam: int):
    model = Penalty()

    def added(tokens: tuple[int, ...]) -> float:
        return sum(model.all_scores(tokens[:i])[token] for i, token in enumerate(tokens))

    for seed in range(6):
        log_probs = random_frames(1, 20, 8, seed, 3.0)
        (hypotheses,) = ctc.prefix_beam(log_probs, torch.tensor([20]), beam=beam, n_best=beam, scorers=[(1.0, model)])
        expected = plain_prefix_beam(log_probs[0], beam, added)
        assert {tuple(hypothesis.tokens) for hypothesis in hypotheses} == {tokens for tokens, _ in expected}


def test_prefix_beam_returns_one_finished_hypothesis_unless_more_are_asked_for():
    (hypotheses,) = ctc.prefix_beam(random_frames(1, 6, 4, 0), torch.tensor([6]), beam=5)
    assert len(hypotheses) == 1 and hypotheses[0].finished is True


def test_equally_probable_prefixes_keep_their_order():
    frames = torch.full((1, 1, 20), 1 / 20).log()
    (hypotheses,) = ctc.prefix_beam(frames, torch.tensor([1]), beam=20, n_best=20)
    assert [hypothesis.tokens for hypothesis in hypotheses] == [[], *([token] for token in range(1, 20))]


def test_a_recording_without_frames_says_nothing():
    for hypotheses in ctc.prefix_beam(random_frames(2, 0, 4, 0), torch.tensor([0, 0]), beam=3):
        assert [hypothesis.tokens for hypothesis in hypotheses] == [[]] and hypotheses[0].score == 0


# --- alignment -------------------------------------------------------------------------------------------------------


def best_path(frames: Tensor, target: tuple[int, ...]) -> tuple[int, ...] | None:
    values = frames.tolist()
    paths = [p for p in itertools.product({0, *target}, repeat=len(frames)) if collapse(p) == target]
    return max(paths, key=lambda path: sum(values[t][c] for t, c in enumerate(path)), default=None)


@pytest.mark.parametrize("seed", range(4))
def test_alignments_are_the_best_of_all(seed: int):
    targets = [(1, 2), (2, 2), (), (1,), (1, 1, 1), (3, 1, 3, 2), (1, 2, 3, 1, 2, 3, 1), (2, 3)]
    lengths = [6, 6, 4, 1, 4, 6, 6, 3]
    log_probs = random_frames(len(targets), 6, 4, seed)
    alignments = ctc.align(log_probs, torch.tensor(lengths), targets)
    for row, length, target, spans in zip(log_probs, lengths, targets, alignments, strict=True):
        path = best_path(row[:length], target)
        assert (spans is None) == (path is None) == (needed_frames(target) > length)
        if spans is None or path is None:
            continue
        runs, start = [], 0
        for token, run in itertools.groupby(path):
            end = start + len(list(run))
            if token:
                posterior = float(row[start:end, token].exp().mean())
                runs.append((token, start, end, pytest.approx(posterior, abs=1e-6)))
            start = end
        assert [(span.token, span.start, span.end, span.confidence) for span in spans] == runs


def test_words_have_times_in_seconds():
    spelling = Spelling(["<pad>", "\u2581he", "llo", "\u2581", "you", "\u2581a\u2581b"], [0])
    spans = [
        ctc.Span(1, 1, 3, 0.5), ctc.Span(2, 4, 5, 1.0), ctc.Span(3, 6, 7, 0.1), ctc.Span(4, 8, 10, 0.25),
        ctc.Span(5, 12, 13, 0.75),
    ]  # fmt: skip
    words = [
        (word.text, word.start_seconds, word.end_seconds, word.confidence) for word in ctc.words(spans, spelling, 0.5)
    ]
    assert words == [("hello", 0.5, 2.5, 0.75), ("you", 4.0, 5.0, 0.25), ("a", 6.0, 6.5, 0.75), ("b", 6.0, 6.5, 0.75)]


def test_a_piece_that_begins_within_a_word_continues_it_and_a_lone_space_ends_it():
    spelling = Spelling(["<pad>", "lo", "\u2581", "\u2581a\u2581"], [0])
    spans = [ctc.Span(1, 0, 1, 1.0), ctc.Span(1, 1, 2, 1.0), ctc.Span(2, 2, 3, 1.0), ctc.Span(1, 3, 4, 1.0),
             ctc.Span(3, 4, 5, 1.0), ctc.Span(1, 5, 6, 1.0)]  # fmt: skip
    assert [word.text for word in ctc.words(spans, spelling, 1.0)] == ["lolo", "lo", "a", "lo"]


# --- joint scores ----------------------------------------------------------------------------------------------------


def prefix_probability(every: dict[tuple[int, ...], float], prefix: tuple[int, ...]) -> float:
    return sum(p for tokens, p in every.items() if tokens[: len(prefix)] == prefix)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prefix_scores_are_sums_over_all_alignments(dtype: torch.dtype):
    lengths = [6, 4, 2, 0]
    log_probs = random_frames(4, 6, 5, 3).to(dtype)
    every = [outputs_of(row[:length]) for row, length in zip(log_probs, lengths, strict=True)]
    scorer = CTCPrefix(log_probs, torch.tensor(lengths), eos_id=EOS)
    prefixes, totals = [[()]] * 4, np.zeros((4, 1))
    for parents, tokens in (
        ([0, 0, 0], [1, 2, 4]),
        ([1, 0, 0], [2, 1, 2]),
        ([0, 2, 2], [4, 2, 2]),
        ([2, 0, 1], [1] * 3),
    ):
        added = scorer.scores().numpy()
        for b, r in np.ndindex(totals.shape):
            for token in range(1, 5):
                expected = every[b].get(prefixes[b][r], 0.0)
                if token != EOS:
                    expected = prefix_probability(every[b], (*prefixes[b][r], token))
                np.testing.assert_allclose(np.exp(totals[b, r] + added[b, r, token]), expected, rtol=1e-4, atol=1e-30)
        assert (added[:, :, 0] == -np.inf).all() and not np.isnan(added).any()
        totals = np.stack([totals[:, p] + added[:, p, t] for p, t in zip(parents, tokens, strict=True)], 1)
        prefixes = [[(*row[p], t) for p, t in zip(parents, tokens, strict=True)] for row in prefixes]
        scorer.advance(torch.tensor([parents] * 4), torch.tensor([tokens] * 4))
    scorer.keep(torch.tensor([0, 2]))
    assert scorer.scores().shape == (2, 3, 5)


def test_prefix_scores_hold_over_a_thousand_frames():
    """Against the recursion as it is written, frame by frame."""
    log_probs = random_frames(1, 1000, 6, 0, spread=6.0).double()
    scorer, tokens = CTCPrefix(log_probs, torch.tensor([1000]), eos_id=EOS), [1, 2, 2, 4, 5, 1] * 20
    for token in tokens:
        scorer.advance(torch.tensor([[0]]), torch.tensor([[token]]))
    frames = log_probs[0].tolist()
    blank, token = [0.0], [-math.inf]
    for frame in frames:
        blank.append(blank[-1] + frame[0])
        token.append(-math.inf)
    for before, here in zip([0, *tokens], tokens, strict=False):
        phi = blank if before == here else np.logaddexp(blank, token).tolist()
        psi, grown_blank, grown_token = -math.inf, [-math.inf], [-math.inf]
        for t, frame in enumerate(frames):
            psi = np.logaddexp(psi, phi[t] + frame[here])
            grown_blank.append(np.logaddexp(grown_blank[-1], grown_token[-1]) + frame[0])
            grown_token.append(np.logaddexp(grown_token[-1], phi[t]) + frame[here])
        blank, token = grown_blank, grown_token
    np.testing.assert_allclose(float(scorer.psi), psi, rtol=1e-9)
    np.testing.assert_allclose(scorer.after_blank[0, 0].numpy(), blank, rtol=1e-9)


class Joint(ToyDecoder):
    """The toy decoder and CTC weighed by enumeration: what a search with a scorer is held against."""

    def __init__(self, decoder: ToyDecoder, every: list[dict[tuple[int, ...], float]], weight: float) -> None:
        super().__init__(decoder.vocab_size, decoder.seed, end=decoder.end)
        self.every, self.share = every, weight

    def log_probabilities(self, name: int, tokens: Sequence[int]) -> np.ndarray:
        every, tokens = self.every[name], tuple(tokens)
        if not prefix_probability(every, tokens):
            return np.full(self.vocab_size, -np.inf)
        with np.errstate(divide="ignore"):
            psi = np.log([prefix_probability(every, (*tokens, c)) for c in range(self.vocab_size)])
            psi[EOS] = np.log(every.get(tokens, 0.0))
            psi -= np.log(prefix_probability(every, tokens))
        return (1 - self.share) * super().log_probabilities(name, tokens) + self.share * psi


@pytest.mark.parametrize("beam", [1, 3, 6])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_joint_search_equals_a_plain_search_by_both_scores(beam: int, alpha: float):
    weight, lengths, limits = 0.4, [6, 5, 3, 6, 1], [6, 3, 6, 6, 4]
    log_probs = random_frames(5, 6, 6, 1)
    log_probs[:, :, [1, BOS, EOS]] = -torch.inf  # tokens that CTC never says
    log_probs = log_probs.log_softmax(-1)
    every = [outputs_of(row[:length]) for row, length in zip(log_probs, lengths, strict=True)]
    decoder = ToyDecoder(6, 2, end=1.0)
    config = DecodeConfig(beam=beam, n_best=min(beam, 2), length_penalty=alpha, stopping=Stopping.longest)
    joint = Joint(decoder, every, weight)
    for prefix in (None, [(4,), (), (5, 4), (), (4,)]):
        scorer = CTCPrefix(log_probs, torch.tensor(lengths), eos_id=EOS)
        results = search(
            decoder, decoder.start(range(5)), config=config, bos_id=BOS, eos_id=EOS, max_lengths=torch.tensor(limits),
            forbidden=FORBIDDEN, prefix=prefix, scorers=[(weight, scorer), (0.0, scorer)], decoder_weight=1 - weight,
        )  # fmt: skip
        for name, limit in enumerate(limits):

            def bound(log_probability: float, step: int, limit: int = limit) -> float:
                return log_probability / (limit + 1) ** alpha

            expected = plain_beam_search(
                joint, name, limit, beam=beam, n_best=config.n_best, alpha=alpha, bound=bound,
                prefix=prefix[name] if prefix else (),
            )  # fmt: skip
            expected = [hypothesis for hypothesis in expected if hypothesis.score > -math.inf]
            assert [hypothesis.tokens for hypothesis in results[name]] == [hypothesis.tokens for hypothesis in expected]
            np.testing.assert_allclose([x.score for x in results[name]], [x.score for x in expected], atol=1e-4)
            assert [hypothesis.finished for hypothesis in results[name]] == [
                hypothesis.finished for hypothesis in expected
            ]


def test_scorers_do_not_judge_what_is_drawn():
    decoder, scorer = ToyDecoder(6, 0), CTCPrefix(random_frames(1, 3, 6, 0), torch.tensor([3]), eos_id=EOS)
    for config, weight in ((DecodeConfig(sample=True, beam=1), 1.0), (DecodeConfig(), 0.0)):
        with pytest.raises(ValueError, match="scorers"):
            search(
                decoder, decoder.start([0]), config=config, bos_id=BOS, eos_id=EOS, max_lengths=torch.tensor([3]),
                scorers=[(1.0, scorer)], decoder_weight=weight,
            )  # fmt: skip
