"""Prepare images: write images of one size, once for all programs.

`python prepare_images.py CORPUS OUTPUT NAME`, in tformer's own environment. CORPUS is a folder with `train.parquet`,
columns `image` and `label`, as CIFAR-10 is distributed.

It writes to OUTPUT `facts.json`, `data.npz` with the pixels and labels of each of `SETS`, and the same images in the
format of tformer, `NAME_OF_SET/train.parquet` and `validation.parquet`.
"""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class PictureSet:
    """Images of one size: the first of the corpus for training, the next ones for validation.

    Attributes:
        size: height and width in pixels; smaller images are enlarged.
        train: number of training images; a multiple of the batch sizes, and more than a short run needs.
        validation: number of validation images, on which inference is measured.
        divided: number of artificial labels for each label, to have as many outputs as a model of a larger data set.
    """

    size: int
    train: int
    validation: int
    divided: int = 1


SETS = {"pictures32": PictureSet(32, 20_480, 1_024), "pictures224": PictureSet(224, 2_048, 256, divided=100)}


def pictures(corpus: Path) -> Iterator[tuple[bytes, int]]:
    """Yield the file and the label of each image, in order."""
    table = pyarrow.parquet.ParquetFile(corpus / "train.parquet")
    for rows in table.iter_batches(ROWS_AT_ONCE, columns=["image", "label"]):
        for row in rows.to_pylist():
            yield row["image"]["bytes"], row["label"]


def scaled(corpus: Path, picture_set: PictureSet) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (N, size, size, 3), uint8, and labels (N,), int64, of a set."""
    pixels, labels, counts = [], [], Counter()
    for content, label in islice(pictures(corpus), picture_set.train + picture_set.validation):
        with Image.open(io.BytesIO(content)) as image:
            size = (picture_set.size, picture_set.size)
            pixels.append(np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)))
        labels.append(label * picture_set.divided + counts[label] % picture_set.divided)
        counts[label] += 1
    if len(pixels) < picture_set.train + picture_set.validation:
        raise SystemExit(f"error: {corpus}: {len(pixels):,} pictures, fewer than the set needs")
    return np.stack(pixels), np.array(labels)


def write_table(pixels: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Write images to a table as PPM files, which contain the size and then the pixels."""
    head = b"P6 %d %d 255\n" % pixels.shape[2:0:-1]
    path.parent.mkdir(exist_ok=True)
    images = pyarrow.array([head + picture.tobytes() for picture in pixels], pyarrow.binary())
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": labels}), path, compression="none")


def main(corpus: Path, output: Path, name: str, sets: dict[str, PictureSet] = SETS) -> None:
    """Write all files into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"name": name}
    for set_name, images in sets.items():
        pixels, labels = scaled(corpus, images)
        for split, part in (("train", slice(images.train)), ("validation", slice(images.train, None))):
            write_table(pixels[part], labels[part], output / set_name / f"{split}.parquet")
            arrays[f"{set_name}_{split}_pixels"] = np.ascontiguousarray(pixels[part].transpose(0, 3, 1, 2))
            arrays[f"{set_name}_{split}_labels"] = labels[part]
        count = len(np.unique(labels[: images.train]))
        sizes = {"train": images.train, "validation": images.validation, "size": images.size}
        facts[set_name] = {**sizes, "labels": count}
    np.savez(output / "data.npz", **arrays)
    (output / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _, corpus_, output_, name_ = sys.argv
    main(Path(corpus_), Path(output_), name_)
