"""Scores equal what they should be by definition."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.linalg

from tformer_cli.errors import ConfigError, require
from tformer_cli.metrics.answers import answer_scores, normal_answer
from tformer_cli.metrics.images import Moments, frechet_distance, relative_spread
from tformer_cli.metrics.labels import confusion, labels_scores, number_scores, scores_library, several_labels_scores
from tformer_cli.metrics.speech import speech_scores
from tformer_cli.metrics.tags import plain_tags_scores, tags_scores


def test_scores_of_labels():
    targets, predictions = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    scores, tables = labels_scores(targets, predictions, ["no", "yes"])
    assert scores["accuracy"] == pytest.approx(60)
    assert scores["f1"] == pytest.approx(100 * 2 / 3)
    assert scores["matthews"] == pytest.approx((2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2))
    header = ["label", "precision", "recall", "F1", "examples"]
    rows = [["no", "50.0", "50.0", "50.0", "2"], ["yes", "66.7", "66.7", "66.7", "3"]]
    assert tables == [("by label", header, rows)]
    assert "f1_macro" in labels_scores(targets, predictions, ["a", "b", "c"], thorough=False)[0]


def test_scores_of_several_labels_and_of_numbers():
    targets = np.array([[1, 0, 1], [0, 1, 0]])
    predictions = np.array([[1, 0, 0], [0, 1, 0]])
    scores = several_labels_scores(targets, predictions)
    assert scores["f1_micro"] == pytest.approx(100 * 2 * 2 / (2 * 2 + 1)) and scores["exact_match"] == 50
    two_of_three = np.eye(2, 3, dtype=int)  # the third label neither occurs nor is predicted
    assert several_labels_scores(two_of_three, two_of_three)["f1_macro"] == 100
    assert several_labels_scores(two_of_three, np.ones((2, 3), int))["f1_macro"] == pytest.approx(100 * 4 / 9)
    one_of_three = np.array([[1, 0, 0], [1, 0, 0]])
    assert several_labels_scores(two_of_three, one_of_three)["f1_macro"] == pytest.approx(100 * (2 / 3 + 0) / 2)
    none = np.zeros((2, 3), int)
    assert several_labels_scores(none, none)["f1_macro"] == 0
    values = number_scores(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 60.0]))
    assert values["spearman"] == pytest.approx(1) and values["pearson"] < 1
    assert number_scores(np.array([1.0, 2.0]), np.array([3.0, 3.0]))["pearson"] == 0


def test_entities_count_whole():
    targets = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC"]]
    predictions = [["B-PER", "O", "O", "B-LOC"], ["O", "B-LOC"]]
    scores, tables = tags_scores(targets, predictions, "iob2")
    assert scores["precision"] == pytest.approx(100 * 2 / 3) and scores["tag_accuracy"] == pytest.approx(100 * 5 / 6)
    header = ["kind", "precision", "recall", "F1", "entities"]
    rows = [["LOC", "100.0", "100.0", "100.0", "2"], ["PER", "0.0", "0.0", "0.0", "1"]]
    assert tables == [("by kind", header, rows)]


def test_answers_are_compared_as_squad_does():
    assert normal_answer("The  Cat's, (hat)!") == ["cats", "hat"]
    assert normal_answer("1,000-year 東京都") == ["1000year", "東", "京", "都"]
    scores = answer_scores([["the cat", "dog"], ["a red fox"], []], ["Cat.", "fox", ""])
    assert scores["exact_match"] == pytest.approx(100 * 2 / 3)
    assert scores["f1"] == pytest.approx(100 * (1 + 2 / 3 + 1) / 3)
    assert answer_scores([[]], ["something"]) == {"exact_match": 0.0, "f1": 0.0}


@pytest.mark.parametrize(
    "right, prediction",
    [
        ("Eiffel Tower", "the Eiffel Tower"),
        ("the Eiffel Tower", "Eiffel Tower"),
        ("an owl", "owl"),
        ("owl", "A owl"),
        ("owl", "owl."),
        ("(owl)", "owl"),
        ("rock-'n'-roll", "rocknroll"),
        ("\u00abowl\u00bb", "owl"),
        ("OWL", "  owl  "),
    ],
)
def test_case_punctuation_and_articles_are_no_part_of_an_answer(right, prediction):
    assert answer_scores([[right]], [prediction]) == {"exact_match": 100.0, "f1": 100.0}


@pytest.mark.parametrize(
    "right, prediction", [("theatre", "atre"), ("an owl", "two owl"), ("1.5", "1 5"), ("owls", "owl")]
)
def test_all_else_is_part_of_an_answer(right, prediction):
    assert answer_scores([[right]], [prediction])["exact_match"] == 0.0


def edits(target: list[str], prediction: list[str]) -> int:
    """Levenshtein's distance by its recursion."""
    row = list(range(len(prediction) + 1))
    for i, left in enumerate(target, 1):
        before, row = row, [i]
        for j, right in enumerate(prediction, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (left != right)))
    return row[-1]


