"""Sinusoids fill some dimensions, and their similarity falls with distance, before and after training."""

import numpy as np

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, Spread
from tformer_cli.analysis.positions import monotonicity, similarities
from tformer_cli.draw import Curve, Curves
from tformer_cli.nn.positions import frequencies, sinusoidal_table

DIM, LENGTHS, NOTICEABLE = 128, (20, 100, 500), 0.01
SIDES = {"source": "source_positions", "target": "target_positions"}


def measure(runs: Runs) -> Outcome:
    """Measure the fixed sinusoids, and those of trained frequencies."""
    variances = {length: sinusoidal_table(length, DIM).numpy().var(axis=0) for length in LENGTHS}
    fixed = frequencies(DIM).numpy()
    filled = [
        (length, int((variances[length] > NOTICEABLE).sum()), int((fixed * (length - 1) <= np.pi).sum()))
        for length in LENGTHS
    ]
    header = ("positions", f"dimensions with a variance above {NOTICEABLE}", f"monotone frequencies of {DIM // 2}")
    return Outcome(
        [Table(header, filled, f"Sinusoids of width {DIM}."), Table(*_trained(runs, fixed))],
        Curves(
            [
                Curve(f"{length} positions", np.arange(0, DIM, 2), variance.reshape(-1, 2).mean(axis=1), points=False)
                for length, variance in variances.items()
            ],
            "Variance of sinusoidal positions, mean of sine and cosine", "dimension", "variance",
        ),
    )  # fmt: skip


def _trained(runs: Runs, fixed: np.ndarray) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    """Return header, rows and title of the table about trained frequencies, with the mean of the seeds."""
    models = [runs.open(path).model for path in next(iter(runs.groups.values()))]
    length = LENGTHS[0]
    before = f"{100 * monotonicity(similarities(sinusoidal_table(length, DIM).numpy())):.1f}"
    rows = []
    for side, name in SIDES.items():
        schemes = [getattr(model, name) for model in models]
        vectors = [scheme.vectors(length).detach().numpy() for scheme in schemes]
        after = Spread([100 * monotonicity(similarities(each)) for each in vectors])
        trained = [np.abs(scheme.frequency.detach().numpy()) for scheme in schemes]
        monotone = Spread([float((each * (length - 1) <= np.pi).sum()) for each in trained])
        moved = Spread([float(np.abs(each - fixed).mean()) for each in trained])
        rows.append((side, before, after.text(), monotone.text(), moved.text(4)))
    header = (
        "positions of the", "monotone before, %", "after, %", "monotone frequencies after", "mean change of frequency",
    )  # fmt: skip
    title = (
        f"Monotone: the share of triples among {length} positions in which the nearer of two positions is the more "
        "similar one. A single frequency is monotone if half its period covers all positions."
    )
    return header, rows, title


EXPERIMENT = Experiment(
    title="Sinusoidal positions: the dimensions that they fill, and similarity by distance",
    claim="sinusoids fill only the first dimensions; similarity falls with distance only for some frequencies",
    source="Wang et al. 2021 (monotonicity, learned frequencies); talks on Transformers (the first dimensions)",
    budget="three runs of 500 steps; the fixed sinusoids need no training",
    trainings=seeded(
        [
            Training(
                "learnable",
                "quickstart/translation",
                ("data.size=40000", "trainer.steps=500", "model.positions=learnable_sinusoidal", *AT_THE_END),
            )
        ],
        (1, 2, 3),
    ),
    measure=measure,
    quick=("trainer.steps=20", "data.size=2000"),
    tiny=("trainer.steps=2", "data.size=400"),
)
