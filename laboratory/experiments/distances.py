"""The attention of a plain ViT and of a hybrid is measured: how far does each layer look?"""

import numpy as np

from laboratory.experiment import Experiment, Outcome, Scale, Table, Training, seeded
from laboratory.runs import Runs
from laboratory.small_images import CIFAR, QUICK, TINY
from tformer_cli.analysis.attention import entropy
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Curve, Curves
from tformer_cli.figures.base import Subject
from tformer_cli.figures.distance import distances

MODEL = (
    "model.dim=64", "model.depth=6", "model.ffn_dim=128", "model.class_token=false", "head.pooling=mean",
    "trainer.steps=1800",
)  # fmt: skip
IMAGES = 64


def by_layer(runs: Runs, group: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what the runs of a group attend to, by layer.

    Returns:
        Mean distances in pixels, (seeds, layers, 1 + heads), first that of uniform attention; and the mean entropy of
        attention in bits, (seeds, layers).
    """
    every, entropies = [], []
    for path in runs.groups[group]:
        opened = runs.open(path, "trainer.precision=fp32").opened
        examples = opened.task.inspector.of_split(opened.model, "test", IMAGES if runs.scale is Scale.full else 2)
        subject = Subject(opened.model, opened.task.inspector, examples)
        _, layers = distances(subject)[AttentionKind.encoder]
        every.append([values.mean(0) for values in layers.values()])
        weights = [subject.weights(example, AttentionKind.encoder) for example in examples]
        bits = [[entropy(values).mean() / np.log(2) for _, values in example] for example in weights]
        entropies.append(np.mean(bits, 0))
    return np.array(every), np.array(entropies)


def measure(runs: Runs) -> Outcome:
    """Measure the distances on test images."""
    curves, columns, uniform = [], [], 0.0
    for group in runs.groups:
        values, entropies = by_layer(runs, group)
        heads = values[..., 1:]
        means, ends = heads.mean((0, 2)), list(zip(heads.min((0, 2)), heads.max((0, 2)), strict=True))
        layers = np.arange(1, len(means) + 1) + 0.08 * len(curves)  # apart, so that no interval hides another
        curves.append(Curve(f"{group}, mean and range of heads", layers, means, ends))
        columns.append([f"{mean:.1f} ({low:.1f} to {high:.1f})" for mean, (low, high) in zip(means, ends, strict=True)])
        columns.append([f"{bits:.2f}" for bits in entropies.mean(0)])
        uniform = float(values[..., 0].mean())
    curves.append(Curve("uniform attention", curves[0].x, [uniform] * len(columns[0]), points=False))
    rows = [(number + 1, *cells) for number, cells in enumerate(zip(*columns, strict=True))]
    names = [(f"{group}: pixels, mean and range of heads", f"{group}: entropy, bits") for group in runs.groups]
    header = ("layer", *(name for pair in names for name in pair))
    picture = Curves(curves, "Mean attention distance by layer", "layer", "pixels", y_limits=(0.0,))
    title = f"Uniform attention to the 64 patches: {uniform:.1f} pixels, 6 bits."
    return Outcome([Table(header, rows, title)], picture)


EXPERIMENT = Experiment(
    title="Attention distance by layer: Vision Transformer and hybrid",
    claim="attention looks further in deeper layers, and in a hybrid it looks far from the first layer on",
    source="Dosovitskiy et al. 2021, section 4.5, figures 7 (right) and 11",
    budget="1,800 steps of 64 images, two seeds; both have six blocks over 8 x 8 parts of 4 x 4 pixels, and "
    "the hybrid has 287,000 parameters, the plain model 209,000",
    corpus="CIFAR-10",
    data="cifar10",
    file="train.parquet",
    trainings=seeded(
        [
            Training("plain", "vit/cifar10_plain", (*CIFAR, *MODEL)),
            Training("hybrid", "vit/cifar10", (*CIFAR, *MODEL, "model.resnet.dim=16")),
        ],
        (1, 2),
    ),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
