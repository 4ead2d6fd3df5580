"""The programs of an item on pictures train the same model on the same pictures. Nothing is measured here."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "peers")]

import items  # noqa: E402
import measure  # noqa: E402
import ours  # noqa: E402
import prepare_images  # noqa: E402
import run  # noqa: E402
import tables  # noqa: E402

from tformer_cli import tasks  # noqa: E402

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")
IMAGE_ITEMS = {item.name: item for item in items.all_items() if item.data == "cifar10"}
COUNTS = {"pictures32": (256, 32, 1), "pictures224": (64, 16, 2)}
SETS = {
    name: dataclasses.replace(prepare_images.SETS[name], train=train, validation=validation, divided=divided)
    for name, (train, validation, divided) in COUNTS.items()
}
TI16_PARAMETERS = 5_717_416
"""Of timm's `vit_tiny_patch16_224` with 1,000 outputs."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random pictures of CIFAR-10's form, prepared."""
    from PIL import Image
    from pyarrow import parquet

    raw, random = tmp_path_factory.mktemp("raw"), np.random.default_rng(1)
    images = []
    for pixels in random.integers(0, 256, (300, 32, 32, 3), dtype=np.uint8):
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        images.append({"bytes": content.getvalue(), "path": None})
    labels = random.permutation(np.arange(300) % 10)
    parquet.write_table(pyarrow.table({"image": images, "label": labels}), raw / "train.parquet")
    made = tmp_path_factory.mktemp("cifar10")
    prepare_images.main(raw, made, "cifar10", SETS)
    return made


def job_of(name: str, folder: Path, work: Path) -> dict:
    job = IMAGE_ITEMS[name].job
    files = {"corpus": str(folder / job["rows"]), "data": str(folder / "data.npz"), "work": str(work)}
    return {**job, **files, "threads": 1, "seed": 1, "precision": "fp32"}


@pytest.fixture(params=IMAGE_ITEMS)
def both(request, folder, tmp_path):
    """An item's job; tformer's task, prepared; what the peer reads, by its split."""
    job = job_of(request.param, folder, tmp_path)
    task = tasks.build(ours.experiment(job))
    task.prepare(tmp_path)
    return job, task, {split: measure.Pictures.load(job, split) for split in ("train", "validation")}


def expected_parameters(shape: dict, labels: int) -> int:
    """The paper's arithmetic: patches, [class] and positions, blocks, the last normalisation, the head."""
    dim, ffn_dim, patch = shape["dim"], shape["ffn_dim"], shape["patch_size"]
    patches = (shape["image_size"] // patch) ** 2
    block = 2 * 2 * dim + 4 * (dim * dim + dim) + 2 * dim * ffn_dim + ffn_dim + dim
    return (3 * patch**2 + 1) * dim + (patches + 2) * dim + shape["depth"] * block + 2 * dim + (dim + 1) * labels


def test_the_arithmetic_is_that_of_the_peers_model():
    assert expected_parameters(items.VIT_TI16, 1000) == TI16_PARAMETERS


def test_as_many_parameters_as_the_peers_are_trained(both):
    job, task, read = both
    labels = 10 * COUNTS[job["rows"]][2]
    assert [pictures.outputs for pictures in read.values()] == [labels, labels]
    mine = sum(p.numel() for p in task.model().parameters() if p.requires_grad)
    assert mine == expected_parameters(job["shape"], labels)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_model_sees_the_same_pictures(both, split):
    job, task, read = both
    pixels, labels = read[split].tensors()
    seen = {}
    for index in range(task.view(split).num_batches):
        rows = task.view(split).rows(0, index)
        batch = task.view(split).collate(0, rows)
        (images,) = task.data.inputs(batch, training=split == "train")
        seen |= dict(zip(rows.tolist(), zip(images, batch.targets, strict=True), strict=True))
    assert sorted(seen) == list(range(len(pixels)))
    mine = torch.stack([seen[row][0] for row in range(len(pixels))])
    torch.testing.assert_close(mine, measure.normalised(pixels), atol=1e-6, rtol=0)
    names = [int(task.data.labels.names[seen[row][1]]) for row in range(len(labels))]
    assert names == labels.tolist()


def test_pictures_are_scaled_and_labels_divided(folder):
    with np.load(folder / "data.npz") as arrays:
        assert arrays["pictures32_train_pixels"].shape == (256, 3, 32, 32)
        assert arrays["pictures224_validation_pixels"].shape == (16, 3, 224, 224)
        labels, parts = (arrays[f"{name}_train_labels"][:64] for name in COUNTS)
    assert (parts // 2 == labels).all()
    for label in range(10):  # by turns
        assert (parts[labels == label] % 2 == np.arange((labels == label).sum()) % 2).all()
    assert json.loads((folder / "facts.json").read_text())["pictures224"]["labels"] == 20


def test_augmented_pictures_are_others(folder, tmp_path):
    job = job_of("train-vit-32px", folder, tmp_path) | items.OURS_AUGMENTED.options | {"precision": "fp32"}
    task = tasks.build(ours.experiment(job))
    task.prepare(tmp_path)
    batch = task.view("train").collate(0, np.arange(8))
    augmented, centers = (task.data.inputs(batch, training=training)[0] for training in (True, False))
    assert not torch.allclose(augmented, centers, atol=0.1)


def test_inference_counts_every_picture(folder, tmp_path):
    job = job_of("infer-vit-ti16", folder, tmp_path) | {"seconds": 0}
    job["shape"] = job["shape"] | {"depth": 1}
    result = ours.infer(job)
    assert result["images"] == 16
    assert result["passes"] == 1
    assert result["rate"] == pytest.approx(16 / result["seconds"])


def test_a_clock_of_passes_stops_after_the_seconds():
    calls = []
    result = measure.inference_result({"counted": "images", "seconds": 0}, lambda: calls.append(1) or 7)
    assert len(calls) == 2  # one for warming up
    assert (result["images"], result["passes"], result["unit"]) == (7, 1, "images/s")


def test_the_page_counts_pictures():
    item = IMAGE_ITEMS["train-vit-ti16"]
    facts = {"name": "cifar10", "pictures224": {"train": 2048, "validation": 256, "size": 224, "labels": 1000}}
    entry = {"data": facts, "job": item.job}
    assert tables._data(entry) == (
        "Data: 2,048 images of cifar10 for training, 256 for validation, 224 x 224, 1,000 labels."
    )
    entry_of_run = {
        "unit": "images/s",
        "tokens_per_step": 32,
        "padding_percent": 0.0,
        "data_wait_percent": 0.126,
        "loss_curve": [(64, 6.9)],
    }
    assert tables._note({"name": "tformer", "runs": [entry_of_run]}) == (
        "- tformer: 32 images per step, waits for data 0.13 % of the time, loss 6.90 at 64 images."
    )
    assert run.rule(item, False).startswith("Images, 32 in a batch, per second of wall time")
    assert "32 in a batch" in run.rule(IMAGE_ITEMS["infer-vit-ti16"], False)


def test_only_texts_have_a_vocabulary():
    options = run.argparse.Namespace(seconds=1.0)
    item = IMAGE_ITEMS["train-vit-32px"]
    job = run.job_of(item, item.programs[1], {"threads": 1}, options)
    assert job["shape"] == items.VIT_SMALL
    assert job["augmented"]
