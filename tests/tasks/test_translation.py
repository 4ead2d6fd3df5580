"""Translation with sampled segmentations: batches are planned by what is trained on."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice

import pytest
import torch

from tests.properties.families import SMALL, batch_of, family_named
from tformer_cli import tasks
from tformer_cli.config.compose import compose
from tformer_cli.data.text import encoded as data_text
from tformer_cli.data.text.encoded import sample_parallel
from tformer_cli.decode.alignment import alignments, links
from tformer_cli.train.data import batches
from tformer_cli.train.launch import launch
from tformer_cli.train.parallel import Ranks

TRANSLATION = family_named("translation")
SAMPLING = {"unigram": ("tokenizer.sampling=0.2",), "bpe": ("tokenizer.kind=bpe", "tokenizer.sampling=0.1")}


def epoch_of(task, epoch: int) -> list:
    return [batch_of(task, "train", epoch, index) for index in range(task.view("train").num_batches)]


@pytest.mark.parametrize("kind", SAMPLING)
def test_budget_and_header_are_of_the_sampled_segmentations(tmp_path, kind):
    task = TRANSLATION.task(tmp_path, *SAMPLING[kind])
    plain = TRANSLATION.task(tmp_path, *SAMPLING[kind][:-1])
    padding, sizes = [], []
    for epoch in range(3):
        batches = epoch_of(task, epoch)
        ids = torch.cat([batch.sample_ids for batch in batches]).tolist()
        assert sorted(ids) == sorted(task.data.tokens("train").sample_ids.tolist())
        for batch in batches:
            assert len(batch.sample_ids) * max(batch.source.shape[1], batch.targets.shape[1]) <= 400
        real, padded = (sum(batch.sizes()[side] for batch in batches) for side in (0, 1))
        padding.append(100 * (1 - real / padded))
        sizes.append(real)
    assert f"{padding[0]:.1f} % padding" in dict(task.describe())["batches"]
    first, last = (task.data.sampled[epoch].source.values for epoch in (1, 2))
    assert first.tolist() != last.tolist()  # drawn anew in each epoch
    assert min(sizes) > 1.02 * sum(batch.sizes()[0] for batch in epoch_of(plain, 0))


def test_a_model_in_use_is_scored_on_training_pairs_as_they_are(tmp_path):
    task, plain = (TRANSLATION.task(tmp_path, *more) for more in (SAMPLING["unigram"], SAMPLING["unigram"][:-1]))

    def sources(of) -> dict[int, list[int]]:
        view = of.data.view("train", training=False)
        return {
            sample: row[:length].tolist()
            for batch in (view.batch(1, index) for index in range(view.num_batches))
            for sample, row, length in zip(batch.sample_ids.tolist(), batch.source, batch.source_lengths, strict=True)
        }

    assert sources(task) == sources(plain)


def test_a_sample_means_the_same_text(tmp_path):
    task = TRANSLATION.task(tmp_path, *SAMPLING["unigram"])
    encode, decode = task.data.tokenizer.encode, task.data.tokenizer.decode
    for batch in epoch_of(task, 3):
        for row, sample in enumerate(batch.sample_ids.tolist()):
            for ids, lengths, texts in (
                (batch.source, batch.source_lengths, task.data.split("train").sources),
                (batch.targets, batch.target_lengths, task.data.split("train").targets),
            ):
                assert decode(ids[row, : int(lengths[row]) - 1]) == decode(encode(texts[sample]))


def test_any_batch_is_the_same_in_whichever_order_and_with_workers(tmp_path):
    settings = SAMPLING["unigram"]
    task, other, workers = (TRANSLATION.task(tmp_path, *settings) for _ in range(3))
    count = task.view("train").num_batches
    forward = [batch_of(task, "train", epoch, index) for epoch in range(3) for index in range(count)]
    for number in (2 * count + 1, 5, count - 1):
        alone = batch_of(other, "train", *divmod(number, count))
        assert torch.equal(alone.source, forward[number].source) and torch.equal(alone.targets, forward[number].targets)
    start = count - 2
    view = workers.view("train")
    stream = batches(view, start=start, accumulate=1, ranks=Ranks(), device=torch.device("cpu"), workers=2)
    for found, expected in zip(islice(stream, 4), forward[start:], strict=False):
        assert torch.equal(found.source, expected.source)


def test_run_with_sampling_resumed_by_another_process_ends_with_the_same_bytes(tmp_path):
    probe = TRANSLATION.task(tmp_path, *SAMPLING["bpe"])
    steps = probe.view("train").num_batches + 4  # over the border of an epoch
    settings = [*SAMPLING["bpe"], "trainer.evaluate_limit=4", "trainer.samples=0", "trainer.evaluate_every=0"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    launch(TRANSLATION.config(tmp_path, *settings, f"trainer.steps={steps}"), whole, quiet=True)
    launch(TRANSLATION.config(tmp_path, *settings, f"trainer.steps={steps - 2}"), parts, quiet=True)
    more = [*settings, f"trainer.steps={steps}", "data.workers=2", f"data.cache={tmp_path}"]
    command = ["pretrain", TRANSLATION.recipe, *SMALL, *TRANSLATION.settings, *more, "--run", str(parts), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "tformer_cli", *command, "--quiet"], check=True, env=environment)
    name = f"checkpoints/step-{steps:08d}/model.safetensors"
    assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_how_many_lines_are_read_at_once_changes_nothing(tmp_path, monkeypatch):
    task = TRANSLATION.task(tmp_path, *SAMPLING["unigram"])
    expected = task.data.sample(1)
    monkeypatch.setattr(data_text, "LINES_AT_ONCE", 7)
    sample = task.data.sample(1)
    assert len(expected) > 14
    for side in ("source", "target"):
        assert getattr(sample, side).values.tolist() == getattr(expected, side).values.tolist()


def test_a_side_that_became_too_long_keeps_its_plain_segmentation(tmp_path):
    task = TRANSLATION.task(tmp_path, *SAMPLING["bpe"])
    text, plain = task.data.split("train"), task.data.tokens("train")
    limit, vocabulary = int(plain.lengths.max()), task.data.tokenizer
    free, bounded = (
        sample_parallel(text, plain, vocabulary, task.config.data, strength=0.3, seed=1, epoch=0, max_length=most)
        for most in (1000, limit)
    )
    assert free.source.lengths.max() > limit >= bounded.lengths.max()
    for row in range(len(plain)):
        for side in ("source", "target"):
            drawn = getattr(free, side)[row]
            expected = drawn if len(drawn) <= limit else getattr(plain, side)[row]
            assert getattr(bounded, side)[row].tolist() == expected.tolist()


def test_padding_on_multi30k_with_dropout(tmp_path, real_data):
    folder = real_data / "multi30k"
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}")
    settings = [f"data.path={folder}", f"data.cache={tmp_path}", *SAMPLING["bpe"]]
    task = tasks.build(compose("translation/multi30k_en_de", settings))
    task.prepare(tmp_path)
    batches = epoch_of(task, 1)
    real, padded = (sum(batch.sizes()[side] for batch in batches) for side in (0, 1))
    assert 100 * (1 - real / padded) < 8


def test_alignments_belong_to_the_best_hypothesis(tmp_path):
    search = ["decode.alignments=true", "decode.beam=4", "decode.n_best=4", "decode.workers=1"]
    task = family_named("translation").task(tmp_path, *search)
    torch.manual_seed(0)
    model, tokenizer = task.model().eval(), task.data.tokenizer
    lines = ["The cat eats.", "We did not read three books."]
    for text, answer in zip(lines, task.predict(model, lines), strict=True):
        assert len({hypothesis["text"] for hypothesis in answer.details["hypotheses"]}) > 1
        row = torch.tensor([[*tokenizer.encode(text, "en"), tokenizer.eos_id]])
        (soft,) = alignments(model, row, torch.tensor([row.shape[1]]), [answer.tokens], bos_id=tokenizer.bos_id)
        assert answer.details["alignment"] == links(soft)
        assert answer.details["target_pieces"] == tokenizer.pieces([*answer.tokens, tokenizer.eos_id], "ja")
