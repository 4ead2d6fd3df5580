"""Masked patch prediction: which patches are hidden, and what is to be guessed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tformer_cli import tasks
from tformer_cli.cli.start import Start
from tformer_cli.config.compose import compose
from tformer_cli.errors import ConfigError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.tasks.task import Task
from tformer_cli.train.launch import launch
from tformer_cli.trained.opening import open_run

SMALL = [
    "data.source=builtin", "data.path=digits", "data.size=40", "data.image_size=8", "data.batch_images=8",
    "data.validation_share=0.2", "model.patch_size=2", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
    "model.depth=1",
]  # fmt: skip


def prepared(folder, *more: str) -> Task:
    task = tasks.build(compose("vit/masked_patches", [*SMALL, f"data.cache={folder}", *more]))
    task.prepare(folder)
    return task


@pytest.mark.parametrize(("channels", "bits"), [(1, 3), (3, 2)])
def test_colours_are_the_mean_in_a_few_bits(tmp_path, channels, bits):
    coding = ["data.mean=[0.4]", "data.std=[0.2]"]
    task = prepared(tmp_path, f"data.channels={channels}", f"patches.bits={bits}", *coding)
    levels = torch.randint(0, 256, (2, channels, 8, 8), generator=torch.Generator().manual_seed(1))
    images = (levels / 255 - 0.4) / 0.2
    expected = np.zeros((2, 16), int)
    for picture in range(2):
        for patch in range(16):
            row, column = 2 * (patch // 4), 2 * (patch % 4)
            for channel in range(channels):
                mean = levels[picture, channel, row : row + 2, column : column + 2].float().mean() / 255
                expected[picture, patch] = expected[picture, patch] * 2**bits + min(2**bits - 1, int(mean * 2**bits))
    assert task.evaluator.objective.colours(images).tolist() == expected.tolist()
    assert task.model().output.out_features == 2 ** (bits * channels)


def test_half_are_to_be_predicted_and_of_these_most_are_hidden(tmp_path):
    task = prepared(tmp_path, "data.image_size=32", "data.channels=1")
    batch = task.view("train").collate(0, np.arange(30))
    masked, shown, indices = task.evaluator.objective.masks(batch, 256)
    here = torch.arange(256).expand(30, -1)
    assert len(indices) == 30 * 128 and len(set(indices.tolist())) == len(indices)
    chosen = torch.zeros(30 * 256, dtype=torch.bool)
    chosen[indices] = True
    chosen = chosen.view(30, 256)
    assert not (masked & ~chosen).any() and not ((shown != here) & ~chosen).any()
    assert float(masked.sum()) / len(indices) == pytest.approx(0.8, abs=0.03)
    assert float((shown != here).sum()) / len(indices) == pytest.approx(0.1, abs=0.03)
    assert not (masked & (shown != here)).any()


def test_fresh_ones_each_epoch_and_the_same_for_a_picture_whoever_is_beside_it(tmp_path):
    task = prepared(tmp_path)
    first, again, next_epoch = (
        task.evaluator.objective.masks(task.view("train").collate(epoch, np.arange(8)), 16) for epoch in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], next_epoch[0])
    alone = task.evaluator.objective.masks(task.view("train").collate(0, np.array([5])), 16)
    assert torch.equal(alone[0][0], first[0][5]) and torch.equal(alone[1][0], first[1][5])


def test_scores_and_what_cannot_be_predicted(tmp_path):
    task = prepared(tmp_path)
    model = task.model().eval()
    evaluation = task.evaluate(model, "validation", Scoring())
    assert evaluation.scores["perplexity"] == pytest.approx(math.exp(evaluation.scores["loss"]))
    assert evaluation.scores["loss"] == pytest.approx(math.log(8**3), abs=1e-4)  # the head starts at zero
    picture = evaluation.pictures["patches"]
    assert len(picture.images) == len(picture.captions) == 18
    assert list(task.predict(model, [])) == []
    with pytest.raises(ConfigError, match="makes no predictions for images"):
        list(task.predict(model, ["a.png"]))


def test_hidden_patches_are_not_seen(tmp_path):
    task = prepared(tmp_path, "patches.mask=1", "patches.random=0")
    model = task.model().eval()
    torch.nn.init.normal_(model.output.weight)
    batch = task.view("validation").collate(0, np.arange(2))
    (images,) = task.data.inputs(batch, training=False)
    masked, shown, indices = task.evaluator.objective.masks(batch, 16)
    scores = model(images, masked, shown, indices)
    tiles = images.unflatten(3, (4, 2)).unflatten(2, (4, 2))  # (B, C, rows, 2, columns, 2)
    noise = torch.where(masked.view(2, 1, 4, 1, 4, 1), torch.randn_like(tiles), tiles)
    other = noise.flatten(4, 5).flatten(2, 3)
    assert not torch.equal(other, images)
    torch.testing.assert_close(model(other, masked, shown, indices), scores)


def test_what_was_learnt_without_labels_is_a_start(tmp_path, capsys):
    settings = [*SMALL, f"data.cache={tmp_path}", "trainer.steps=2", "trainer.threads=1", "trainer.device=cpu"]
    launch(compose("vit/masked_patches", settings), tmp_path / "first", quiet=True)
    start = Start.find(str(tmp_path / "first"))
    overrides = ["data.source=builtin", "data.path=digits", "data.size=40", "data.image_size=16", "optim.lr=0"]
    config = start.adapt(compose("vit/finetune", [*overrides, "trainer.steps=1"], complete=False), overrides)
    line = "note: images have 16 x 16 pixels; the model was trained on 8 x 8, and its positions are resized\n"
    assert capsys.readouterr().err == line
    launch(config, tmp_path / "second", initial=start.checkpoint(config, tmp_path / "second"), quiet=True)
    before, after = (open_run(tmp_path / name, device="cpu").model for name in ("first", "second"))
    assert (before.encoder.grid, after.encoder.grid) == ((4, 4), (8, 8))
    first, second = before.encoder.stack.state_dict(), after.encoder.stack.state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert after.head.output.weight.shape == (10, 16)
