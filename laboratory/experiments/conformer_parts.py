"""Conformers without one of their parts differ in word errors, and in how far attention looks."""

import numpy as np

from laboratory.experiment import Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, Spread, bars
from tformer_cli.api import Run
from tformer_cli.config.schema import AttentionKind
from tformer_cli.figures.base import Subject
from tformer_cli.figures.distance import distances
from tformer_cli.nn.feedforward import TrainedSwish

STEPS = 400
FEW = ("data.size=500",)
"""A quarter of the recordings, so that they are read over thirty times; overfitting needs repetition."""
COMPLETE, NO_CONVOLUTION, BETA = "Conformer", "no-convolution", "swish-beta"
ARMS = {
    COMPLETE: (),
    NO_CONVOLUTION: ("model.convolution=false",),
    "no-attention": ("model.self_attention=false",),
    "layer-norm": ("model.convolution_norm=layer",),
    BETA: ("model.activation=swish_beta",),
    "few": FEW,
    "few-no-SpecAugment": (*FEW, "augment.time_masks=0", "augment.frequency_masks=0"),
}
RECORDINGS = 16
"""Number of test recordings whose attention is measured."""


def mean_distances(run: Run) -> list[tuple[float, float]]:
    """Return the mean distance of attention of each block in milliseconds, and that of uniform attention."""
    inspector = run.opened.task.inspector
    subject = Subject(run.model, inspector, inspector.of_split(run.model, "test", RECORDINGS))
    _, layers = distances(subject)[AttentionKind.encoder]
    return [(1000 * float(values[:, 1:].mean()), 1000 * float(values[:, 0].mean())) for values in layers.values()]


def measure(runs: Runs) -> Outcome:
    """Score all models, measure the attention of those with and without convolution, and read the trained factors."""
    rates = {name: runs.spread(name, "wer") for name in runs.groups}
    attention = {
        name: np.array([mean_distances(runs.open(path)) for path in runs.groups[name]])  # (seeds, blocks, 2)
        for name in (COMPLETE, NO_CONVOLUTION)
    }
    blocks = [
        (number + 1, *(Spread(values[:, number, 0].tolist()).text(0) for values in attention.values()),
         f"{attention[COMPLETE][:, number, 1].mean():.0f}")
        for number in range(attention[COMPLETE].shape[1])
    ]  # fmt: skip
    layers = [module for module in runs.open(runs.groups[BETA][0]).model.modules() if isinstance(module, TrainedSwish)]
    betas = [float(layer.beta.detach()) for layer in layers]
    rows = [(name, rate.text(), runs.parameters(name)) for name, rate in rates.items()]
    return Outcome(
        [
            Table(("model", "WER", "parameters"), rows),
            Table(
                ("block", "Conformer", "without convolution", "uniform attention"), blocks,
                "Mean distance of attention in milliseconds",
            ),
            Table(
                ("layers", "lowest", "mean", "highest"),
                [(len(betas), f"{min(betas):.2f}", f"{np.mean(betas):.2f}", f"{max(betas):.2f}")],
                "Trained factors beta of swish, which begin at 1",
            ),
        ],
        bars(rates, "Word error rate of Conformers without a part", "WER in percent"),
        {"betas": betas},
    )  # fmt: skip


EXPERIMENT = Experiment(
    title="The parts of a Conformer",
    claim="convolution sees near and attention far, and a recogniser needs both; SpecAugment prevents overfitting",
    source="Gulati et al. 2020, tables 3 and 4; Ramachandran et al. 2017; talks on Conformer",
    budget=f"{STEPS} steps of one minute of speech; a model without a part is smaller, as in the paper's ablations; "
    "few: 500 recordings instead of 2,000",
    corpus="spoken numbers, synthesised",
    trainings=seeded(
        [
            Training(name, "quickstart/conformer", (*settings, f"trainer.steps={STEPS}"))
            for name, settings in ARMS.items()
        ],
        (1, 2, 3),
    ),
    measure=measure,
    quick=("trainer.steps=8", "data.size=150", "data.batch_seconds=20", "model.depth=2"),
    tiny=("trainer.steps=2", "data.size=40"),
)
