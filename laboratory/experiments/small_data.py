"""Small and large Vision Transformers on few and on many images."""

from laboratory.experiment import Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, Spread, line
from laboratory.small_images import CIFAR, QUICK, TINY, scored_split
from tformer_cli.draw import Chart

MODELS = {"small": (32, 3), "middle": (64, 4), "large": (128, 6)}
SIZES = (1_000, 49_000)


def settings(width: int, depth: int) -> tuple[str, ...]:
    """Return the settings of a model."""
    return f"model.dim={width}", f"model.depth={depth}", f"model.ffn_dim={2 * width}"


def measure(runs: Runs) -> Outcome:
    """Compare accuracy on training and on test images."""
    rows, lines = [], []
    for size in SIZES:
        tested: list[Spread] = []
        for model in MODELS:
            group = f"{model}-{size}"
            training, test = (runs.spread(group, "accuracy", split) for split in ("train", scored_split(runs)))
            loss = runs.spread(group, "loss", scored_split(runs))
            rows.append((f"{size:,}", model, runs.parameters(group), training.text(), test.text(), loss.text(2)))
            tested.append(test)
        lines.append(line(f"{size:,} images", tested))
    header = ("images", "model", "parameters", "training accuracy, %", "test accuracy, %", "test loss")
    picture = Chart("Test accuracy by size of the model, %", list(MODELS), lines, "model", connected=True)
    return Outcome([Table(header, rows)], picture)


EXPERIMENT = Experiment(
    title="Small and large Vision Transformers on few and on many images",
    claim="a larger Vision Transformer is worse than a smaller one on little data, and better on much",
    source="Dosovitskiy et al. 2021, section 4.3, figures 3 and 4",
    budget="1,500 steps of 64 images without augmentation, two seeds; time grows with the model, as in the paper",
    corpus="CIFAR-10",
    data="cifar10",
    file="train.parquet",
    trainings=seeded(
        [
            Training(
                f"{model}-{size}",
                "vit/cifar10_plain",
                (*CIFAR, *settings(*shape), "augment=none", f"data.size={size}", "trainer.steps=1500"),
            )
            for size in SIZES
            for model, shape in MODELS.items()
        ],
        (1, 2),
    ),
    measure=measure,
    quick=(*QUICK, "data.size=1000"),
    tiny=TINY,
)
