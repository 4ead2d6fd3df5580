"""Processor time of augmentation by tformer and by kornia, measured in turn on one thread.

kornia is not a dependency of the project: `pip install --no-deps --target FOLDER kornia kornia_rs`, then
`PYTHONPATH=FOLDER OMP_NUM_THREADS=1 python benchmarks/augmentation.py`. Both convert uint8 to normalised float32.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import kornia
import torch
from kornia.augmentation import (
    AugmentationSequential,
    ColorJitter,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
)
from kornia.augmentation.auto import RandAugment
from torch import Tensor

from tformer_cli.config.schema import AugmentConfig, Crop, ImageDataConfig
from tformer_cli.data.image.augment import Augmentation
from tformer_cli.machine import tune_process

COLOUR = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
CASES = ("crop and flip", "and colour", "and RandAugment 2, 9")


def ours(pixels: Tensor, size: int, case: int) -> Callable[[int], Tensor]:
    """Return a function that augments a batch with tformer, with other random numbers for each epoch."""
    config = AugmentConfig(crop=Crop.padded if size == 32 else Crop.resized, flip=0.5)
    if case == 1:
        for name, value in COLOUR.items():
            setattr(config, name, value)
    if case == 2:
        config.operations, config.magnitude = 2, 9
    augmentation = Augmentation(config, ImageDataConfig(image_size=size), seed=0)
    sizes = torch.tensor(pixels.shape[2:]).expand(len(pixels), 2)
    samples = torch.arange(len(pixels))
    return lambda epoch: augmentation(pixels, sizes, samples, epoch)


def theirs(pixels: Tensor, size: int, case: int) -> Callable[[int], Tensor]:
    """Return a function that augments a batch with kornia."""
    crop = RandomCrop((32, 32), padding=4) if size == 32 else RandomResizedCrop((size, size), scale=(0.08, 1.0))
    parts: list = [crop, RandomHorizontalFlip(p=0.5)]
    if case == 1:
        parts.append(ColorJitter(*COLOUR.values(), p=1.0))
    if case == 2:
        parts.append(RandAugment(n=2, m=9))
    parts.append(Normalize(mean=torch.full((3,), 0.5), std=torch.full((3,), 0.5)))
    sequence = AugmentationSequential(*parts, data_keys=["input"])
    return lambda epoch: sequence(pixels.float() / 255)


def milliseconds(work: Callable[[int], Tensor], epoch: int) -> float:
    """Return the processor time of one batch in milliseconds."""
    start = time.process_time()
    with torch.no_grad():
        work(epoch)
    return 1000 * (time.process_time() - start)


def main() -> None:
    """Print a table, and all times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tune_process()  # as in training; both are faster with it
    print(f"torch {torch.__version__}, kornia {kornia.__version__}, one CPU thread, {options.runs} runs of each\n")
    print("| pictures | work | tformer, ms | kornia, ms | ratio |\n| --- | --- | --- | --- | --- |")
    raw = []
    for count, side, size in ((128, 32, 32), (64, 256, 224)):
        pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
        for case, name in enumerate(CASES):
            sides = ours(pixels, size, case), theirs(pixels, size, case)
            times: list[list[float]] = [[], []]
            for epoch in range(-3, options.runs):
                for work, durations in zip(sides, times, strict=True):
                    durations.append(milliseconds(work, epoch))
            measured = [durations[3:] for durations in times]
            shown = [f"{statistics.median(part):.1f} ({min(part):.1f}-{max(part):.1f})" for part in measured]
            ratio = statistics.median(measured[1]) / statistics.median(measured[0])
            print(
                f"| {count} x 3 x {side} x {side} to {size} | {name} | {' | '.join(shown)} | {ratio:.1f} |", flush=True
            )
            raw += [(size, name, library, part) for library, part in zip(("tformer", "kornia"), measured, strict=True)]
    print("\nAll times in ms:\n")
    for size, name, library, durations in raw:
        print(f"- {size}, {name}, {library}: {' '.join(f'{duration:.1f}' for duration in durations)}")


if __name__ == "__main__":
    main()
