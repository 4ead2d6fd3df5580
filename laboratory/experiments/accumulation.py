"""One batch or several accumulated ones: equal with layer normalisation, not with batch normalisation."""

import torch

from laboratory.experiment import Experiment, Outcome, Table, Training
from laboratory.runs import Runs

BATCH, PARTS = 64, (1, 2, 4, 8)
SETTINGS = (
    "trainer.steps=20", "trainer.precision=fp32", "optim.warmup_steps=5", "augment.padding=0", "augment.crop=none",
    "augment.rotation=0", "augment.scale=0",
)  # fmt: skip
MODELS = {
    "layer": ("model.depth=2",),
    "batch": ("model=resnet18", "model.stem=small", "model.dim=16", "model.depths=[1,1]"),
}


def parameters(runs: Runs, name: str) -> dict[str, torch.Tensor]:
    """Return the trained weights of a run, without running statistics."""
    model = runs.open(runs.path(name)).model
    return {name: parameter.detach().double() for name, parameter in model.named_parameters()}


def measure(runs: Runs) -> Outcome:
    """Compare the weights after training with those of training without accumulation."""
    rows = []
    for norm in MODELS:
        reference = parameters(runs, f"{norm}-1")
        size = sum(float(weight.square().sum()) for weight in reference.values())
        for parts in PARTS:
            weights = parameters(runs, f"{norm}-{parts}")
            pairs = [(weights[name], weight) for name, weight in reference.items()]
            distance = sum(float((one - other).square().sum()) for one, other in pairs)
            relative = f"{(distance / size) ** 0.5:.1e}" if parts > 1 else None
            rows.append((norm, parts, BATCH // parts, relative))
    header = ("normalisation", "batches in a step", "images in each", "relative distance of the weights")
    return Outcome([Table(header, rows)])


EXPERIMENT = Experiment(
    title="Accumulated gradients with layer normalisation and with batch normalisation",
    claim="a large batch may be divided into several, whose gradients are added: the step is the same",
    source="common practice; Ioffe and Szegedy 2015, section 3.1; Ba et al. 2016, section 3",
    budget="20 steps with the same 64 images in each, in float32",
    corpus="handwritten digits of scikit-learn",
    trainings=[
        Training(
            f"{norm}-{parts}",
            "quickstart/vit",
            (*settings, *SETTINGS, f"data.batch_images={BATCH // parts}", f"trainer.accumulate={parts}"),
        )
        for norm, settings in MODELS.items()
        for parts in PARTS
    ],
    measure=measure,
    tiny=("trainer.steps=2",),
)
