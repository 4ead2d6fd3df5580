"""A GAN with and without self-attention, in equal time."""

import numpy as np

from laboratory.experiment import Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, Spread
from laboratory.small_images import SCHEDULE, scored_split
from laboratory.trainings import record
from tformer_cli.draw import Gallery

DATA = ("data.path={data}", "data.validation_share=0.02", "trainer.samples=0", "trainer.evaluate_every=0")
NETS = (
    *DATA, "model.noise_dim=32", "model.generator=[32,32,16]", "model.discriminator=[16,32,32]", "trainer.ema=0.998",
    "trainer.checkpoint_every=500", "trainer.minutes=0", "evaluation.classifier={judge}",
)  # fmt: skip
JUDGE = ("data.path={data}", "data.validation_share=0.02", *SCHEDULE, "model.dim=48", "trainer.steps=600")
DIGITS, ROWS, COLUMNS, SIDE_PIXELS = 10, 4, 5, 240
METRICS = {
    "feature distance": ("feature_distance", 1), "accuracy, %": ("accuracy", 1), "feature spread": ("feature_spread", 2)
}  # fmt: skip


def sheet(runs: Runs, group: str) -> np.ndarray:
    """Return generated digits of the first seed, 0 to 4 and 5 to 9 in turn: (4 * 28, 5 * 28, 1), uint8."""
    labels = [str(number % DIGITS) for number in range(ROWS * COLUMNS)]
    images = [prediction.details["image"] for prediction in runs.open(runs.groups[group][0]).predict(labels)]
    lines = [np.concatenate(images[COLUMNS * row : COLUMNS * (row + 1)], axis=1) for row in range(ROWS)]
    return np.concatenate(lines)


def measure(runs: Runs) -> Outcome:
    """Score generated images with a classifier, and draw some."""
    steps = {job.run: float(str(record(job)["steps"])) for job in runs.jobs}
    rows, sheets = [], []
    for group in ("attention", "plain"):
        every = [runs.scores(run, scored_split(runs)) for run in runs.groups[group]]
        texts = [Spread([scores[metric] for scores in every]).text(digits) for metric, digits in METRICS.values()]
        rows.append((group, Spread([steps[run] for run in runs.groups[group]]).text(0), *texts))
        sheets.append(sheet(runs, group))
    captions = ["with attention", "without attention"]
    picture = Gallery(sheets, captions, [None, None], columns=2, title="Generated digits", side=SIDE_PIXELS)
    return Outcome([Table(("nets", "steps", *METRICS), rows)], picture)


EXPERIMENT = Experiment(
    title="A GAN with and without self-attention",
    claim="self-attention lets distant parts of a generated picture agree, so that pictures are more coherent",
    source="Zhang et al. 2019, section 4 and tables 1 and 2",
    budget="the same nets but for attention, and the same time: 2,200 steps with it take as long as 2,700 without",
    corpus="MNIST",
    data="mnist",
    file="train-images-idx3-ubyte.gz",
    trainings=[
        Training("judge", "vit/mnist", JUDGE),
        *seeded(
            [
                Training("attention", "sagan/mnist", (*NETS, "trainer.steps=2200")),
                Training("plain", "sagan/mnist", (*NETS, "model.attention=false", "trainer.steps=2700")),
            ],
            (1, 2, 3),
        ),
    ],
    measure=measure,
    quick=("trainer.steps=10",),
    tiny=("trainer.steps=2",),
)
