"""Resampled scores beside closed forms and beside sacreBLEU's own test."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest
from scipy import stats

from tformer_cli.metrics.bootstrap import difference_p_value, interval, mean_of, paired_bootstrap, ratio_of
from tformer_cli.metrics.labels import labels_scores, labels_statistic
from tformer_cli.metrics.speech import speech_scores, utterance_counts
from tformer_cli.metrics.translation import (
    SACREBLEU,
    tokenization,
    translation_scores,
    translation_statistic,
)

WORDS = ["the", "a", "cat", "dog", "bird", "sees", "eats", "small", "black", "yellow", "house", "tree", ",", "."]


def corpus(size: int, noise: float, seed: int) -> tuple[list[str], list[str]]:
    """Random sentences, and the same with some words replaced."""
    random = np.random.default_rng(seed)
    references = [" ".join(random.choice(WORDS, random.integers(5, 15))) for _ in range(size)]
    return references, [
        " ".join(word if random.random() > noise else str(random.choice(WORDS)) for word in line.split())
        for line in references
    ]


@pytest.mark.parametrize("size", [31, 40])  # an odd number: how the generator divides its words must not matter
def test_one_resampling_is_sacrebleus(size):
    """The same resamples, means and widths of intervals, up to the float32 sums of sacreBLEU."""
    references, first = corpus(size, 0.2, seed=1)
    second = corpus(size, 0.3, seed=1)[1]
    divided = tokenization("en", references)
    statistics = [translation_statistic("bleu", lines, references, divided) for lines in (first, second)]
    ours = paired_bootstrap(statistics, size, num_samples=80)
    _, columns = PairedTest([("a", first), ("b", second)], {"bleu": BLEU()}, [references], "bs", n_samples=80)()
    assert ours is not None
    for mine, result in zip(ours, columns["BLEU"], strict=True):
        half_width = (mine.high - mine.low) / 2
        assert (mine.score, mine.mean, half_width) == pytest.approx((result.score, result.mean, result.ci))
        assert mine.low < mine.mean < mine.high


def test_translations_are_compared():
    references, first = corpus(60, 0.1, seed=1)
    systems = [first, first, corpus(60, 0.6, seed=1)[1]]
    divided = tokenization("en", references)
    for metric in SACREBLEU:
        statistics = [translation_statistic(metric, lines, references, divided) for lines in systems]
        baseline, same, worse = paired_bootstrap(statistics, 60) or []
        assert baseline.p_value is None and same.p_value == 1 and worse.p_value is not None and worse.p_value < 0.01
        assert baseline.score == pytest.approx(translation_scores(first, references, "en")[0][metric])
        assert (same.score, same.mean, same.low, same.high) == (
            baseline.score, baseline.mean, baseline.low, baseline.high
        )  # fmt: skip


@pytest.mark.parametrize("metric", [*SACREBLEU, "exact_match"])
@pytest.mark.parametrize("language", ["en", "th"])
def test_scores_of_some_translations(metric, language):
    references, lines = corpus(12, 0.3, seed=2)
    divided = tokenization(language, references)
    score = translation_statistic(metric, lines, references, divided)
    assert score is not None
    rows = np.array([3, 3, 8, 1])
    parts = [lines[row] for row in rows], [references[row] for row in rows]
    assert score(rows) == pytest.approx(translation_scores(*parts, language, divided=divided)[0][metric])
    assert translation_statistic("loss", lines, references, divided) is None


def test_bleu_of_short_references_uses_the_ngrams_that_exist():
    references, lines = ["yes", "oh no", "a b"], ["yes", "oh yes", "a b"]
    score = translation_statistic("bleu", lines, references, tokenization("en", references))
    expected = translation_scores(lines, references, "en")[0]["bleu"]
    assert score is not None and score(np.arange(3)) == pytest.approx(expected) and expected > 0


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(size=400)
    (result,) = paired_bootstrap([mean_of(values, 1.0)], len(values), num_samples=2000) or []
    assert result.score == pytest.approx(values.mean())
    assert result.mean == pytest.approx(values.mean(), abs=0.01)
    width = stats.norm.ppf(0.975) * values.std() / np.sqrt(400)
    assert (result.mean - result.low, result.high - result.mean) == pytest.approx((width, width), rel=0.07)


def test_p_values_of_equal_and_of_constantly_better_systems():
    values = np.random.default_rng(1).random(50)
    equal, better = (paired_bootstrap([mean_of(values), mean_of(values + more)], 50) or [] for more in (0.0, 0.3))
    assert equal[1].p_value == 1
    assert better[1].p_value == pytest.approx(1 / 1001)  # the difference is 0.3 in each resample
    differences = np.array([-5.0, 0.0, 1.0, 2.0])  # distances from their mean: 4.5, 0.5, 1.5, 2.5
    assert [difference_p_value(differences, actual) for actual in (-5.0, 2.5, -1.0)] == [1 / 5, 3 / 5, 4 / 5]
    assert interval(np.arange(1000.0)) == (25, 974)


def test_equal_systems_are_seldom_called_different():
    """At the level 0.05, about 5 % of pairs of equally good systems are (with sacreBLEU's p-value 12 %)."""
    random, num_pairs = np.random.default_rng(1), 1000
    positives = 0
    for _ in range(num_pairs):
        first, second = (random.random((2, 200)) < 0.7).astype(float)
        differences = (second - first)[random.integers(200, size=(200, 200))].mean(1)
        positives += difference_p_value(differences, float((second - first).mean())) < 0.05
    assert 0.03 < positives / num_pairs < 0.08


def test_results_depend_on_the_seed_alone():
    systems = [mean_of(np.random.default_rng(seed).random(30)) for seed in (1, 2)]
    assert paired_bootstrap(systems, 30) == paired_bootstrap(systems, 30) != paired_bootstrap(systems, 30, seed=1)
    assert paired_bootstrap([*systems, None], 30) is None


def test_error_rates_of_some_utterances():
    targets = ["a b c d", "one two", "", "x y"]
    outputs = ["a x c", "one two", "z", "x y z"]
    rows = np.array([0, 2, 2, 3])
    for metric, characters in (("wer", False), ("cer", True)):
        errors, sizes = map(np.array, utterance_counts(targets, outputs, characters=characters))
        expected = speech_scores([targets[row] for row in rows], [outputs[row] for row in rows])[0][metric]
        assert ratio_of(errors, sizes)(rows) == pytest.approx(expected)
    assert utterance_counts(targets, outputs) == ([2, 0, 1, 1], [4, 2, 0, 2])


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews"])
def test_scores_of_some_labels(metric):
    random, names = np.random.default_rng(1), ["no", "yes"]
    targets, predictions = random.integers(2, size=(2, 30))
    score = labels_statistic(metric, [names[i] for i in targets], [names[i] for i in predictions], names)
    rows = random.integers(30, size=20)
    assert score is not None
    assert score(rows) == pytest.approx(labels_scores(targets[rows], predictions[rows], names)[0][metric])
    assert labels_statistic("loss", ["no"], ["no"], names) is None


@pytest.mark.parametrize("size", [1, 3])
def test_few_examples_make_no_difference_significant(size):
    """There are 2^n ways to exchange the outputs of n examples, and two of them have the largest difference."""
    worst, best = mean_of(np.zeros(size)), mean_of(np.ones(size))
    _, result = paired_bootstrap([worst, best], size)
    assert result.p_value == 2.0 ** (1 - size)
