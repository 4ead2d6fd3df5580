"""Accuracy by the number of training images: convolutions, gated convolutions, a hybrid, and a plain ViT."""

from laboratory.experiment import Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, line
from laboratory.small_images import CIFAR, QUICK, TINY, scored_split
from tformer_cli.draw import Chart

SIZES = (500, 4_000, 32_000)
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
    rows, lines = [], []
    for model in MODELS:
        groups = [run_name(model, size) for size in SIZES]
        accuracies = [runs.spread(group, "accuracy", scored_split(runs)) for group in groups]
        rows.append((model, *(accuracy.text() for accuracy in accuracies), runs.parameters(groups[0])))
        lines.append(line(model, accuracies))
    header = ("accuracy, %", *(f"{size:,} images" for size in SIZES), "parameters")
    sizes = [f"{size:,}" for size in SIZES]
    picture = Chart("Accuracy by number of training images, %", sizes, lines, "images", connected=True)
    return Outcome([Table(header, rows)], picture)


EXPERIMENT = Experiment(
    title="Accuracy by the number of training images: ResNet, SE-ResNet, hybrid, Vision Transformer",
    claim="convolutions win on little data, a plain Vision Transformer catches up as data grows, hybrids are between",
    source="Dosovitskiy et al. 2021, sections 4.3 and 4.4, figures 3 to 5",
    budget="1,500 steps of 64 images each, two seeds, and 174,000 to 187,000 parameters",
    corpus="CIFAR-10",
    data="cifar10",
    file="train.parquet",
    trainings=seeded(
        [
            Training(run_name(model, size), recipe, (*CIFAR, *settings, f"data.size={size}", "trainer.steps=1500"))
            for size in SIZES
            for model, (recipe, settings) in MODELS.items()
        ],
        (1, 2),
    ),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
