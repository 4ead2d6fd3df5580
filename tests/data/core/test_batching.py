"""Length batching: coverage, budget, a constant number of batches, determinism, padding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tformer_cli.data.core.batching import LengthBatches, stream_position

CASES = [
    # samples, columns, longest, budget, max_batch
    (1, 1, 5, 100, 0),
    (7, 2, 9, 10, 0),
    (50, 2, 40, 200, 0),
    (300, 1, 60, 256, 7),
    (500, 2, 30, 512, 0),
    (2000, 2, 50, 1024, 0),
    (2000, 3, 50, 1024, 20),
    (400, 2, 500, 100, 0),  # most samples are over the budget
]


def make_lengths(samples: int, columns: int, longest: int, seed: int) -> np.ndarray:
    random = np.random.default_rng([samples, columns, seed])
    base = random.gamma(3.0, longest / 9, samples)[:, None]
    lengths = np.clip(base + random.normal(0, 2, (samples, columns)), 0, longest).astype(np.int64)
    return lengths[:, 0] if columns == 1 else lengths


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_every_sample_once_within_budget_same_number_each_epoch(case: tuple, seed: int, shuffle: bool) -> None:
    samples, columns, longest, budget, max_batch = case
    lengths = make_lengths(samples, columns, longest, seed)
    batches = LengthBatches(lengths, batch_tokens=budget, max_batch=max_batch, seed=seed, shuffle=shuffle)
    table = lengths.reshape(samples, -1)
    for epoch in [0, 1, 2, 3, 17]:
        rows = [batches.indices(epoch, index) for index in range(len(batches))]
        assert all(row.dtype == np.int64 and len(row) for row in rows)
        assert sorted(np.concatenate(rows).tolist()) == list(range(samples))
        for row in rows:
            assert len(row) == 1 or len(row) * table[row].max() <= budget
            assert not max_batch or len(row) <= max_batch
        with pytest.raises(IndexError):
            batches.indices(epoch, len(batches))


def varying(growth: float, samples: int = 300):
    """Lengths that differ from epoch to epoch; in epoch 2 they are `growth` times as long."""

    def lengths(epoch: int) -> np.ndarray:
        base = make_lengths(samples, 2, 30, 0) + 2
        drawn = base + np.random.default_rng(epoch).integers(0, 3, base.shape)
        return (drawn * growth).astype(np.int64) if epoch == 2 else drawn

    return lengths


def test_lengths_may_differ_from_epoch_to_epoch() -> None:
    lengths = varying(1.0)
    batches = LengthBatches(lengths, batch_tokens=256, seed=1)
    again = LengthBatches(lengths, batch_tokens=256, seed=1)
    assert batches.indices(3, 5).tolist() == again.indices(3, 5).tolist()
    for epoch in [4, 0, 1, 2]:
        rows = [batches.indices(epoch, index) for index in range(len(batches))]
        assert sorted(np.concatenate(rows).tolist()) == list(range(300))
        table = lengths(epoch)
        assert all(len(row) == 1 or len(row) * table[row].max() <= 256 for row in rows)
        padded = sum(len(row) * table[row].max(axis=0).sum() for row in rows)
        assert batches.padding_percent(epoch) == pytest.approx(100 * (1 - table.sum() / padded))


def test_an_epoch_that_needs_too_many_batches_leaves_some_out_at_random() -> None:
    lengths = varying(1.5)
    left_out = []
    for seed in (1, 2):
        batches = LengthBatches(lengths, batch_tokens=256, seed=seed)
        rows = [batches.indices(2, index) for index in range(len(batches))]
        shown = np.concatenate(rows)
        assert len(set(shown.tolist())) == len(shown) < 300
        assert all(len(row) == 1 or len(row) * lengths(2)[row].max() <= 256 for row in rows)
        left_out.append(set(range(300)) - set(shown.tolist()))
    assert left_out[0] != left_out[1]


def test_a_single_sample_of_varying_length_is_one_batch() -> None:
    batches = LengthBatches(lambda epoch: np.array([[5 + epoch, 3]]), batch_tokens=4, seed=1)
    assert len(batches) == 1 and batches.indices(7, 0).tolist() == [0]


def test_order_is_a_pure_function_of_seed_epoch_and_index_in_a_fresh_process() -> None:
    code = """
