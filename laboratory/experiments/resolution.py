"""Fine-tuning at the resolution of pre-training and at higher ones."""

from laboratory.experiment import Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, bars
from laboratory.small_images import CIFAR, QUICK, TINY, VIT, scored_split

RECIPE, LOW, STEPS, FINE_TUNING = "vit/cifar10_plain", 16, 3000, 1000
SIZES = (16, 24, 32)


def settings(pixels: int, steps: int) -> tuple[str, ...]:
    """Return the settings of a training on images of some pixels."""
    return *CIFAR, *VIT, f"data.image_size={pixels}", f"trainer.steps={steps}"


def measure(runs: Runs) -> Outcome:
    """Compare accuracy on test images at the size of each training."""
    rows, tuned = [], []
    names = {
        "low": f"pre-trained at {LOW} pixels",
        **{f"tuned-{size}": f"then fine-tuned at {size} pixels" for size in SIZES},
        "scratch": f"only trained at {SIZES[-1]} pixels, as many steps as fine-tuning",
    }
    for group, name in names.items():
        accuracy = runs.spread(group, "accuracy", scored_split(runs))
        rows.append((name, accuracy.text(), runs.spread(group, "loss", scored_split(runs)).text(3)))
        if group.startswith("tuned"):
            tuned.append(accuracy)
    shown = {f"{size} pixels": spread for size, spread in zip(SIZES, tuned, strict=True)}
    picture = bars(shown, "Accuracy after fine-tuning", "accuracy in percent", name_pixels=120)
    return Outcome([Table(("training", "accuracy, %", "loss"), rows)], picture)


EXPERIMENT = Experiment(
    title="Fine-tuning a Vision Transformer at a higher resolution",
    claim="fine-tuning at a higher resolution than that of pre-training helps; learned positions are interpolated",
    source="Dosovitskiy et al. 2021, section 3.2; Touvron et al. 2019 (arXiv:1906.06423), of random crops",
    budget=f"{FINE_TUNING:,} steps of 64 images from the same weights, three seeds; more pixels take longer",
    corpus="CIFAR-10",
    data="cifar10",
    file="train.parquet",
    trainings=seeded(
        [
            Training("low", RECIPE, settings(LOW, STEPS)),
            Training("scratch", RECIPE, settings(SIZES[-1], FINE_TUNING)),
            *(
                Training(f"tuned-{size}", RECIPE, (*settings(size, FINE_TUNING), "optim.lr=0.002"), "low")
                for size in SIZES
            ),
        ],
        (1, 2, 3),
    ),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
