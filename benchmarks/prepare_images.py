"""Writes pictures of one size, once, for every program to read.

`python prepare_images.py CORPUS OUTPUT NAME`, in tformer's own environment. CORPUS is a folder with `train.parquet`,
columns `image` and `label`, as CIFAR-10 is distributed.

OUTPUT gets `facts.json`, `data.npz` with the pixels and labels of each of `SETS`, and the same pictures as `tformer`
reads them: `NAME_OF_SET/train.parquet` and `validation.parquet`.
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
    """Pictures of one size; the first of the corpus are to train, those that follow to validate.

    Attributes:
        size: height and width, in pixels; smaller pictures are scaled up.
        train: how many to train; whole batches of every item, and more than a short run sees.
        validation: how many to validate, which is what inference is measured on.
        divided: each label becomes so many, by turns, for as many outputs as larger data sets ask for.
    """

    size: int
    train: int
    validation: int
    divided: int = 1


SETS = {"pictures32": PictureSet(32, 20_480, 1_024), "pictures224": PictureSet(224, 2_048, 256, divided=100)}


def pictures(corpus: Path) -> Iterator[tuple[bytes, int]]:
    """Each picture's file and label, in order."""
    table = pyarrow.parquet.ParquetFile(corpus / "train.parquet")
    for rows in table.iter_batches(ROWS_AT_ONCE, columns=["image", "label"]):
        for row in rows.to_pylist():
            yield row["image"]["bytes"], row["label"]


def scaled(corpus: Path, wanted: PictureSet) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, size, size, 3), uint8, and labels (N,), int64, of a set."""
    pixels, labels, seen = [], [], Counter()
    for content, label in islice(pictures(corpus), wanted.train + wanted.validation):
        with Image.open(io.BytesIO(content)) as image:
            size = (wanted.size, wanted.size)
            pixels.append(np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)))
        labels.append(label * wanted.divided + seen[label] % wanted.divided)
        seen[label] += 1
    if len(pixels) < wanted.train + wanted.validation:
        raise SystemExit(f"error: {corpus}: {len(pixels):,} pictures, fewer than the set needs")
    return np.stack(pixels), np.array(labels)


def write_table(pixels: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Pictures as PPM files, which say their size and then their pixels, in a table."""
    head = b"P6 %d %d 255\n" % pixels.shape[2:0:-1]
    path.parent.mkdir(exist_ok=True)
    images = pyarrow.array([head + picture.tobytes() for picture in pixels], pyarrow.binary())
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": labels}), path, compression="none")


def main(corpus: Path, output: Path, name: str, sets: dict[str, PictureSet] = SETS) -> None:
    """Write everything into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"name": name}
    for kind, wanted in sets.items():
        pixels, labels = scaled(corpus, wanted)
        for split, part in (("train", slice(wanted.train)), ("validation", slice(wanted.train, None))):
            write_table(pixels[part], labels[part], output / kind / f"{split}.parquet")
            arrays[f"{kind}_{split}_pixels"] = np.ascontiguousarray(pixels[part].transpose(0, 3, 1, 2))
            arrays[f"{kind}_{split}_labels"] = labels[part]
        found = len(np.unique(labels[: wanted.train]))
        facts[kind] = {"train": wanted.train, "validation": wanted.validation, "size": wanted.size, "labels": found}
    np.savez(output / "data.npz", **arrays)
    (output / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _, corpus_, output_, name_ = sys.argv
    main(Path(corpus_), Path(output_), name_)
