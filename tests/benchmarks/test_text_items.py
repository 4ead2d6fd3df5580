"""The programs of a text item train the same model on the same tokens. Nothing is measured here."""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "peers")]

import corpora  # noqa: E402
import hf_text  # noqa: E402
import items  # noqa: E402
import measure  # noqa: E402
import ours  # noqa: E402
import prepare_text  # noqa: E402
import tables  # noqa: E402

from tests.properties.families import batch_of  # noqa: E402
from tformer_cli import tasks  # noqa: E402

VOCAB_SIZE = 400
TEXT_ITEMS = {item.name: item for item in items.all_items() if item.data in ("imdb", "tinyshakespeare")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small data of the same form, prepared, by the data set's name."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(200)]

    def sentence() -> str:
        return " ".join(draw.choices(words, k=draw.randint(1, 80))) + draw.choice(".!?")

    raw = tmp_path_factory.mktemp("raw")
    reviews = [
        {"text": "<br /><br />".join(sentence() for _ in range(draw.randint(1, 6))), "label": i % 2, "id": str(i)}
        for i in range(120)
    ]
    (raw / "train.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in reviews).encode()))
    (raw / "input.txt").write_text("\n\n".join(sentence() for _ in range(400)) + "\n", encoding="utf-8")
    made = {}
    for name in ("imdb", "tinyshakespeare"):
        made[name] = tmp_path_factory.mktemp(name)
        prepare_text.main(raw, made[name], name, VOCAB_SIZE)
    return made


def job_of(name: str, folders: dict[str, Path], work: Path) -> dict:
    item = TEXT_ITEMS[name]
    folder = folders[item.data]
    return {
        **item.job,
        "shape": {**item.job["shape"], "vocab_size": VOCAB_SIZE},
        "corpus": str(folder / item.job["rows"]),
        "tokenizer": str(folder / "tokenizer.model"),
        "data": str(folder / "data.npz"),
        "work": str(work),
        "threads": 1,
        "seed": 1,
    }


def rows_of(batch) -> list[list[int]]:
    """What stands in a batch of ours, without padding, nothing hidden."""
    tokens = (batch.inputs if hasattr(batch, "inputs") else batch.tokens).clone()
    if hasattr(batch, "indices"):
        tokens.view(-1)[batch.indices] = batch.targets
    lengths = batch.target_lengths if hasattr(batch, "inputs") else batch.lengths
    return [row[:length].tolist() for row, length in zip(tokens, lengths.tolist(), strict=True)]


@pytest.fixture(params=TEXT_ITEMS)
def both(request, folders, tmp_path):
    """An item's job; tformer's task, prepared; the peer's model, rows and collator."""
    job = job_of(request.param, folders, tmp_path)
    task = tasks.build(ours.experiment(job))
    task.prepare(tmp_path)
    return job, task, hf_text.TASKS[job["task"]](job)


def test_as_many_parameters_are_trained(both):
    _, task, (model, _, _) = both
    mine, theirs = (
        sum(p.numel() for p in network.parameters() if p.requires_grad) for network in (task.model(), model)
    )
    assert mine == theirs


def test_the_same_tokens_are_read(both):
    job, task, (_, rows, collate) = both
    read = [
        row for index in range(task.view("train").num_batches) for row in rows_of(batch_of(task, "train", 0, index))
    ]
    if job["rows"] == "sentences":
        assert sorted(read) == sorted(row["input_ids"] for row in rows)
        return
    mine, theirs = (Counter(chain.from_iterable(part)) for part in (read, [row["input_ids"] for row in rows]))
    size = job["shape"]["max_length"]
    assert (mine - theirs).total() <= 2 * size  # what is left over at the ends
    assert (theirs - mine).total() <= 2 * size
    assert abs(len(read) - len(rows)) <= 1
    batch = collate(rows[: job["batch_sentences"]])
    assert batch_of(task, "train", 0, 0).sizes() == hf_text.read_sizes(batch) == (4096, 4096)


def test_blocks_are_texts_end_to_end():
    texts = measure.Texts(np.arange(5, 13), np.array([0, 2, 8]), None)
    assert texts.blocks(3) == [[5, 6, measure.EOS], [7, 8, 9], [10, 11, 12]]


def test_padding_is_not_counted(folders, tmp_path):
    job = job_of("train-bert-sentences", folders, tmp_path)
    _, rows, collate = hf_text.text_classification(job)
    short, long = (choose(rows, key=lambda row: len(row["input_ids"])) for choose in (min, max))
    lengths = [len(row["input_ids"]) for row in (short, long)]
    batch = collate([dict(short), dict(long)])
    assert lengths[0] < lengths[1] <= job["shape"]["max_length"]
    assert hf_text.read_sizes(batch) == (sum(lengths), 2 * max(lengths))
    assert batch["labels"].tolist() == [short["label"], long["label"]]


def test_the_peer_hides_ordinary_tokens_only(folders, tmp_path):
    job = job_of("train-bert-blocks", folders, tmp_path)
    _, rows, collate = hf_text.masked_language_model(job)
    torch.manual_seed(1)
    batch = collate([dict(row) for row in rows[:32]])
    hidden = batch["labels"] != -100
    assert not hidden[:, [0, -1]].any()
    assert 0.12 < hidden[:, 1:-1].float().mean() < 0.18
    assert 0.7 < (batch["input_ids"][hidden] == measure.MASK).float().mean() < 0.9


def test_every_item_names_its_data():
    assert {item.data for item in items.all_items()} == set(corpora.DATA_SETS)


def run(parameters: int, losses: list[float]) -> dict:
    return {
        "parameters": parameters,
        "first_loss": losses[0],
        "loss_curve": [(100 * i, x) for i, x in enumerate(losses, 1)],
    }


def test_the_page_says_whether_the_models_are_alike():
    programs = [{"name": "a", "runs": [run(10, [9.0, 7.0, 5.0])]}, {"name": "b", "runs": [run(10, [8.0, 6.0])]}]
    alike = tables._likeness({"programs": programs}, programs)
    assert alike == [
        "- Each program trains 10 parameters.",
        "- Loss of the first step: a 9.00, b 8.00; mean of the second half of 200 tokens, the number that all have "
        "reached: a 7.00, b 6.00.",
    ]
    programs[1]["runs"][0]["parameters"] = 11
    assert tables._likeness({"programs": programs}, programs)[0] == (
        "- **The programs train different numbers of parameters**: a 10, b 11."
    )


def test_the_mean_loss_of_a_stretch_weighs_each_part_by_its_tokens():
    curve = [(100, 9.0), (200, 7.0), (400, 4.0)]
    stretches = [(0, 100), (0, 200), (100, 400), (150, 300)]
    assert [tables.mean_loss(curve, *stretch) for stretch in stretches] == [9.0, 8.0, 5.0, 5.0]