import json
import numpy as np
from tformer_cli.data.core.batching import LengthBatches
lengths = np.random.default_rng(3).integers(1, 30, (500, 2))
batches = LengthBatches(lengths, batch_tokens=512, seed=9)
print(json.dumps([batches.indices(epoch, 3).tolist() for epoch in (5, 0, 1)]))
"""
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    lengths = np.random.default_rng(3).integers(1, 30, (500, 2))
    batches = LengthBatches(lengths, batch_tokens=512, seed=9)
    here = {epoch: batches.indices(epoch, 3).tolist() for epoch in range(8)}  # another order of asking
    assert json.loads(run.stdout) == [here[5], here[0], here[1]]
    other = LengthBatches(lengths, batch_tokens=512, seed=10)
    assert other.indices(0, 3).tolist() != here[0]


def test_epochs_differ_in_batches_and_in_their_order() -> None:
    lengths = make_lengths(2000, 2, 50, 0)
    batches = LengthBatches(lengths, batch_tokens=1024, seed=1)
    epochs = [[frozenset(batches.indices(epoch, i).tolist()) for i in range(len(batches))] for epoch in (1, 2)]
    assert len(set(epochs[0]) & set(epochs[1])) < 0.1 * len(batches)
    longest = [[lengths[batches.indices(epoch, i)].max() for i in range(len(batches))] for epoch in (1, 2)]
    assert longest[0] != longest[1]
    for row in longest:  # not sorted by length: lengths of neighbouring batches are unrelated
        assert abs(np.corrcoef(row[:-1], row[1:])[0, 1]) < 0.5


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_room_in_the_number_of_batches(seed: int) -> None:
    lengths = make_lengths(120, 2, 30, seed)
    batches = LengthBatches(lengths, batch_tokens=256, seed=seed)
    epochs = [frozenset(frozenset(batches.indices(e, i).tolist()) for i in range(len(batches))) for e in range(12)]
    assert len(set(epochs)) >= 8


@pytest.mark.parametrize("seed", range(5))
def test_first_batch_is_the_largest(seed: int) -> None:
    lengths = make_lengths(500, 2, 30, seed)
    batches = LengthBatches(lengths, batch_tokens=512, seed=seed)
    padded = []
    for index in range(len(batches)):
        rows = lengths[batches.indices(0, index)]
        padded.append(len(rows) * rows.max(axis=0).sum())
    assert padded[0] == max(padded)


def test_without_shuffling_longest_first_and_the_same_in_every_epoch() -> None:
    lengths = make_lengths(500, 2, 30, 0)
    batches = LengthBatches(lengths, batch_tokens=512, seed=1, shuffle=False)
    order = np.concatenate([batches.indices(0, index) for index in range(len(batches))])
    longest = lengths[order].max(axis=1)
    assert (np.diff(longest) <= 0).all()
    again = LengthBatches(lengths, batch_tokens=512, seed=2, shuffle=False)
    assert [batches.indices(3, i).tolist() for i in range(len(batches))] == [
        again.indices(0, i).tolist() for i in range(len(again))
    ]


def test_few_batches_are_small() -> None:
    lengths = make_lengths(2000, 2, 50, 0)
    batches = LengthBatches(lengths, batch_tokens=1024, seed=1)
    fill = [len(rows) * lengths[rows].max() / 1024 for rows in (batches.indices(1, i) for i in range(len(batches)))]
    assert np.mean(np.array(fill) < 0.7) < 0.06


def test_equal_lengths_have_no_padding_and_full_batches() -> None:
    batches = LengthBatches(np.full((64, 2), 8), batch_tokens=64, seed=1)
    assert len(batches) == 8 and batches.padding_percent() == 0
    assert {len(batches.indices(4, index)) for index in range(8)} == {8}


def test_padding_percent_counts_all_columns() -> None:
    batches = LengthBatches(np.array([[4, 1], [4, 3]]), batch_tokens=8, seed=1)
    assert batches.padding_percent() == pytest.approx(100 * (1 - 12 / 14))


@pytest.mark.parametrize("lengths", [np.zeros(0, int), np.zeros((0, 2), int), np.zeros((2, 2, 2), int)])
def test_wrong_shapes_are_refused(lengths: np.ndarray) -> None:
    with pytest.raises(ValueError):
        LengthBatches(lengths, batch_tokens=10, seed=1)


def test_stream_position() -> None:
    assert [stream_position(batch, 3) for batch in (0, 2, 3, 7)] == [(0, 0), (0, 2), (1, 0), (2, 1)]


def test_padding_on_multi30k() -> None:
    from tformer_cli.config.schema import TokenizerConfig
    from tformer_cli.tokenizers.tokenizer import Tokenizer

    folder = Path(os.environ.get("TFORMER_DATA", Path(__file__).parents[4] / "shared" / "data")) / "multi30k"
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}")
    texts = {
        language: (folder / f"train.{language}").read_bytes().decode().removesuffix("\n").split("\n")
        for language in ("en", "de")
    }
    tokenizer = Tokenizer.train(texts, TokenizerConfig(vocab_size=8000), seed=1)
    lengths = [[len(ids) + 1 for ids in tokenizer.encode_batch(lines)] for lines in texts.values()]
    batches = LengthBatches(np.array(lengths).T, batch_tokens=4096, seed=1)
    assert batches.padding_percent(0) < 8 and batches.padding_percent(5) < 8
