"""Accuracy by the number of training images: convolutions, gated convolutions, a hybrid, and a plain ViT."""

from laboratory.experiment import Experiment, Outcome, Table, Training
from laboratory.runs import Runs
from laboratory.small_images import CIFAR, QUICK, TINY, scored_split
from tformer_cli.draw import Chart, Series

SIZES = (500, 2_000, 8_000, 32_000)
CONVOLUTIONS = ("model.depths=[1,1,1]", "model.dim=24")
MODELS = {
    "ResNet": ("resnet/cifar10", CONVOLUTIONS),
    "SE-ResNet": ("resnet/cifar10", (*CONVOLUTIONS, "model.squeeze=8")),
    "hybrid": ("vit/cifar10", ("model.dim=64", "model.depth=3", "model.ffn_dim=128", "model.resnet.dim=16")),
    "ViT": ("vit/cifar10_plain", ("model.dim=64", "model.depth=5", "model.ffn_dim=128")),
}


def run_name(model: str, size: int) -> str:
    """Return the name of a training."""
    return f"{model.lower()}-{size}"


def measure(runs: Runs) -> Outcome:
    """Compare the models on the test images, by number of training images."""
    comparison = runs.compare(scored_split(runs), metric="accuracy")
    entries = dict(zip(runs.groups, comparison.runs, strict=True))
    rows, lines = [], []
    for model in MODELS:
        every = [entries[run_name(model, size)] for size in SIZES]
        accuracies = [entry.score for entry in every]
        intervals = [(entry.resampled.low, entry.resampled.high) for entry in every if entry.resampled]
        rows.append((model, *(f"{accuracy:.1f}" for accuracy in accuracies), every[0].parameters))
        lines.append(Series(model, accuracies, intervals))
    header = ("accuracy, %", *(f"{size:,} images" for size in SIZES), "parameters")
    sizes = [f"{size:,}" for size in SIZES]
    picture = Chart("Accuracy by number of training images, %", sizes, lines, "images", connected=True)
    return Outcome([Table(header, rows)], picture)


EXPERIMENT = Experiment(
    title="Accuracy by the number of training images: ResNet, SE-ResNet, hybrid, Vision Transformer",
    claim="convolutions and hybrids win on little data, and a plain Vision Transformer catches up as data grows",
    source="Dosovitskiy et al. 2021, sections 4.3 and 4.4, figures 3 to 5",
    budget="3,000 steps of 64 images each, and 174,000 to 187,000 parameters",
    data="cifar10",
    file="train.parquet",
    trainings=[
        Training(run_name(model, size), recipe, (*CIFAR, *settings, f"data.size={size}", "trainer.steps=3000"))
        for size in SIZES
        for model, (recipe, settings) in MODELS.items()
    ],
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
