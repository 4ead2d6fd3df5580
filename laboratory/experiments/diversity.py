"""Losses that make attention heads disagree: in their values, their weights and their outputs."""

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, bars

RECIPE = "quickstart/translation"
SETTINGS = ("data.size=40000", "trainer.steps=550", "decode.beam=1", *AT_THE_END)
LOSSES = {
    "none": (),
    "values": ("regularise.disagreement_subspace=1",),
    "weights": ("regularise.disagreement_position=1",),
    "outputs": ("regularise.disagreement_output=1",),
}


def measure(runs: Runs) -> Outcome:
    """Compare loss, BLEU and exact match on the test split."""
    metrics = {"loss": 3, "bleu": 1, "exact_match": 1}
    spreads = {name: [runs.spread(name, metric) for metric in metrics] for name in LOSSES}
    rows = [
        (name, *(spread.text(digits) for spread, digits in zip(values, metrics.values(), strict=True)),
         None if name == "none" else values[2].minus(spreads["none"][2]).text())
        for name, values in spreads.items()
    ]  # fmt: skip
    exact = {name: values[2] for name, values in spreads.items()}
    header = ("disagreement of", "loss", "BLEU", "exact match, %", "minus none")
    return Outcome(
        [Table(header, rows, "Mean of three seeds (lowest to highest).")],
        bars(exact, "Heads that are made to disagree", "exact match, %", name_pixels=120),
    )


EXPERIMENT = Experiment(
    title="Losses that make the heads of attention disagree",
    claim="a loss that raises the diversity of heads improves translation",
    source="Li et al. 2018, tables 1 and 2: all three help, disagreement of outputs most",
    budget="550 steps and the same parameters; the weight of each loss is 1, as in the paper",
    trainings=seeded([Training(name, RECIPE, (*SETTINGS, *settings)) for name, settings in LOSSES.items()], (1, 2, 3)),
    measure=measure,
    quick=("trainer.steps=20", "data.size=2000"),
    tiny=("trainer.steps=2", "data.size=400"),
)
