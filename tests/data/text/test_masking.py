"""What is hidden, how often, and as what; which sentences make a pair."""

from __future__ import annotations

import numpy as np
import pytest

from tformer_cli.config.schema import MaskingConfig
from tformer_cli.data.text.masking import Masking
from tformer_cli.data.text.sentence_pairs import SentencePairs

V, MASK, SPECIAL = 100, 4, [0, 1, 2, 3, 4]
STARTS = np.arange(V) % 3 != 1  # a piece like 7 or 10 goes on a word


def hide(tokens: np.ndarray, seed: int = 0, **settings):
    masking = Masking(MaskingConfig(**settings), MASK, SPECIAL, STARTS)
    return masking(tokens, np.random.default_rng(seed))


def test_shares_are_those_of_the_paper():
    tokens = np.random.default_rng(1).integers(5, V, size=100_000)
    masked_sequence = hide(tokens)
    assert len(masked_sequence.indices) == 15_000 and np.all(np.diff(masked_sequence.indices) > 0)
    assert np.array_equal(masked_sequence.targets, tokens[masked_sequence.indices])
    shown = masked_sequence.tokens[masked_sequence.indices]
    unchanged, masked = shown == masked_sequence.targets, shown == MASK
    assert masked.mean() == pytest.approx(0.8, abs=0.01)
    assert unchanged.mean() == pytest.approx(0.1 + 0.1 / 95, abs=0.01)
    other = shown[~unchanged & ~masked]
    assert other.min() == 5 and other.max() == V - 1
    untouched = np.delete(np.arange(len(tokens)), masked_sequence.indices)
    assert np.array_equal(masked_sequence.tokens[untouched], tokens[untouched])


def test_special_tokens_are_never_hidden_and_something_always_is():
    masked_sequence = hide(np.array([2, 50, 3, 51, 3]))
    assert set(masked_sequence.indices) <= {1, 3} and len(masked_sequence.indices) == 1
    nothing = hide(np.array([2, 3, 3]))
    assert len(nothing.indices) == 0 and nothing.tokens.tolist() == [2, 3, 3]


def test_equal_generators_hide_the_same_and_others_do_not():
    tokens = np.arange(5, 95)
    assert np.array_equal(hide(tokens, 7).tokens, hide(tokens, 7).tokens)
    assert len({hide(tokens, seed).indices.tobytes() for seed in range(20)}) == 20


def test_words_are_hidden_whole():
    tokens = np.random.default_rng(2).integers(5, V, size=3_000)
    masked = hide(tokens, whole_words=True)
    word = np.cumsum(STARTS[tokens])
    hidden = np.zeros(len(tokens), dtype=bool)
    hidden[masked.indices] = True
    for number in np.unique(word[hidden]):
        assert hidden[word == number].all()
    assert abs(len(masked.indices) - 450) <= 2
    lengths = np.bincount(word)[word[hidden]]
    assert lengths.mean() == pytest.approx(np.bincount(word)[word].mean(), rel=0.1)  # long words are not preferred


def test_a_special_token_ends_a_word():
    tokens = np.array([8, 7, 2, 7, 7, 8, 7, 7, 3, 3, 7])  # 8 begins a word, 7 continues it, 2 and 3 are special
    parts = [{0, 1}, {3, 4}, {5, 6, 7}, {10}]
    hidden = [set(hide(tokens, seed, whole_words=True).indices.tolist()) for seed in range(200)]
    assert all(positions & part in (set(), part) for positions in hidden for part in parts)
    assert all(any(positions == part for positions in hidden) for part in parts)


def sentences() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    documents = np.sort(random.integers(0, 40, size=600))
    return random.integers(2, 12, size=600), documents


def test_half_of_the_pairs_follow_and_the_rest_are_of_another_document():
    lengths, documents = sentences()
    pairs = SentencePairs(lengths, documents, size=40)
    follow = []
    for sample in range(len(pairs)):
        for epoch in range(8):
            first, second, follows = pairs.pair(sample, np.random.default_rng((1, epoch, sample)))
            assert len(first) and len(second)
            assert lengths[first.start : first.stop].sum() + lengths[second.start : second.stop].sum() <= 40 or (
                len(second) == 1
            )
            assert len(set(documents[first.start : first.stop])) == len(set(documents[second.start : second.stop])) == 1
            assert (documents[first.start] == documents[second.start]) == follows
            assert not follows or second.start == first.stop
            follow.append(follows)
    assert np.mean(follow) == pytest.approx(0.5, abs=0.03)


def test_samples_take_up_where_the_last_one_ended():
    lengths, documents = sentences()
    pairs = SentencePairs(lengths, documents, size=40)
    assert np.all(np.diff(pairs.starts) > 0)
    covered = sum(
        lengths[first.start : first.stop].sum() + lengths[second.start : second.stop].sum()
        for first, second, follows in (pairs.pair(i, np.random.default_rng(i)) for i in range(len(pairs)))
        if follows
    )
    assert covered > 0.35 * lengths.sum()


def test_one_document_has_no_strangers():
    pairs = SentencePairs(np.full(10, 3), np.zeros(10, dtype=np.int64), size=9)
    assert all(pairs.pair(sample, np.random.default_rng(sample))[2] for sample in range(len(pairs)))
    assert len(SentencePairs(np.full(4, 30), np.zeros(4, dtype=np.int64), size=9)) == 0
    assert [len(SentencePairs(np.full(n, 3), np.zeros(n, dtype=np.int64), size=9)) for n in (1, 2, 3)] == [0, 1, 1]


@pytest.mark.parametrize("length", [2, 6, 11])
def test_whole_words_keep_the_share_however_long_they_are(length):
    """A word beyond the share is masked with the probability that keeps the share on average."""
    tokens = np.where(np.arange(length * 24) % length, 7, 8)  # 8 begins a word, 7 continues it
    counts = [len(hide(tokens, seed, whole_words=True).indices) for seed in range(600)]
    assert np.mean(counts) / len(tokens) == pytest.approx(0.15, abs=0.008) and len(set(counts)) <= 2
