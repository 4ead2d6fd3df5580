"""A ResNet with and without gates of its channels: squeeze and excitation."""

from laboratory.experiment import Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, bars
from laboratory.small_images import CIFAR, QUICK, TINY, scored_split

RESNET = ("model.depths=[1,1,1]", "model.dim=16", "trainer.steps=2000")
NAMES = {"resnet": "ResNet", "se": "SE-ResNet"}


def measure(runs: Runs) -> Outcome:
    """Compare accuracy and loss on test images."""
    rows, accuracies = [], []
    for group in runs.groups:
        accuracy, loss = (runs.spread(group, metric, scored_split(runs)) for metric in ("accuracy", "loss"))
        rows.append((NAMES[group], accuracy.text(), loss.text(3), runs.parameters(group)))
        accuracies.append(accuracy)
    header = ("model", "accuracy, %", "loss", "parameters")
    shown = dict(zip(NAMES.values(), accuracies, strict=True))
    picture = bars(shown, "A ResNet with and without gates", "accuracy in percent", name_pixels=120)
    return Outcome([Table(header, rows)], picture)


EXPERIMENT = Experiment(
    title="A ResNet with and without squeeze and excitation",
    claim="gates that weight the channels of a map by its mean make a ResNet better at little cost",
    source="Hu et al. 2018, table 2 (ImageNet) and those on CIFAR",
    budget="2,000 steps of 64 images, three seeds; the gates add 2 % to the parameters",
    corpus="CIFAR-10",
    data="cifar10",
    file="train.parquet",
    trainings=seeded(
        [
            Training("resnet", "resnet/cifar10", (*CIFAR, *RESNET)),
            Training("se", "resnet/cifar10", (*CIFAR, *RESNET, "model.squeeze=8")),
        ],
        (1, 2, 3),
    ),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
