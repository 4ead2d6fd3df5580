"""Stratified validation splits, and balanced labels in training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tformer_cli.config.schema import LabelledTextDataConfig, Target
from tformer_cli.data.core.balance import Balance
from tformer_cli.data.core.division import draw_rows
from tformer_cli.data.core.labels import LabelSet
from tformer_cli.data.text.labelled import read_labelled
from tformer_cli.errors import DataError


@pytest.mark.parametrize("seed", range(20))
def test_each_label_has_its_part(seed):
    labels = ["a"] * 70 + ["b"] * 25 + ["c"] * 4 + ["d"]
    remaining, drawn = draw_rows(100, 0.1, seed=seed, labels=[[label] for label in labels])
    counts = Counter(labels[row] for row in drawn)
    assert len(drawn) == 10 and counts["a"] == 7 and counts["b"] in (2, 3) and counts["d"] == 0
    assert sorted([*remaining, *drawn]) == list(range(100)) and len({labels[row] for row in remaining}) == 4


@pytest.mark.parametrize("seed", range(20))
def test_no_label_is_lost_to_training_where_rows_have_several(seed):
    random = np.random.default_rng(seed)
    labels = [random.choice(list("abcdefgh"), 2, replace=False).tolist() for _ in range(40)] + [["rare", "a"], []]
    remaining, drawn = draw_rows(len(labels), 0.4, seed=seed, labels=labels)
    assert {label for row in remaining for label in labels[row]} == {label for row in labels for label in row}
    assert abs(len(drawn) - 17) <= 1 and sorted([*remaining, *drawn]) == list(range(len(labels)))


def test_without_labels_and_with_little():
    assert [len(part) for part in draw_rows(10, 0.0, seed=1)] == [10, 0]
    assert [len(part) for part in draw_rows(3, 0.1, seed=1)] == [2, 1]
    assert [len(part) for part in draw_rows(1, 0.5, seed=1)] == [1, 0]
    assert [len(part) for part in draw_rows(4, 0.5, seed=1, labels=[["a"], ["b"], ["c"], ["d"]])] == [4, 0]


def table(folder, labels) -> LabelledTextDataConfig:
    lines = "".join(f"text {i},{label}\n" for i, label in enumerate(labels))
    (folder / "train.csv").write_text("text,label\n" + lines)
    return LabelledTextDataConfig(path=str(folder / "train.csv"))


def test_a_drawn_split_never_has_a_label_of_its_own(tmp_path):
    config = table(tmp_path, [*("ab" * 30), "c", "d"])
    for seed in range(10):
        splits = read_labelled(config, "train", seed=seed)
        labels = LabelSet.of(splits["train"], Target.label, ",")
        labels.numbers(splits["validation"])
        assert labels.names == ("a", "b", "c", "d") and len(splits["validation"]) == 6
    config.stratified = False
    drawn = (read_labelled(config, "validation", seed=seed)["validation"].labels for seed in range(20))
    assert any({"c", "d"} & set(labels) for labels in drawn)


def test_the_line_of_a_drawn_row_is_named(tmp_path):
    config = table(tmp_path, ["1.5"] * 9 + ["many"])
    config.target = Target.number
    for part in read_labelled(config, "train", seed=1).values():
        if "many" in part.labels:
            with pytest.raises(DataError, match=r"train\.csv:11: 'many' is not a number"):
                LabelSet(Target.number, ()).numbers(part)


def test_advice_is_not_what_is_set_already(tmp_path):
    config = table(tmp_path, ["a"])
    with pytest.raises(DataError, match=r"no validation split, and too few.*data\.validation=\.\.\.$"):
        read_labelled(config, "validation", seed=1)
    config.validation_share = 0.0
    with pytest.raises(DataError, match=r"data\.validation_share=0.*or data\.validation_share=0\.1"):
        read_labelled(config, "validation", seed=1)


# --- balanced labels ---

TARGETS = np.array([0] * 90 + [1] * 9 + [2])


@pytest.mark.parametrize(("strength", "shares"), [(0.0, (90, 9, 1)), (0.5, (70.3, 22.2, 7.4)), (1.0, (33.3,) * 3)])
def test_labels_get_their_share_of_each_epoch(strength, shares):
    balance = Balance(TARGETS, strength, seed=3)
    for epoch in range(5):
        draws = balance[epoch]
        assert len(draws) == len(set(draws.tolist())) == 100  # all draws differ, so that each has its own augmentation
        counts = np.bincount(TARGETS[draws % 100], minlength=3)
        assert np.all(np.abs(counts - shares) <= 1)


def test_draws_depend_on_seed_and_epoch_alone():
    first, second = Balance(TARGETS, 1.0, 3), Balance(TARGETS, 1.0, 3)
    assert np.array_equal(second[2], first[2]) and not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], Balance(TARGETS, 1.0, 4)[0])
    assert len({row for epoch in range(10) for row in first[epoch] % 100 if row < 90}) > 80  # all are drawn over time
    assert sorted(Balance(TARGETS, 0.0, 3)[0]) == list(range(100))
