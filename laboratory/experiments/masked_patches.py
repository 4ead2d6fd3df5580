"""Masked patch prediction without labels before training on few labels."""

from laboratory.experiment import Experiment, Outcome, Table, Training
from laboratory.runs import Runs, bars
from laboratory.small_images import CIFAR, QUICK, TINY, VIT, scored_split

LABELLED, SEEDS = (*CIFAR, *VIT, "data.size=1000"), (1, 2, 3)
STEPS, FINE_TUNING = 2000, 500
PATCHES = (*CIFAR, *VIT, f"trainer.steps={STEPS}")
NAMES = {
    "scratch": f"from scratch, {FINE_TUNING:,} steps",
    "longer": f"from scratch, {STEPS + FINE_TUNING:,} steps",
    "tuned": f"fine-tuned, {FINE_TUNING:,} steps",
}


def training(group: str, seed: int) -> Training:
    """Return a training on labelled images."""
    steps = STEPS + FINE_TUNING if group == "longer" else FINE_TUNING
    start = f"patches-{seed}" if group == "tuned" else ""
    chosen = (*LABELLED, f"trainer.steps={steps}", f"seed={seed}")
    return Training(f"{group}-{seed}", "vit/cifar10_plain", chosen, start, group)


def measure(runs: Runs) -> Outcome:
    """Compare accuracy on test images."""
    split = scored_split(runs)
    accuracies = {name: runs.spread(group, "accuracy", split) for group, name in NAMES.items()}
    rows = [(name, accuracies[name].text(), runs.spread(group, "loss", split).text(2)) for group, name in NAMES.items()]
    picture = bars(accuracies, "Accuracy with 1,000 labelled images", "accuracy in percent", name_pixels=200)
    return Outcome([Table(("training on 1,000 labelled images", "accuracy, %", "loss"), rows)], picture)


EXPERIMENT = Experiment(
    title="Masked patch prediction, then fine-tuning on few labels",
    claim="a Vision Transformer that first predicts masked patches without labels beats one trained from scratch",
    source="Dosovitskiy et al. 2021, section 4.6 and appendix B.1.2",
    budget=f"{FINE_TUNING} steps on 1,000 labelled images, others for each of three seeds; pre-training reads 49,000 "
    f"images without labels for {STEPS:,} steps, and a third group has as many steps on its 1,000",
    corpus="CIFAR-10",
    data="cifar10",
    file="train.parquet",
    trainings=[
        job
        for seed in SEEDS
        for job in (
            Training(f"patches-{seed}", "vit/masked_patches", (*PATCHES, f"seed={seed}"), group="patches"),
            *(training(group, seed) for group in ("longer", "scratch", "tuned")),
        )
    ],
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
