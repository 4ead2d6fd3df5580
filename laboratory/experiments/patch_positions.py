"""Positions of patches: none, their numbers, rows and columns, or offsets."""

from laboratory.experiment import Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, bars
from laboratory.small_images import CIFAR, QUICK, TINY, VIT, scored_split

NAMES = {"none": "none", "learned": "1-D", "learned_2d": "2-D", "relative_2d": "relative"}


def measure(runs: Runs) -> Outcome:
    """Compare accuracy and loss on test images."""
    accuracies = {group: runs.spread(group, "accuracy", scored_split(runs)) for group in runs.groups}
    rows = [
        (NAMES[group], group, accuracy.text(), runs.spread(group, "loss", scored_split(runs)).text(3))
        for group, accuracy in accuracies.items()
    ]
    shown = {NAMES[group]: accuracy for group, accuracy in accuracies.items()}
    picture = bars(shown, "A Vision Transformer by its positions", "accuracy in percent", name_pixels=120)
    return Outcome([Table(("positions", "model.positions", "accuracy, %", "loss"), rows)], picture)


EXPERIMENT = Experiment(
    title="Positions of patches in a Vision Transformer",
    claim="one-dimensional, two-dimensional and relative positions are equally good, and much better than none",
    source="Dosovitskiy et al. 2021, appendix D.4 and table 8",
    budget="1,200 steps of 64 images, three seeds; the models differ in their positions alone",
    corpus="CIFAR-10",
    data="cifar10",
    file="train.parquet",
    trainings=seeded(
        [
            Training(name, "vit/cifar10_plain", (*CIFAR, *VIT, f"model.positions={name}", "trainer.steps=1200"))
            for name in NAMES
        ],
        (1, 2, 3),
    ),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
