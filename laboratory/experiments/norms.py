"""Layer normalisation before or after the residual sum, with and without warm-up."""

import statistics

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training, seeded
from laboratory.measures import training_losses
from laboratory.runs import Runs
from tformer_cli.draw import Curve, Curves

RECIPE = "quickstart/translation"
SETTINGS = (
    "data.size=20000", "model.dim=64", "model.ffn_dim=128", "model.encoder_depth=6", "model.decoder_depth=6",
    "model.positions=sinusoidal", "optim.method=adamw", "optim.lr=0.003", "trainer.steps=450", "trainer.log_every=10",
    *AT_THE_END,
)  # fmt: skip
NORMS, WARMUPS = ("pre", "post"), {"warm-up": 90, "no warm-up": 0}


def measure(runs: Runs) -> Outcome:
    """Compare the course of the training loss, and the loss on the test split."""
    rows, curves = [], []
    for name, paths in runs.groups.items():
        courses = [training_losses(path) for path in paths]
        steps = courses[0][0]
        losses = [statistics.fmean(at_step) for at_step in zip(*(values for _, values in courses), strict=True)]
        curves.append(Curve(name, steps, losses, points=False))
        rows.append((name, runs.losses(name).text(2), f"{losses[len(losses) // 3]:.2f}"))
    header = ("normalisation", "test loss", "training loss after a third of the steps")
    title = "Training loss, mean of three seeds"
    return Outcome(
        [Table(header, rows, "Mean of three seeds (lowest to highest).")],
        Curves(curves, title, "step", "loss", x_limits=(0.0,)),
    )


EXPERIMENT = Experiment(
    title="Normalisation before and after the residual sum, with and without warm-up",
    claim="post-norm needs a warm-up of the learning rate, pre-norm does not",
    source="Xiong et al. 2020; Wang et al. 2019",
    budget="450 steps of AdamW and the same parameters; 6 + 6 blocks of width 64",
    trainings=seeded(
        [
            Training(
                f"{norm}-{steps}",
                RECIPE,
                (*SETTINGS, f"model.norm={norm}", f"optim.warmup_steps={steps}"),
                group=f"{norm}-norm, {name}",
            )
            for norm in NORMS
            for name, steps in WARMUPS.items()
        ],
        (1, 2, 3),
    ),
    measure=measure,
    quick=("trainer.steps=20", "data.size=2000"),
    tiny=("trainer.steps=2", "trainer.log_every=1", "data.size=400"),
)
