"""Pictures to labels: what is seen, what is lost, what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from tformer_cli import tasks
from tformer_cli.config.compose import compose
from tformer_cli.draw import Gallery, HeatMap
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.evaluators.images import SHOWN
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.nn.taps import attention_weights
from tformer_cli.tasks.task import Task
from tformer_cli.train.launch import launch
from tformer_cli.trained.opening import open_run

SMALL = [
    "data.image_size=8", "data.batch_images=4", "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=2",
    "trainer.steps=2", "trainer.threads=1", "trainer.device=cpu", "trainer.precision=fp32",
    "trainer.attention=explicit",
]  # fmt: skip
KINDS = {"bright": 200, "dark": 40, "grey": 120}


def pictures(folder: Path, count: int = 8, size: int = 8, kinds: dict[str, int] = KINDS, seed: int = 1) -> Path:
    """Class folders of noise of some brightness."""
    random = np.random.default_rng(seed)
    for name, level in kinds.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(level - 30, level + 30, (size, size), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def prepared(folder: Path, *more: str, data: Path | None = None) -> Task:
    data = pictures(folder / "pictures") if data is None else data
    settings = [*SMALL, "data.source=files", f"data.path={data}", f"data.cache={folder / 'cache'}", *more]
    task = tasks.build(compose("quickstart/vit", settings))
    task.prepare(folder)
    return task


def test_loss_is_cross_entropy_of_the_centre(tmp_path):
    task = prepared(tmp_path, "data.crop_share=0.5", "data.mean=[0.5]", "data.std=[0.5]")
    model = task.model().eval()
    torch.nn.init.normal_(model.head.output.weight)
    batch = task.view("validation").collate(0, np.arange(2))
    images = [task.data.split("validation").pixels[row] for row in range(2)]
    assert {image.shape for image in images} == {(16, 16, 1)}
    seen = torch.from_numpy(np.stack(images)[:, 4:12, 4:12, 0]).float()[:, None] / 127.5 - 1
    expected = functional.cross_entropy(model(seen), batch.targets, reduction="sum")
    loss = task.loss(model, batch)
    torch.testing.assert_close(loss.total, expected)
    assert int(loss.count) == 2


@pytest.mark.parametrize("blend", ["mixup", "cutmix"])
def test_blended_pictures_have_both_labels(tmp_path, blend):
    task = prepared(tmp_path, f"augment.{blend}=1", "augment.crop=none", "augment.rotation=0", "augment.scale=0")
    model = task.model().train()
    torch.nn.init.normal_(model.head.output.weight)
    batch = task.view("train").collate(3, np.arange(6))
    assert batch.images.pixels.shape[0] == 12 and batch.targets.shape == batch.partner_targets.shape == (6,)
    (seen,), share = task.data.inputs(batch, training=True), batch.shares
    assert share.unique().numel() > 3
    of_labels, of_others = (
        functional.cross_entropy(model(seen), targets, reduction="none")
        for targets in (batch.targets, batch.partner_targets)
    )
    torch.testing.assert_close(task.loss(model, batch).total, (share * of_labels + (1 - share) * of_others).sum())
    plain = task.data.images.centers(batch.images.pixels, batch.images.shapes)
    for row in range(6):
        inside = torch.stack((plain[row], plain[row + 6])).aminmax(dim=0)
        assert (seen[row] >= inside.min - 1e-5).all() and (seen[row] <= inside.max + 1e-5).all()
    # whom a picture is blended with, and how, does not depend on its batch
    alone = task.view("train").collate(3, np.array([4]))
    torch.testing.assert_close(task.data.inputs(alone, training=True)[0][0], seen[4])
    partners = [task.view("train").collate(epoch, np.arange(6)).images.partners.tolist() for epoch in range(4)]
    assert len(set(map(tuple, partners))) == 4


def test_rare_labels_count_more(tmp_path):
    data = tmp_path / "pictures"
    pictures(data / "train", 9, kinds={"many": 200})
    pictures(data / "train", 3, kinds={"few": 40}, seed=2)
    pictures(data / "val", 1, kinds={"many": 200}, seed=3)
    task = prepared(tmp_path, "head.class_weights=true", data=data)
    weights = dict(zip(task.data.labels.names, task.data.labels.weights, strict=True))
    assert weights["few"] == pytest.approx(3 * weights["many"])
    share = {"few": 0.25, "many": 0.75}
    assert sum(share[name] * weight for name, weight in weights.items()) == pytest.approx(1)


def test_rare_pictures_are_drawn_more_often_and_augmented_anew(tmp_path):
    data = tmp_path / "pictures"
    pictures(data / "train", 12, kinds={"many": 200})
    pictures(data / "train", 2, kinds={"few": 40}, seed=2)
    pictures(data / "val", 1, kinds={"many": 200}, seed=3)
    task = prepared(tmp_path, "data.balance=1", "augment.crop=padded", "augment.padding=4", data=data)
    rows = np.concatenate([task.view("train").rows(0, index) for index in range(task.view("train").num_batches)])
    batch = task.view("train").collate(0, rows)
    few = task.data.labels.names.index("few")
    assert batch.targets.tolist().count(few) == 7 and int(batch.sample_ids.max()) < 14
    row = next(int(row) for row in batch.sample_ids[batch.targets == few])
    seen = task.data.inputs(batch, training=True)[0][batch.sample_ids == row]
    assert len(seen) >= 3 and not all(torch.equal(seen[0], other) for other in seen[1:])
    with pytest.raises(ConfigError, match="data.balance"):
        compose("vit/masked_patches", ["data.path=x", "data.balance=1"])


def test_the_training_split_is_evaluated_as_it_is(tmp_path):
    task = prepared(tmp_path, "data.balance=1", "augment.mixup=1", "augment.erase=1")
    view, images = task.data.view("train"), task.data.split("train")
    batches = [view.batch(1, index) for index in range(view.num_batches)]
    assert all(batch.images.partners is None and batch.partner_targets is None for batch in batches)
    assert sorted(row for batch in batches for row in batch.sample_ids.tolist()) == list(range(len(images)))
    model = task.model().eval()
    (centers,) = task.data.inputs(batches[0], training=False)
    expected = functional.cross_entropy(model(centers), batches[0].targets, reduction="sum")
    torch.testing.assert_close(task.loss(model, batches[0]).total, expected)
    augmented = task.view("train").batch(1, 0)
    assert augmented.partner_targets is not None
    torch.testing.assert_close(  # in evaluation mode a model sees images of a training batch as they are, too
        task.data.inputs(augmented, training=False)[0],
        task.data.images.of_images([images.pixels[int(row)] for row in augmented.sample_ids], torch.device("cpu")),
    )


def test_the_table_of_predictions_has_a_row_for_each_picture_in_order(tmp_path, monkeypatch):
    settings = ["data.validation_share=0.25", "data.batch_images=3", "data.mean=[0]", "data.std=[1]"]
    task = prepared(tmp_path, *settings)
    model, images = task.model().eval(), task.data.split("validation")
    levels = torch.tensor([KINDS[name] / 255 for name in task.data.labels.names])
    monkeypatch.setattr(model, "forward", lambda images: -(images.mean((1, 2, 3))[:, None] - levels).abs())
    rows = task.evaluate(model, "validation", Scoring(predictions=True)).predictions
    assert [row["picture"] for row in rows] == images.names
    assert [row["reference"] for row in rows] == [row["prediction"] for row in rows] == images.labels
    assert all(row["probability"] == max(row["probabilities"].values()) for row in rows)


def test_scores_top_five_and_confusions(tmp_path, monkeypatch):
    data = pictures(tmp_path / "train_and_more", 4, kinds={f"c{n}": 20 * n + 30 for n in range(7)})
    task = prepared(tmp_path, "data.validation_share=0.25", data=data)
    count = len(task.data.split("validation"))
    targets = task.data.targets("validation")
    model = task.model().eval()
    place = {}  # the right label comes in place row % 7

    def scores(images):
        rows = range(len(place), len(place) + len(images))
        logits = torch.zeros(len(images), 7)
        for i, row in enumerate(rows):
            order = [n for n in range(7) if n != targets[row]]
            order.insert(row % 7, int(targets[row]))
            logits[i, order] = torch.arange(7, 0, -1).float()
            place[row] = order
        return logits

    monkeypatch.setattr(model, "forward", scores)
    evaluation = task.evaluate(model, "validation", Scoring(samples=2))
    assert evaluation.scores["accuracy"] == pytest.approx(100 * np.mean([row % 7 == 0 for row in range(count)]))
    assert evaluation.scores["top5_accuracy"] == pytest.approx(100 * np.mean([row % 7 < 5 for row in range(count)]))
    picture = evaluation.pictures["confusion"]
    assert isinstance(picture, HeatMap) and picture.rows == list(task.data.labels.names)
    matrix = np.zeros((7, 7))
    for row in range(count):
        matrix[targets[row], place[row][0]] += 1
    np.testing.assert_allclose(picture.values, matrix / matrix.sum(1, keepdims=True).clip(min=1))


def test_drawn_validation_is_written_down(tmp_path):
    task = prepared(tmp_path, "data.validation_share=0.25")
    names = task.data.run_files()["validation.txt"].decode().splitlines()
    assert len(names) == 6 and not set(names) & set(task.data.split("train").names)
    assert names == task.data.split("validation").names
    assert "6 to validate, drawn from training" in dict(task.describe())["data"]


def test_pictures_of_the_test_split_that_were_trained_on_are_counted(tmp_path):
    data = tmp_path / "pictures"
    pictures(data / "train")
    pictures(data / "val", 2, seed=2)
    pictures(data / "test", 3, seed=3)
    for name in ("0.png", "1.png"):
        (data / "test" / "dark" / name).write_bytes((data / "train" / "dark" / name).read_bytes())
    task = prepared(tmp_path, data=data)
    model = task.model().eval().requires_grad_(False)
    evaluation = task.evaluate(model, "test", Scoring())
    assert evaluation.notes == ["warning: 2 of 9 pictures to test are in the training split too"]
    assert "warning" not in dict(task.describe())
    assert task.evaluate(model, "validation", Scoring()).notes == []


def test_a_label_that_training_does_not_have_is_named(tmp_path):
    data = tmp_path / "pictures"
    pictures(data / "train")
    pictures(data / "validation", 1, kinds={"striped": 90})
    with pytest.raises(DataError, match="'striped' is not in the training split"):
        prepared(tmp_path, data=data)


def test_what_is_predicted_and_what_cannot_be(tmp_path):
    task = prepared(tmp_path, "model.dim=16")
    model = task.model().eval()
    torch.nn.init.normal_(model.head.output.weight)
    good = [str(path) for path in sorted((tmp_path / "pictures").rglob("*.png"))[:5]]
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    answers = list(task.predict(model, good))
    assert [answer.details["label"] for answer in answers] == [answer.text.split("\t")[0] for answer in answers]
    assert all(sum(a.details["probabilities"].values()) == pytest.approx(1, abs=1e-4) for a in answers)
    with pytest.raises(DataError, match="broken.png"):
        list(task.predict(model, [good[0], str(broken)]))
    skipping = prepared(tmp_path, "trainer.on_bad_sample=skip", data=tmp_path / "pictures")
    mixed = list(skipping.predict(model, [good[0], str(broken), good[1]]))
    assert [answer.text for answer in mixed] == [answers[0].text, "", answers[1].text]
    assert "broken.png" in mixed[1].details["error"] and "on_bad_sample" not in mixed[1].details["error"]
    assert [str(path) for path in task.predictor.files.files_of(tmp_path / "pictures")][:5] == good
    assert task.predictor.files.files_of(broken) == [broken]


def test_pictures_to_look_at(tmp_path):
    task = prepared(tmp_path, "augment.mixup=1", "augment.erase=1")
    pictures = task.evaluator.pictures(task.model().eval())
    assert pictures.keys() == {"predictions", "augmented", "attention"}
    galleries = [part for part in pictures.values() if isinstance(part, Gallery)]
    assert len(galleries) == 3
    assert all(image.shape == (8, 8, 1) and image.dtype == np.uint8 for part in galleries for image in part.images)
    assert len(pictures["predictions"].images) == min(SHOWN, len(task.data.split("validation")))
    assert {weights.shape for weights in pictures["attention"].weights} == {(4, 4)}
    from tformer_cli.draw import draw

    drawn = {name: draw(picture) for name, picture in pictures.items()}
    assert drawn["augmented"].shape[1] == 8 * (112 + 2 * 4 + 8)  # two pictures in a row, each in four epochs
    assert all(image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 for image in drawn.values())
    right, wrong = ((drawn["predictions"] == colour).all(-1).any() for colour in ((46, 125, 50), (198, 40, 40)))
    assert right == any(pictures["predictions"].correct) and wrong == (not all(pictures["predictions"].correct))


class Brightness(nn.Module):
    """An encoder of images without attention: the vector of an image is its mean."""

    config, width = None, 1

    def vector(self, images: torch.Tensor, pooling: object) -> torch.Tensor:
        return images.flatten(1).mean(1, keepdim=True)


@pytest.mark.parametrize("class_token", ["true", "false"])
def test_attention_is_that_of_the_last_block_to_the_patches(tmp_path, class_token):
    pooling = "cls" if class_token == "true" else "mean"
    task = prepared(tmp_path, f"model.class_token={class_token}", f"head.pooling={pooling}")
    model = task.model().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    gallery = task.evaluator.pictures(model)["attention"]
    (images,) = task.data.inputs(task.data.view("validation").collate(0, np.array([0])), training=False)
    weights = attention_weights(model, lambda: model(images))["encoder.stack.blocks.1.attention"][0].mean(0)
    expected = weights[0, 1:] if class_token == "true" else weights.mean(0)  # patches follow [class], row by row
    np.testing.assert_allclose(gallery.weights[0].ravel(), expected.detach(), atol=1e-6)
    assert len(gallery.weights) == len(gallery.images) and gallery.weights[0].std() > 1e-4


class Blur(Brightness):
    """Another encoder without attention, which has a vector for each part of an image."""

    encode = None


@pytest.mark.parametrize("encoder", [Brightness, Blur])
def test_encoders_without_attention_have_no_picture_of_it(tmp_path, encoder):
    task = prepared(tmp_path)
    model = ImageClassifier(encoder(), task.config.head, len(task.data.labels.names)).eval()
    assert task.evaluator.pictures(model).keys() == {"predictions", "augmented"}


def test_finetuning_at_another_resolution_with_other_labels(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    data = pictures(tmp_path / "pictures")
    shared = [*SMALL, "data.source=files", f"data.cache={tmp_path / 'cache'}", "augment.rotation=0"]
    launch(compose("quickstart/vit", [*shared, f"data.path={data}"]), first, quiet=True)
    other = pictures(tmp_path / "others", 6, 16, {"x": 60, "y": 180})
    config = compose("quickstart/vit", [*shared, f"data.path={other}", "data.image_size=16", "optim.lr=0"])
    launch(config, second, initial=first, quiet=True)
    before, after = open_run(first, device="cpu").model, open_run(second, device="cpu").model
    assert before.encoder.grid == (4, 4) and after.encoder.grid == (8, 8)
    assert after.head.output.weight.shape[0] == 2 and not after.head.output.weight.any()
    assert torch.equal(before.encoder.patches.project.weight, after.encoder.patches.project.weight)
    table = before.encoder.state_dict()
    grid = next(name for name, value in table.items() if value.shape == (4, 4, 16))
    wide = functional.interpolate(table[grid].permute(2, 0, 1)[None], (8, 8), mode="bicubic", align_corners=False)
    torch.testing.assert_close(after.encoder.state_dict()[grid], wide[0].permute(1, 2, 0))


def test_pictures_that_two_splits_share_are_counted_in_the_split_that_is_named(tmp_path):
    pixels = [np.full((8, 8), level, np.uint8) for level in (10, 90, 170, 250)]
    shared = {"train": [0, 0, 0, 1], "test": [0, 2, 3], "val": [1, 1, 2]}
    for split, levels in shared.items():
        for number, level in enumerate(levels):
            folder = tmp_path / "data" / split / ("a" if number % 2 else "b")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[level]).save(folder / f"{number}.png")
    task = prepared(tmp_path, data=tmp_path / "data")
    overlap = task.evaluator.training_overlap(task.data.split("test"))
    assert overlap == ["warning: 1 of 3 pictures to test are in the training split too"]
    assert dict(task.describe())["warning"] == "2 pictures of validation are in training too"
