"""Position vectors that are added to the embeddings, or concatenated with them."""

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, Spread, bars

RECIPE = "quickstart/translation"
SETTINGS = ("data.size=40000", "trainer.steps=600", "decode.beam=1", *AT_THE_END)
SCHEMES, WAYS = ("sinusoidal", "learned"), {"added": "add", "concatenated": "concatenate"}


def measure(runs: Runs) -> Outcome:
    """Compare loss and exact match on the test split."""
    loss = {name: runs.spread(name, "loss") for name in runs.groups}
    exact = {name: runs.spread(name, "exact_match") for name in runs.groups}
    rows = [
        (f"{scheme}, {way}", loss[name].text(3), exact[name].text(), _difference(exact, scheme, way),
         runs.parameters(name))
        for scheme in SCHEMES
        for way in WAYS
        if (name := f"{scheme}-{way}")
    ]  # fmt: skip
    header = ("positions", "loss", "exact match, %", "minus added", "parameters")
    return Outcome(
        [Table(header, rows, "Mean of three seeds (lowest to highest).")],
        bars(
            dict(zip([row[0] for row in rows], exact.values(), strict=True)),
            "Positions added or concatenated",
            "exact match, %",
            name_pixels=200,
        ),
    )


def _difference(exact: dict[str, Spread], scheme: str, way: str) -> str | None:
    """Return how much more exact matches a way has than added positions, seed by seed."""
    return None if way == "added" else exact[f"{scheme}-{way}"].minus(exact[f"{scheme}-added"]).text()


EXPERIMENT = Experiment(
    title="Positions added to embeddings or concatenated with them",
    claim="position vectors are usually added; concatenated ones, which cannot disturb the embeddings, may be better",
    source="Vaswani et al. 2017, section 3.5 (added); talks on Transformers, which leave open which is better",
    budget="600 steps; concatenation adds a projection from twice the width, 6 % more parameters",
    trainings=seeded(
        [
            Training(f"{scheme}-{way}", RECIPE, (*SETTINGS, f"model.positions={scheme}", f"model.combine={combine}"))
            for scheme in SCHEMES
            for way, combine in WAYS.items()
        ],
        (1, 2, 3),
    ),
    measure=measure,
    quick=("trainer.steps=20", "data.size=2000"),
    tiny=("trainer.steps=2", "data.size=400"),
)
