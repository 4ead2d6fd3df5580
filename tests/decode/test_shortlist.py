"""Shortlists: IBM model 1 against loops, files, and the search beside a plain search over a sentence's tokens."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from toy import BOS, EOS, FORBIDDEN, ToyDecoder, assert_same, plain_beam_search

from tformer_cli.config.schema import DecodeConfig, Stopping
from tformer_cli.decode import search as module
from tformer_cli.decode import short_head
from tformer_cli.decode import shortlist as learning
from tformer_cli.decode.search import search
from tformer_cli.decode.shortlist import FILE, NULL, Shortlist, learn_shortlist, model_1
from tformer_cli.errors import ConfigError

VOCABULARY = 24


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.uint16)


def random_pairs(size: int, seed: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [
        (random.integers(0, 9, random.integers(1, 6)).astype(np.uint16), random.integers(0, 7, random.integers(1, 6)))
        for _ in range(size)
    ]


def test_model_1_is_that_of_explicit_loops():
    pairs = random_pairs(30)
    table: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(4):
        counts, totals = defaultdict(float), defaultdict(float)
        for source, target in pairs:
            words = [*source.tolist(), NULL]
            for f in target.tolist():
                denominator = sum(table[e, f] for e in words)
                for e in words:
                    counts[e, f] += table[e, f] / denominator
                    totals[e] += table[e, f] / denominator
        table = defaultdict(float, {(e, f): count / totals[e] for (e, f), count in counts.items()})
    sources, targets, probabilities = model_1(pairs, 4)
    keys = list(zip(sources.tolist(), targets.tolist(), strict=True))
    assert keys == sorted(table)
    assert probabilities.tolist() == pytest.approx([table[key] for key in keys])
    for source in set(sources.tolist()):
        assert probabilities[sources == source].sum() == pytest.approx(1)


def test_likelihood_never_falls():
    """A property of expectation maximisation."""
    pairs = random_pairs(40)

    def likelihood(iterations: int) -> float:
        sources, targets, probabilities = model_1(pairs, iterations)
        table = dict(zip(zip(sources.tolist(), targets.tolist(), strict=True), probabilities.tolist(), strict=True))
        return sum(
            math.log(sum(table[e, f] for e in [*source.tolist(), NULL]) / (len(source) + 1))
            for source, target in pairs
            for f in target.tolist()
        )

    values = [likelihood(iterations) for iterations in range(1, 6)]
    assert all(after >= before - 1e-9 for before, after in pairwise(values)) and values[-1] > values[0]


def test_translations_of_a_dictionary_come_first(monkeypatch):
    random = np.random.default_rng(1)
    sources = [np.append(random.choice(20, 6, replace=False), 20) for _ in range(300)]
    targets = [random.permutation(np.append(source[:-1] + 100, 99)) for source in sources]  # 99: like "the"
    shortlist = learn_shortlist(sources, targets, 25, 130, "x", translations=3, frequent=2)
    assert shortlist.translations.shape == (25, 3)
    assert shortlist.translations[:20, 0].tolist() == [token + 100 for token in range(20)]
    assert shortlist.translations[21:].max() == -1  # tokens that do not occur
    assert shortlist.frequent[0] == 99
    lines: list[str] = []
    monkeypatch.setattr(learning, "MOST_LINKS", 300 * 7 * 7 // 3)
    part = learn_shortlist(sources, targets, 25, 130, "x", translations=3, frequent=2, say=lines.append)
    assert lines[0] == "shortlist: aligning 100 sentence pairs" and lines[-1] == "shortlist: iteration 5 of 5"
    assert (part.translations[:20, 0] == shortlist.translations[:20, 0]).all()


def test_a_shortlist_depends_on_its_source_alone():
    table = np.array([[5, 6], [7, -1], [-1, -1], [8, 5]], np.int32)
    shortlist = Shortlist(table, np.array([9], np.int32), "x")
    tokens, mask = shortlist.allowed([ids(0, 3), ids(1), ids(2)], [3], joint=False)
    assert [row[real].tolist() for row, real in zip(tokens, mask, strict=True)] == [[3, 5, 6, 8, 9], [3, 7, 9], [3, 9]]
    alone, _ = shortlist.allowed([ids(1)], [3], joint=True)
    assert alone.tolist() == [[1, 3, 7, 9]]  # with the token of the source itself


def test_translations_are_ordered_by_probability_and_improbable_ones_are_left_out(monkeypatch):
    monkeypatch.setattr(learning, "MIN_PROBABILITY", 0.15)
    pairs = random_pairs(30)
    expected: list[list[int]] = [[] for _ in range(9)]
    estimates = zip(*(values.tolist() for values in model_1(pairs)), strict=True)
    for source, target, probability in sorted(estimates, key=lambda estimate: (-estimate[2], estimate[1])):
        if source != NULL and probability >= 0.15:
            expected[source].append(target)
    shortlist = learn_shortlist(*zip(*pairs, strict=True), 9, 7, "x", translations=7)
    assert [[token for token in row if token >= 0] for row in shortlist.translations.tolist()] == expected


def test_an_output_may_repeat_a_token_that_no_shortlist_contains():
    shortlist = Shortlist(np.full((12, 1), -1, np.int32), np.array([2], np.int32), "x")
    assert shortlist.allowed([ids(11)], [3], joint=True)[0].tolist() == [[2, 3, 11]]


def test_files(tmp_path):
    shortlist = learn_shortlist(*zip(*random_pairs(30), strict=True), 9, 7, "hash en-de", translations=2, frequent=3)
    shortlist.save(tmp_path / FILE)
    for path in (tmp_path, tmp_path / FILE):
        loaded = Shortlist.load(path, "hash en-de")
        assert (loaded.translations == shortlist.translations).all() and (loaded.frequent == shortlist.frequent).all()
    with pytest.raises(ConfigError, match=f"{FILE} is for a different vocabulary than the run's: use one of"):
        Shortlist.load(tmp_path, "hash de-en")
    with pytest.raises(ConfigError, match="decode.shortlist: .*/none: no such file: decode.shortlist=auto makes one"):
        Shortlist.load(tmp_path / "none", "")
    tensors = {"translations": shortlist.translations, "frequent": shortlist.frequent}
    save_file(tensors, tmp_path / "later", {"format": "2", "vocabulary": "hash en-de"})
    with pytest.raises(ConfigError, match="later is for a different vocabulary"):
        Shortlist.load(tmp_path / "later", "hash en-de")
    (tmp_path / "text").write_text("no")
    save_file({"weights": np.zeros(3)}, tmp_path / "model")
    for name in ("text", "model"):
        with pytest.raises(ConfigError, match=f"{name}: not a shortlist file"):
            Shortlist.load(tmp_path / name, "")


# --- the search ---


class Restricted(ToyDecoder):
    """The toy decoder, with a probability of 0 for all tokens that a sentence may not contain."""

    lists: dict[int, list[int]]

    def logits(self, name: int, history: tuple[int, ...]) -> np.ndarray:
        logits = np.full(self.vocab_size, -np.inf, np.float32)
        logits[self.lists[name]] = super().logits(name, history)[self.lists[name]]
        return logits


def allowed_of(lists: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, lists))
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in lists])
    return tokens, torch.arange(longest) < torch.tensor([[len(row)] for row in lists])


def random_lists(names: int, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    sizes = random.integers(6, 14, names)
    return [sorted({EOS, *random.choice(np.arange(4, VOCABULARY), size, replace=False).tolist()}) for size in sizes]


def run(decoder: ToyDecoder, names: list[int], limits: list[int], config: DecodeConfig, lists=None, **more):
    return search(
        decoder, decoder.start(names), config=config, bos_id=BOS, eos_id=EOS, max_lengths=torch.tensor(limits),
        forbidden=FORBIDDEN, sample_ids=names, allowed=None if lists is None else allowed_of(lists), **more,
    )  # fmt: skip


@pytest.mark.parametrize(("beam", "n_best"), [(1, 1), (3, 2), (5, 5)])
@pytest.mark.parametrize("share", [0.0, 2.0])
def test_equals_a_plain_search_over_the_shortlist(beam, n_best, share, monkeypatch):
    monkeypatch.setattr(module, "COMPACT_SHARE", share)
    for seed in range(3):
        limits, lists = [9, 4, 1, 7, 0, 12], random_lists(6, seed)
        plain, decoder = (kind(VOCABULARY, seed, end=1.5) for kind in (Restricted, ToyDecoder))
        plain.lists = dict(enumerate(lists))
        config = DecodeConfig(beam=beam, n_best=n_best, stopping=Stopping.longest)
        results = run(decoder, list(range(6)), limits, config, lists)
        for name, limit in enumerate(limits):
            options = {"beam": beam, "n_best": n_best, "alpha": 1.0, "bound": lambda value, step: math.inf}
            assert_same(results[name], plain_beam_search(plain, name, limit, **options))


@pytest.mark.parametrize("config", [DecodeConfig(beam=4, n_best=3), DecodeConfig(sample=True, n_best=3, top_k=9)])
def test_a_full_shortlist_changes_nothing(config):
    decoder = ToyDecoder(VOCABULARY, 1, end=1.0)
    limits = [8, 3, 10, 6]
    full = run(decoder, [0, 1, 2, 3], limits, config, [list(range(VOCABULARY))] * 4)
    for some, others in zip(full, run(decoder, [0, 1, 2, 3], limits, config), strict=True):
        assert_same(some, others)


@pytest.mark.parametrize("config", [DecodeConfig(beam=4, n_best=2), DecodeConfig(sample=True, n_best=2)])
def test_other_sentences_and_their_shortlists_change_nothing(config):
    decoder, lists = ToyDecoder(VOCABULARY, 2, end=1.0), random_lists(12, 5)
    limits = [7] * 12
    alone = [run(decoder, [name], [7], config, [lists[name]])[0] for name in range(12)]
    for result, expected in zip(run(decoder, list(range(12)), limits, config, lists), alone, strict=True):
        assert_same(result, expected)
    for name, hypotheses in enumerate(alone):
        assert all(set(hypothesis.tokens) <= set(lists[name]) for hypothesis in hypotheses)


def test_forced_tokens_outside_of_the_shortlist_have_no_probability():
    decoder, lists = ToyDecoder(VOCABULARY, 3, end=1.0), random_lists(1, 1)
    inside = next(token for token in lists[0] if token != EOS)
    outside = next(token for token in range(4, VOCABULARY) if token not in lists[0])
    results = [run(decoder, [0], [5], DecodeConfig(beam=2), lists, prefix=[(token,)])[0] for token in (inside, outside)]
    assert results[0][0].tokens[0] == inside and results[0][0].log_probability > -100 and not results[1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("library", [True, False])
def test_one_product_for_all_shortlists_has_the_logits_of_each(bias, library, monkeypatch):
    monkeypatch.setattr(short_head, "has_library_product", lambda *_: library)
    torch.manual_seed(1)
    output = (torch.randn(VOCABULARY, 8), torch.randn(VOCABULARY) if bias else None)
    hidden, answers = torch.randn(6, 1, 8), []
    for ratio in (0, 16):
        monkeypatch.setattr(short_head, "SHARED_RATIO", ratio)
        head = short_head.ShortHead(output, 6, torch.tensor([5]), allowed_of(random_lists(6, 1)))
        assert (head.columns is None) == (ratio == 0)
        answers.append([])
        for kept in (torch.arange(6), torch.tensor([1, 4])):
            head.keep(kept)
            head.project(hidden[kept])
            logits = head.logits.clone()
            head.forbid()
            answers[-1] += [logits, *head.best(torch.zeros(len(kept), 1), 3)]
    for each, shared in zip(*answers, strict=True):
        torch.testing.assert_close(shared, each)


def test_scorers_need_all_tokens():
    with pytest.raises(ValueError, match="over all tokens"):
        run(ToyDecoder(VOCABULARY, 1), [0], [3], DecodeConfig(), random_lists(1, 1), scorers=[(1.0, None)])