def test_transcripts_are_scored_over_all_words_and_characters():
    targets = ["one two three", "four", "  five\u00a0six\t", "", "seven eight"]
    predictions = ["one too three four", "", "five six", "what", "eight seven"]
    scores, rates = speech_scores(targets, predictions)
    pairs = [(a.split(), b.split()) for a, b in zip(targets, predictions, strict=True)]
    expected = [edits(a, b) for a, b in pairs]
    assert expected == [2, 1, 0, 1, 2] and scores["words"] == 8
    assert scores["wer"] == pytest.approx(100 * 6 / 8) and scores["sentence_errors"] == pytest.approx(80)
    assert scores["substitutions"] + scores["insertions"] + scores["deletions"] == 6
    assert scores["insertions"] >= 2 and scores["deletions"] >= 1
    assert rates == [pytest.approx(value) for value in (100 * 2 / 3, 100, 0, 100, 100)]
    texts = [(list(" ".join(a)), list(" ".join(b))) for a, b in pairs]
    characters = sum(edits(a, b) for a, b in texts) / sum(len(a) for a, _ in texts)
    assert scores["cer"] == pytest.approx(100 * characters)
    assert speech_scores(["A b"], ["a b"])[0]["wer"] == 50  # as they are: nothing is made alike


def test_scores_of_no_transcripts_and_of_other_numbers():
    scores, rates = speech_scores([], [])
    assert rates == [] and set(scores.values()) == {0.0}
    assert speech_scores([""], [""])[0]["wer"] == 0
    with pytest.raises(ValueError, match="references"):
        speech_scores(["a"], [])


def test_a_missing_library_of_speech_names_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(ConfigError, match=r"needs jiwer, .*pip install .*(jiwer>=|\[speech\])"):
        speech_scores(["a"], ["a"])


NUMBERS = np.array([0.0, 1.0, 3.0])
NEED = {
    "scikit-learn": [
        lambda: require([scores_library(False)]),
        lambda: labels_scores(NUMBERS, NUMBERS, ["a", "b"]),
        lambda: confusion(NUMBERS, NUMBERS, 2, 2),
        lambda: several_labels_scores(NUMBERS, NUMBERS),
        lambda: plain_tags_scores([["A"]], [["A"]]),
    ],
    "scipy": [lambda: require([scores_library(True)]), lambda: number_scores(NUMBERS, NUMBERS)],
    "seqeval": [lambda: tags_scores([["O"]], [["O"]], "iob2")],
}


@pytest.mark.parametrize(("package", "score"), [(name, score) for name, scores in NEED.items() for score in scores])
def test_a_missing_library_of_text_is_named(package, score, monkeypatch):
    for module in ("sklearn.metrics", "scipy.stats", "seqeval.scheme"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"needs {package}, .*pip install"):
        score()


def test_the_confusion_matrix_leaves_out_labels_without_examples():
    """Their recall is undefined, so that they are not among the labels with the lowest one."""
    targets, predictions = np.array([0, 0, 2, 2, 2, 4]), np.array([0, 1, 2, 4, 4, 4])
    shares, rows = confusion(targets, predictions, 6, 2)
    assert rows == [0, 2]  # with recalls of 1/2 and 1/3; that of 4 is 1
    np.testing.assert_allclose(shares, [[1 / 2, 0], [0, 1 / 3]])
    assert confusion(targets, predictions, 6, 6)[1] == [0, 2, 4]


def test_scores_are_quiet(recwarn):
    """Undefined scores are 0, without warnings of scikit-learn."""
    zeros = np.zeros(3, np.int64)
    labels_scores(zeros, zeros, ["a", "b", "c"])
    labels_scores(np.arange(30), np.zeros(30, np.int64), [str(i) for i in range(30)])
    confusion(zeros, zeros, 3, 3)
    several_labels_scores(np.zeros((2, 2)), np.zeros((2, 2)))
    assert not recwarn.list


# --- generated images ---


def test_the_frechet_distance_is_that_of_two_gaussians():
    """The closed form for commuting covariances is |m_1 - m_2|^2 + sum (sqrt(a) - sqrt(b))^2."""
    random = np.random.default_rng(1)
    first, second = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.0])
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    means = random.normal(size=(2, 3))
    moments = [
        Moments(mean, rotation @ np.diag(values) @ rotation.T)
        for mean, values in zip(means, (first, second), strict=True)
    ]
    expected = ((means[0] - means[1]) ** 2).sum() + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    assert frechet_distance(*moments) == pytest.approx(expected)
    assert frechet_distance(moments[0], moments[0]) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_of_samples_has_the_square_root_of_scipy():
    random = np.random.default_rng(2)
    first, second = (random.normal(size=(50, 6)) @ random.normal(size=(6, 6)) for _ in range(2))
    moments = [Moments.of(features) for features in (first, second)]
    root = scipy.linalg.sqrtm(moments[0].covariance @ moments[1].covariance).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum()
    expected += np.trace(moments[0].covariance + moments[1].covariance - 2 * root)
    assert frechet_distance(*moments) == pytest.approx(expected)
    assert frechet_distance(*reversed(moments)) == pytest.approx(expected)


def test_the_spread_within_labels_shows_a_collapse():
    random = np.random.default_rng(3)
    labels = np.arange(300) % 3
    centres = 5 * random.normal(size=(3, 4))
    real, generated = (centres[labels] + random.normal(size=(300, 4)) for _ in range(2))
    assert relative_spread(generated, real, labels, 4) == pytest.approx([1, 1, 1, np.nan], abs=0.3, nan_ok=True)
    narrower = centres[labels] + 0.5 * (generated - centres[labels])
    assert relative_spread(narrower, real, labels, 3) == pytest.approx([0.25] * 3, abs=0.08)
    assert relative_spread(centres[labels], real, labels, 3) == pytest.approx([0] * 3)  # one image for each label
    one = np.where((labels == 1)[:, None], centres[1], generated)
    assert relative_spread(one, real, labels, 3) == pytest.approx([1, 0, 1], abs=0.3)
