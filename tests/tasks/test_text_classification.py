"""What text classification reads of a text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.properties.families import family_named
from tformer_cli import tasks
from tformer_cli.errors import ConfigError
from tformer_cli.evaluators.base import Scoring

FAMILY = family_named("text classification")


@pytest.mark.parametrize(
    ("cut", "single", "pair"),
    [
        ("end", range(10, 24), ([*range(10, 17)], [*range(50, 56)])),
        ("beginning", range(26, 40), ([*range(33, 40)], [*range(64, 70)])),
        ("middle", [10, 11, 12, *range(29, 40)], ([10, *range(34, 40)], [50, *range(65, 70)])),
    ],
)
def test_what_is_too_long_loses_what_the_settings_say(cut, single, pair, tmp_path):
    """16 tokens are read: [CLS] and 14 with a [SEP], or 7 and 6 of a pair with one each."""
    task = FAMILY.task(tmp_path, f"data.cut={cut}", "model.max_length=16")
    first, second, short = np.arange(10, 40), np.arange(50, 70), np.arange(10, 13)
    begin, end = task.data.tokenizer.bos_id, task.data.tokenizer.eos_id
    tokens, lengths, _ = task.data.join([[first]])
    assert tokens.tolist() == [[begin, *single, end]] and lengths.tolist() == [16]
    tokens, lengths, _ = task.data.join([[first, second]])
    assert tokens.tolist() == [[begin, *pair[0], end, *pair[1], end]]
    tokens, _, _ = task.data.join([[short, second]])
    assert tokens[0, 1:4].tolist() == short.tolist() and tokens.shape == (1, 16)


def test_a_checkpoint_weighs_labels_as_training_did(tmp_path):
    rows = "".join(f"text {n}\t{'rare' if n % 4 == 0 else 'common'}\n" for n in range(60))
    (tmp_path / "train.tsv").write_text(f"text\tlabel\n{rows}", encoding="utf-8")
    settings = [f"data.path={tmp_path / 'train.tsv'}", "tokenizer.kind=char"]
    trained, plain = (FAMILY.task(tmp_path, *settings, f"head.class_weights={on}") for on in ("true", "false"))
    for name, content in trained.data.files().items():
        place = tmp_path / "checkpoint" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    opened = tasks.build(trained.config)
    opened.data.load(tmp_path / "checkpoint")
    model = trained.model().eval().requires_grad_(False)
    model.output.bias[0] += 1  # so that the rare label is the dearer one
    first, second, third = (
        one.evaluate(model, "validation", Scoring(thorough=False, samples=0)).scores["loss"]
        for one in (trained, opened, plain)
    )
    assert first == second != pytest.approx(third, rel=1e-3)


def test_symmetric_pairs_are_turned_round_in_training_alone(tmp_path):
    """By (seed, epoch, sample): in another epoch others, and in the same one always the same."""
    rows = "".join(f"{'a' * (1 + n % 5)}\t{'b' * (1 + n % 7)}\t{n % 2}\n" for n in range(200))
    (tmp_path / "pairs.tsv").write_text(f"text\tother\tlabel\n{rows}", encoding="utf-8")
    settings = [f"data.path={tmp_path / 'pairs.tsv'}", "data.second=other", "tokenizer.kind=char"]
    plain, symmetric = (FAMILY.task(tmp_path, *settings, f"data.symmetric={on}") for on in ("false", "true"))

    def turned(split: str, epoch: int) -> list[bool]:
        chosen = np.arange(len(plain.data.split(split)))
        batches = [task.view(split).collate(epoch, chosen) for task in (plain, symmetric)]
        assert torch.equal(batches[0].lengths, batches[1].lengths)
        assert torch.equal(batches[0].tokens.sort(1).values, batches[1].tokens.sort(1).values)
        return (batches[0].tokens != batches[1].tokens).any(1).tolist()

    first, second = turned("train", 0), turned("train", 1)
    assert 0.35 < np.mean(first) < 0.65 and 0.35 < np.mean(second) < 0.65
    assert first == turned("train", 0) != second
    assert not any(turned("validation", 0))
    every = np.arange(len(plain.data.split("train")))
    scored = [task.data.view("train").collate(0, every).tokens for task in (plain, symmetric)]
    assert torch.equal(*scored)  # an evaluation of the training split takes pairs as they are


def test_symmetric_goes_with_pairs(tmp_path):
    with pytest.raises(ConfigError, match="data.symmetric: needs pairs") as caught:
        FAMILY.task(tmp_path, "data.symmetric=true")
    assert str(caught.value).endswith("data.symmetric=false")


RARE = "".join(f"text {n}\t{'rare' if n % 10 == 0 else 'common'}\n" for n in range(100))


def test_labels_are_evened_out_in_training_alone(tmp_path):
    (tmp_path / "train.tsv").write_text(f"text\tlabel\n{RARE}", encoding="utf-8")
    settings = [f"data.path={tmp_path / 'train.tsv'}", "tokenizer.kind=char", "data.validation_share=0.2"]
    task = FAMILY.task(tmp_path, *settings, "data.balance=1")
    count = len(task.data.split("train"))

    def epoch(number: int, parts: int = 1) -> list[tuple[list[int], list[int]]]:
        """Return rows and labels of an epoch's batches, each divided among `parts` ranks."""
        batches = [task.view("train").rows(number, index) for index in range(task.view("train").num_batches)]
        shares = [rows[rank::parts] for rows in batches for rank in range(parts)]
        collated = [task.view("train").collate(number, rows) for rows in shares if len(rows)]
        return [(batch.sample_ids.tolist(), batch.targets.tolist()) for batch in collated]

    for number in range(3):
        rows, labels = (sum(part, []) for part in zip(*epoch(number), strict=True))
        assert max(rows) < count and 0.35 < sum(labels) / len(labels) < 0.65  # an epoch may drop a batch
        assert sorted(sum((rows for rows, _ in epoch(number, 2)), [])) == sorted(rows)
    assert epoch(0) == epoch(0) != epoch(1)
    view = task.data.view("train")  # evaluation uses the data without balancing
    rows = [row for index in range(view.num_batches) for row in view.rows(0, index).tolist()]
    assert sorted(rows) == list(range(count))


@pytest.mark.parametrize("more", ["data.target=number", "data.target=labels", "head.class_weights=true"])
def test_what_evening_out_does_not_go_with(tmp_path, more):
    with pytest.raises(ConfigError, match="data.balance"):
        FAMILY.config(tmp_path, "data.balance=1", more)
